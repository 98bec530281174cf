//! `POST /v1/signup`: requests a code and stores a profile with it, for the login that proves the phone.

use axum::extract::State;
use axum::response::Response;
use domain::event::{Profile, UserSignedUp};
use store::Scope;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::request::{NewCodeRequest, read_channel, request_code};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;

/// Touches no table: an unproven account never exists, and a sign-up for a number with an account does not change it.
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
