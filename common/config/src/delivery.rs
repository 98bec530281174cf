//! Settings of the messages and of the providers that send them.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::build::flag;
use super::case::{Case, refuse_plain_http, refuse_sample};
use super::parse::{self, Parsed};
use super::reader::Reader;
use super::secret::is_sample;
use super::{HttpProvider, ProviderName, Role, Routes, Sms, Texts, TwilioAccount, UnknownOutcome};

/// Twilio signs its receipts with it.
const TOKEN: &str = "TWILIO_AUTH_TOKEN";

pub(super) fn texts(r: &mut Reader, case: Case) -> Texts {
    const DIR: &str = "LATCHKEY_TEXTS_DIR";
    // The sms-worker sends ready-made messages, so it does not need the folder.
    let texts_dir = if case.role == Role::SmsWorker {
        r.text(DIR).map(PathBuf::from)
    } else {
        r.read(DIR, parse::existing_folder)
    };
    Texts {
        app_name: r.read("LATCHKEY_APP_NAME", parse::app_name).unwrap_or_default(),
        texts_dir,
        android_app_hash: r.read("LATCHKEY_ANDROID_APP_HASH", parse::android_hash),
        webotp_domain: r.read("LATCHKEY_WEBOTP_DOMAIN", parse::host_name),
    }
}

pub(super) fn sms(r: &mut Reader, case: Case) -> Sms {
    const ROUTES: &str = "LATCHKEY_SMS_ROUTES";
    const FALLBACK: &str = "LATCHKEY_VOICE_FALLBACK_SECS";
    let routes = match r.read(ROUTES, Routes::parse) {
        Some(routes) => routes,
        None if case.embedded => {
            Routes { default: vec![ProviderName::Inbox], by_prefix: Vec::new() }
        }
        None => {
            if case.role.has_sms_worker() {
                r.require(ROUTES, "a provider is needed unless everything runs embedded");
            }
            Routes::default()
        }
    };
    for provider in [ProviderName::Console, ProviderName::Inbox] {
        if case.production() && r.is_given(ROUTES) && routes.names(provider) {
            r.refuse(ROUTES, &format!("the provider `{provider}` is for development only"));
        }
    }
    let (voice, voice_fallback_secs) = (flag(r, "LATCHKEY_VOICE"), r.number(FALLBACK));
    if !voice && voice_fallback_secs > 0 {
        r.refuse(FALLBACK, "set it to 0: LATCHKEY_VOICE switches calls off");
    }
    Sms {
        twilio: twilio(r, case, routes.names(ProviderName::Twilio)),
        http: http_provider(r, case, routes.names(ProviderName::Http)),
        routes,
        unknown_outcome: r.word("LATCHKEY_UNKNOWN_OUTCOME").unwrap_or(UnknownOutcome::Resend),
        voice,
        voice_fallback_secs,
    }
}

fn twilio(r: &mut Reader, case: Case, routed: bool) -> Option<TwilioAccount> {
    const SERVICE: &str = "TWILIO_MESSAGING_SERVICE_SID";
    const ROUTED: &str = "a route names `twilio`";
    let account_sid = r.read("TWILIO_ACCOUNT_SID", |text| parse::sid(text, "AC"));
    let auth_token = r.secret(TOKEN, parse::credential);
    warn_of_odd_token(r, case);
    let key = r.read("TWILIO_API_KEY", |text| parse::sid(text, "SK"));
    let key_secret = r.secret("TWILIO_API_SECRET", parse::credential);
    let from = r.read("TWILIO_FROM", parse::sender);
    let messaging_service_sid = r.read(SERVICE, |text| parse::sid(text, "MG"));
    let base_url = r.read("TWILIO_BASE_URL", parse::base_url);
    if let Some(url) = &base_url {
        refuse_plain_http(r, case, "TWILIO_BASE_URL", url);
    }

    // The gateway checks Twilio's signatures; a sender needs the rest as well. Other programs read these variables too,
    // so having only some of them in the environment is not an error unless a route names Twilio.
    if routed && case.role != Role::OtpWorker {
        r.require("TWILIO_ACCOUNT_SID", ROUTED);
        r.require(TOKEN, ROUTED);
        if case.production() {
            r.require("LATCHKEY_PUBLIC_URL", &format!("{ROUTED}, which posts its receipts there"));
        }
    }
    if routed && case.role.has_sms_worker() {
        if r.is_given("TWILIO_API_KEY") {
            r.require("TWILIO_API_SECRET", "TWILIO_API_KEY is set");
        } else if r.is_given("TWILIO_API_SECRET") {
            r.require("TWILIO_API_KEY", "TWILIO_API_SECRET is set");
        }
        // Setting both makes sense: a messaging service sends messages but cannot place calls.
        if !r.is_given("TWILIO_FROM") && !r.is_given(SERVICE) {
            r.require("TWILIO_FROM", &format!("{ROUTED}, and {SERVICE} is not set either"));
        }
    }
    Some(TwilioAccount {
        account_sid: account_sid?,
        auth_token: auth_token?,
        api_key: key.zip(key_secret),
        from,
        messaging_service_sid,
        base_url: base_url?,
    })
}

/// Whoever guesses the token forges receipts. Twilio documents no form, so one of another form is not refused.
fn warn_of_odd_token(r: &mut Reader, case: Case) {
    let is_odd = |token: &str| {
        token.len() != 32 || !token.bytes().all(|b| b.is_ascii_hexdigit()) || is_sample(token)
    };
    if case.production() && r.text(TOKEN).is_some_and(|token| is_odd(&token)) {
        r.warn(
            TOKEN,
            "it does not look like one of Twilio's tokens, which are 32 random hexadecimal digits",
        );
    }
}

fn http_provider(r: &mut Reader, case: Case, routed: bool) -> Option<HttpProvider> {
    const URL: &str = "LATCHKEY_HTTP_PROVIDER_URL";
    const SECRET: &str = "LATCHKEY_HTTP_PROVIDER_SECRET";
    let url = r.read(URL, parse::hook_url);
    if let Some(url) = &url {
        refuse_plain_http(r, case, URL, url);
    }
    let secret = r.secret(SECRET, |text| webhook_secret(case, text));
    if routed && case.role.has_sms_worker() {
        r.require(URL, "a route names `http`");
        r.require(SECRET, "a route names `http`");
    }
    Some(HttpProvider { url: url?, secret: secret? })
}

/// The minimum length of a Standard Webhooks secret (specification, "Signature scheme": 24 to 64 bytes).
const WEBHOOK_LEAST_BYTES: usize = 24;

fn webhook_secret(case: Case, text: &str) -> Parsed<()> {
    let bytes = match text.strip_prefix("whsec_") {
        Some(coded) => {
            let bytes = STANDARD.decode(coded).map_err(|_| "it is not valid base64".to_owned())?;
            bytes.len()
        }
        None => text.len(),
    };
    if bytes < WEBHOOK_LEAST_BYTES {
        return Err(format!("it is shorter than {WEBHOOK_LEAST_BYTES} bytes"));
    }
    refuse_sample(case, text.strip_prefix("whsec_").unwrap_or(text))
}
