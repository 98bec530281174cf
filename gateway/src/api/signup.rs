//! `POST /v1/signup`: requests a code and stores a profile with it, for the login that proves the phone.

use axum::extract::State;
use axum::response::Response;
use domain::event::{Profile, UserSignedUp};
use store::Scope;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::request::RequestView;
use crate::codes::request::{NewCodeRequest, read_channel, request_code};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::openapi::params::IdempotencyKey;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// The body of a sign-up.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "phone_number": "+14155552671", "first_name": "Ada", "last_name": "Lovelace", "locale": "en-GB" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct SignUp {
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
    #[schema(value_type = words::Name)]
    first_name: String,
    #[schema(value_type = words::Name)]
    last_name: String,
    /// The language of the text and of the new account.
    #[schema(value_type = words::Locale, required = false)]
    locale: Option<String>,
    /// `sms` if it is left out.
    #[schema(value_type = words::Channel, required = false)]
    channel: Option<String>,
}

refusals!(SignUpRefused: Body, InvalidPhoneNumber, PhoneNumberNotSupported, IdempotencyKeyReused, ResendTooSoon,
    TooManyRequests, OtpAttemptsExhausted);

/// Touches no table: an unproven account never exists, and a sign-up for a number with an account does not change it.
#[utoipa::path(
    post, path = "/v1/signup", tag = "codes", operation_id = "signUp",
    summary = "Sign up",
    description = "Sends a code and keeps the name with it: the first login with the code makes the account. A \
        number that has an account is answered alike, and nothing in that account changes.",
    params(IdempotencyKey),
    request_body(content = SignUp, description = "Who signs up."),
    responses(
        (status = 202, description = "The request is accepted and kept: it reaches a final status.", body = RequestView),
        SignUpRefused,
    ),
)]
pub(crate) async fn signup(
    State(app): State<App>,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    let writing = fields.string("phone_number");
    let first_name = fields.checked("first_name", validate::name);
    let last_name = fields.checked("last_name", validate::name);
    let locale = fields.optional_checked("locale", validate::locale);
    let channel = read_channel(&app, &mut fields);
    fields.finish()?;
    let wanted = NewCodeRequest {
        phone: app.phone(&writing)?,
        scope: Scope::Login,
        route: "signup",
        profile: Some(Profile { first_name, last_name }),
        locale,
        channel,
        known_device: None,
    };
    request_code::<UserSignedUp>(&app, &caller, wanted).await
}
