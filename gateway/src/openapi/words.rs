//! Schemas of the contract's words and of texts of a fixed form.

use accounts::SecurityEvent;
use domain::vocabulary::{self, Limit};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::error_code;

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
    LimitName of Limit: "The limit that was reached.";
    ErrorCode of error_code::ErrorCode: "What happened, for programs. docs/errors.md says what to do about each.";
}

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
    Locale: "A language tag (BCP 47).", "en-GB",
        |s| s.min_length(Some(2)).max_length(Some(35)).pattern(Some("^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"));
    DeviceToken: "What makes this device a known one: the `device_token` of an earlier login on it. It is no credential. \
        A wrong or old one counts as none.", "dt2.example-of-a-device-token",
        |s| s;
}
