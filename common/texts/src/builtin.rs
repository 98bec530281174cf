//! The built-in wordings. Each fits one segment with a name of 20 characters and a code of 10 digits. A language with
//! letters outside the default alphabet has only 70 characters, so its wordings are short. Each wording contains the
//! word for "code", which phones look for; `min` and the like avoid plurals.

pub(super) struct Builtin {
    pub(super) locale: &'static str,
    pub(super) sms: &'static str,
    pub(super) short: &'static str,
    pub(super) voice: &'static str,
    pub(super) changed: &'static str,
    pub(super) password: &'static str,
    pub(super) deleted: &'static str,
}

pub(super) const BUILTIN: [Builtin; 9] = [
    Builtin {
        locale: "en",
        sms: "{code} is your {app} code. It is valid for {minutes} min. Do not share it.",
        short: "Your {app} code: {code}",
        voice: "Your verification code is: {digits}. Once more: {digits}.",
        changed: "The phone number of your {app} account was changed. If this was not you, contact support.",
        password: "The password of your {app} account was changed. If this was not you, contact support.",
        deleted: "Your {app} account was deleted. If this was not you, contact support.",
    },
    Builtin {
        locale: "fa",
        sms: "کد تایید {app}: {code}، معتبر تا {minutes} دقیقه",
        short: "کد {app}: {code}",
        voice: "کد تایید شما: {digits}. یک بار دیگر: {digits}.",
        changed: "شماره حساب {app} تغییر کرد. کار شما نبود؟ خبر دهید.",
        password: "رمز حساب {app} تغییر کرد. کار شما نبود؟ خبر دهید.",
        deleted: "حساب {app} شما حذف شد. کار شما نبود؟ خبر دهید.",
    },
    Builtin {
        locale: "es",
        sms: "{code} es tu código de {app}. Válido {minutes} min.",
        short: "Tu código {app}: {code}",
        voice: "Tu código de verificación es: {digits}. Repetimos: {digits}.",
        changed: "Tu cuenta de {app} usa ahora otro teléfono. Si no lo has pedido, contacta con soporte.",
        password: "La contraseña de tu cuenta de {app} ha cambiado. Si no lo has pedido, contacta con soporte.",
        deleted: "Tu cuenta de {app} se ha eliminado. Si no lo has pedido, contacta con soporte.",
    },
    Builtin {
        locale: "fr",
        sms: "{code} est votre code {app}. Il est valable {minutes} min. Ne le communiquez à personne.",
        short: "Votre code {app} : {code}",
        voice: "Votre code de vérification est : {digits}. Je répète : {digits}.",
        changed: "Le numéro de téléphone de votre compte {app} a été modifié. Si ce n'est pas vous, contactez l'assistance.",
        password: "Le mot de passe de votre compte {app} a été modifié. Si ce n'est pas vous, contactez l'assistance.",
        deleted: "Votre compte {app} a été supprimé. Si ce n'est pas vous, contactez l'assistance.",
    },
    Builtin {
        locale: "de",
        sms: "{code} ist Ihr {app}-Code. Er gilt {minutes} Min. Geben Sie ihn nicht weiter.",
        short: "Ihr {app}-Code: {code}",
        voice: "Ihr Bestätigungscode lautet: {digits}. Noch einmal: {digits}.",
        changed: "Die Telefonnummer Ihres {app}-Kontos wurde geändert. Waren Sie das nicht, wenden Sie sich an den Support.",
        password: "Das Passwort Ihres {app}-Kontos wurde geändert. Waren Sie das nicht, wenden Sie sich an den Support.",
        deleted: "Ihr {app}-Konto wurde gelöscht. Waren Sie das nicht, wenden Sie sich an den Support.",
    },
    Builtin {
        locale: "ar",
        sms: "رمز {app}: {code}، الصلاحية بالدقائق: {minutes}",
        short: "رمز {app}: {code}",
        voice: "رمز التحقق الخاص بك هو: {digits}. مرة أخرى: {digits}.",
        changed: "تغير رقم حسابك في {app}. إن لم تكن أنت فاتصل بالدعم.",
        password: "تغيرت كلمة مرور {app}. إن لم تكن أنت فاتصل بالدعم.",
        deleted: "حذف حسابك في {app}. إن لم تكن أنت فاتصل بالدعم.",
    },
    Builtin {
        locale: "tr",
        // The words are chosen to have no letter outside the default alphabet.
        sms: "{app} kodunuz: {code}. Süre: {minutes} dakika. Bu kodu kimseye vermeyin.",
        short: "{app} kodunuz: {code}",
        voice: "Doğrulama kodunuz: {digits}. Tekrar ediyorum: {digits}.",
        changed: "{app} numaranız değişti. Siz değilseniz bize bildirin.",
        password: "{app} parolanız değişti. Siz değilseniz bize bildirin.",
        deleted: "{app} hesabınız silindi. Siz değilseniz bize bildirin.",
    },
    Builtin {
        locale: "pt-BR",
        sms: "{code} é o seu código {app}. Válido por {minutes} min.",
        short: "Seu código {app}: {code}",
        voice: "Seu código de verificação é: {digits}. Repetindo: {digits}.",
        changed: "O telefone da sua conta {app} foi alterado. Se isso foi feito por outra pessoa, fale com o suporte.",
        password: "A senha da sua conta {app} foi alterada. Se isso foi feito por outra pessoa, fale com o suporte.",
        deleted: "A sua conta {app} foi apagada. Se isso foi feito por outra pessoa, fale com o suporte.",
    },
    Builtin {
        locale: "hi",
        sms: "{app} कोड: {code}. यह {minutes} मिनट तक मान्य है।",
        short: "{app} कोड: {code}",
        voice: "आपका सत्यापन कोड है: {digits}. एक बार फिर: {digits}.",
        changed: "{app} खाते का नंबर बदल गया। आपने नहीं बदला तो बताएं।",
        password: "{app} खाते का पासवर्ड बदल गया। आपने नहीं बदला तो बताएं।",
        deleted: "{app} खाता हटा दिया गया। आपने नहीं हटाया तो बताएं।",
    },
];
