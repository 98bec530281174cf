//! Schemas of the contract's words and of texts of a fixed form.

use accounts::SecurityEvent;
use domain::vocabulary::{self, Limit};
use utoipa::openapi::schema::{
    AdditionalProperties, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::webhook_calls;
use crate::http::error_code;
use crate::staff::audit;
use crate::staff::find;
use crate::staff::requests::one;
use crate::staff::users::{self, bulk, standing};

/// Declares the schema of an enum of words.
macro_rules! words {
    ($($name:ident of $words:ty: $text:literal;)+) => {$(
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = <$words>::ALL.map(|word| word.as_str());
                let schema = ObjectBuilder::new().schema_type(Type::String);
                schema.description(Some($text)).enum_values(Some(words)).build().into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

words! {
    Channel of vocabulary::Channel: "How a code reaches the phone: as a text or by a call.";
    Status of vocabulary::Status: "The status of a code request, in the order of time: `accepted`, `issued`, `sending`, \
        `sent`; then `delivered`, `undelivered` or `failed`; at the end `verified`, `expired` or `superseded`. It never goes \
        back, and may skip some.";
    Reason of vocabulary::Reason: "Why a text or call did not arrive.";
    FoundKind of find::FoundKind: "What an id belongs to.";
    UserState of users::UserState: "`slowed` and `locked`: after wrong attempts at codes.";
    ObstacleCode of standing::ObstacleCode: "What stands between a number and its next sign-in.";
    CodeState of standing::CodeState: "The state of a code; `none`: none was requested lately.";
    BulkAct of bulk::BulkAct: "An act that can be done to many accounts.";
    BulkResult of bulk::BulkResult: "What became of one account. `unchanged`: it was so already. `higher_role`: it is of \
        staff with a higher role than the key's. `not_done`: an engine was away or the time of the call was over; name it \
        again in another call.";
    StepKind of one::StepKind: "What a step of a time line is.";
    Tone of one::Tone: "Whether a step is good news.";
    ActorKind of audit::ActorKind: "`account`: of a user, or of staff at the console. `key`: of this API. `system`: Latchkey \
        itself. `other`: whoever ran a command, or the pseudonym of a deleted account.";
    BlockKind of accounts::BlockKind: "What a block is about: a phone, the first digits of numbers, an address or a range, a \
        country, or a provider that is shut.";
    LimitName of Limit: "The limit that was reached.";
    QueueName of bus::Queue: "A queue between the services.";
    ProviderName of config::ProviderName: "A provider that carries texts.";
    CallEnd of ledger::AttemptState: "How a call to a provider ended; `begun`: it has not, or nobody knows yet. `unknown`: the \
        provider may have taken the text.";
    GuardMode of vocabulary::PumpingGuard: "What the pumping guard does with what it finds; `record`: it tells, and refuses \
        nothing.";
    NetKind of guard::Kind: "What a net of the pumping guard is: the first digits of numbers, or a country.";
    WebhookVerdict of webhook_calls::Verdict: "What became of a call to the webhook. With a right signature: `accepted`; \
        `another_account`, whose receipt it is; `not_ours`: its address ends with no id; `not_published`: the broker did not \
        take it. Without one: `no_signature`, `wrong_signature`; `not_configured`: there is no token to check it with; \
        `bad_body`: it could not be read.";
    ReceiptWord of domain::twilio_receipt::ReceiptWord: "What became of a text or a call, in Twilio's words.";
    NetState of guard::State: "Which code requests a net admits: all, none, or a few that show whether their codes are used.";
}

/// An object of any members.
pub(crate) enum Members {}

impl PartialSchema for Members {
    fn schema() -> RefOr<Schema> {
        let any = AdditionalProperties::FreeForm(true);
        let schema =
            ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(any));
        let text =
            "What belongs to an act: a reason, an end, a request. Its members depend on the act.";
        schema.description(Some(text)).build().into()
    }
}

impl ToSchema for Members {}

/// The envelope of a dead letter.
pub(crate) enum LetterBody {}

impl PartialSchema for LetterBody {
    fn schema() -> RefOr<Schema> {
        let kinds = SchemaType::from_iter([Type::Object, Type::Null]);
        let any = AdditionalProperties::FreeForm(true);
        let schema = ObjectBuilder::new().schema_type(kinds).additional_properties(Some(any));
        let text = "The envelope, with the word `sealed` in the place of each sealed part; null if it cannot be read. Its \
            members depend on its type.";
        schema.description(Some(text)).build().into()
    }
}

impl ToSchema for LetterBody {}

/// What judges a request or a sign-in.
fn judges() -> Vec<&'static str> {
    Limit::ALL.iter().map(|limit| limit.as_str()).chain(["otp_attempts_exhausted"]).collect()
}

/// The codes of the public API.
pub(crate) enum ErrorCode {}

/// Those of the admin API.
pub(crate) enum AdminErrorCode {}

fn codes(is_shown: impl Fn(&error_code::ErrorCode) -> bool, text: &str) -> RefOr<Schema> {
    let shown = error_code::ErrorCode::ALL.into_iter().filter(is_shown);
    let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(text));
    schema.enum_values(Some(shown.map(error_code::ErrorCode::as_str))).build().into()
}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let text = "What happened, for programs. docs/errors.md says what to do about each.";
        codes(|code| !code.is_of_admin(), text)
    }
}

impl PartialSchema for AdminErrorCode {
    fn schema() -> RefOr<Schema> {
        let text = "What happened, for programs. docs/errors.md and docs/admin-api.md say what to do about each.";
        codes(|_| true, text)
    }
}

impl ToSchema for ErrorCode {}

/// Declares the schema of a text that is one of these.
macro_rules! one_of {
    ($($name:ident: $text:literal, $words:expr;)+) => {$(
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let schema = ObjectBuilder::new().schema_type(Type::String);
                schema.description(Some($text)).enum_values(Some($words)).build().into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

one_of! {
    TokenType: "The scheme of `Authorization` that the access token takes.", ["Bearer", "DPoP"];
    ActivityType: "What happened.", SecurityEvent::kinds();
    SettingSource: "Where the value of a setting comes from.", ["environment", "file", "default"];
    SigningKeyState: "`next`: published, younger than the one that signs. `verifying`: older; its tokens are accepted until it \
        is retired. `unread`: this gateway did not take the file.", ["signing", "next", "verifying", "unread"];
    JudgeName: "What judges, as its refusal names it: a limit, or `otp_attempts_exhausted`.", judges();
}

/// Declares the schema of a text of one form.
macro_rules! texts {
    ($($name:ident: $text:literal, $example:literal, |$schema:ident| $form:expr;)+) => {$(
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let $schema = ObjectBuilder::new().schema_type(Type::String);
                let schema: ObjectBuilder = $form;
                schema.description(Some($text)).examples([$example]).build().into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

texts! {
    PhoneNumber: "A phone number in international form (E.164).", "+14155552671",
        |s| s.pattern(Some(r"^\+[1-9][0-9]{6,14}$"));
    AnyPhoneNumber: "A mobile number in the usual notations: international (`+1 415 555 2671`, `001415…`), or national if \
        this server has a default region. 32 bytes at most; ASCII digits and nothing but `+ ( ) - . /` and spaces beside \
        them.", "+14155552671",
        |s| s.min_length(Some(1)).max_length(Some(32)).pattern(Some(r"^[0-9+() ./-]{1,32}$"));
    Time: "A point in time, in UTC.", "2026-11-30T10:15:00.000Z",
        |s| s.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    Code: "The code of the text or call: exactly as many digits as `code_length` says.", "123456",
        |s| s.pattern(Some("^[0-9]{4,10}$"));
    Name: "1 to 100 characters, not blank; no control, direction or invisible characters.", "Ada",
        |s| s.min_length(Some(1)).max_length(Some(100));
    StaffReason: "1 to 200 characters, not blank.", "ticket 4711",
        |s| s.min_length(Some(1)).max_length(Some(200));
    StaffNote: "1 to 500 characters, not blank.", "called about a lost phone, ticket 4711",
        |s| s.min_length(Some(1)).max_length(Some(500));
    Locale: "A language tag (BCP 47).", "en-GB",
        |s| s.min_length(Some(2)).max_length(Some(35)).pattern(Some("^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"));
    DeviceToken: "What makes this device a known one: the `device_token` of an earlier login on it. It is no credential. \
        A wrong or old one counts as none.", "dt2.example-of-a-device-token",
        |s| s;
}
