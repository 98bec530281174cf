//! The API described for machines: the OpenAPI 3.1 document, the page that shows it, and the page of errors.
//!
//! Each handler carries its own description (`#[utoipa::path]`) and names what it is refused for ([`refusals`]); bodies
//! that are read field by field have a type beside their handler that only describes them. This room puts the parts
//! together: [`shared`] has what all calls have in common, [`finish`] writes each of it once.
//!
//! The tests in `tests/openapi` hold it true: the document agrees with the router and with the answers of a running
//! gateway, and docs/openapi.json and docs/errors.md are what it gives.

pub(crate) mod errors_page;
pub(crate) mod finish;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod refusals;
pub(crate) mod serve;
mod shared;
mod specimens;
pub(crate) mod words;

use serde_json::Value;
use utoipa::OpenApi;

use crate::api::{
    inbox, jwks, login, me, otp, otp_events, password_sign_in, signup, token, twilio_webhook,
};

/// What every deployment serves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey",
        description = "Sign in by phone number: request a code, exchange it for an access token and a refresh token, \
            and manage the account with them.\n\n\
            Every refusal is a problem document (RFC 9457) with a stable `code`; branch on that and not on `title` or \
            `detail`. Times are RFC 3339 in UTC, durations whole seconds. Bodies are JSON, 16 KiB at most; unknown and \
            duplicate fields are refused. Answers may gain fields: ignore those that you do not know.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    paths(
        signup::signup,
        otp::request,
        otp::status,
        otp_events::stream,
        login::login,
        password_sign_in::sign_in,
        token::refresh,
        token::verify,
        token::blacklist,
        me::profile::read,
        me::profile::change,
        me::profile::delete,
        me::password::set,
        me::password::remove,
        me::activity::list,
        me::phone::request,
        me::phone::confirm,
        me::sessions::list,
        me::sessions::end,
        me::sessions::end_others,
        jwks::document,
        serve::openapi_document,
        twilio_webhook::twilio_status,
    ),
    tags(
        (name = "codes", description = "Request a code and follow its text or call to the phone."),
        (name = "sign-in", description = "Exchange a code or a password for a session and its tokens."),
        (name = "tokens", description = "Refresh, verify and end the tokens of a session."),
        (name = "account", description = "The signed-in user's own account: profile, password, phone, activity."),
        (name = "sessions", description = "Where the user is signed in."),
        (name = "service", description = "What other services read: the public keys and this document."),
        (name = "providers", description = "What the providers of texts and calls send."),
    ),
)]
struct Served;

/// What is served in development, where texts are kept instead of being sent.
#[derive(OpenApi)]
#[openapi(
    paths(inbox::messages),
    tags((name = "development", description = "Served in development only: the texts that were kept instead of being sent.")),
)]
struct ServedInDevelopment;

/// The OpenAPI document (3.1) of the public port. With `has_inbox` it also describes what only a gateway with an inbox
/// serves; docs/openapi.json is the document without it.
pub fn document(has_inbox: bool) -> Value {
    let mut described = Served::openapi();
    if has_inbox {
        described.merge(ServedInDevelopment::openapi());
    }
    finish::finish(described, finish::Surface::Public)
}
