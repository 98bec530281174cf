//! `/v1/me`: the user's own account.

use accounts::{Changes, Deleter, User};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::UserId;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use serde::Serialize;

use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::deletion;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::openapi::params::Proof;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// An account as its owner sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = User, examples(json!({
    "id": "019c2b7f-02a8-7c55-8f1e-2a6d9b7c1e43",
    "phone_number": "+14155552671",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "locale": "en-GB",
    "created_at": "2026-11-30T10:15:20.117Z",
})))]
pub(crate) struct UserView {
    /// `sub` and `user_id` of the tokens.
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    #[schema(value_type = words::PhoneNumber)]
    phone_number: E164,
    /// Empty if the account has none.
    first_name: String,
    /// Empty if the account has none.
    last_name: String,
    /// The language of texts to this account (BCP 47).
    locale: String,
    #[schema(value_type = words::Time)]
    created_at: Timestamp,
}

/// What to change of the profile; what is left out stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "first_name": "Augusta Ada" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct ProfileChange {
    #[schema(value_type = words::Name, required = false)]
    first_name: Option<String>,
    #[schema(value_type = words::Name, required = false)]
    last_name: Option<String>,
    #[schema(value_type = words::Locale, required = false)]
    locale: Option<String>,
}

refusals!(ReadRefused: Reading);
refusals!(ChangeRefused: WritingBody);
refusals!(DeleteRefused: Writing, FreshSignInRequired);

impl UserView {
    pub fn of(user: User, phone_number: E164) -> Self {
        let User { id, first_name, last_name, locale, created_at, .. } = user;
        Self { id, phone_number, first_name, last_name, locale, created_at }
    }
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let phone_number = user.phone_number.clone();
        Self::of(user, phone_number)
    }
}

#[utoipa::path(
    get, path = "/v1/me", tag = "account", operation_id = "getUser",
    summary = "The signed-in user",
    description = "The account that the access token belongs to.",
    params(Proof),
    responses((status = 200, description = "The user.", body = UserView), ReadRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn read(signed_in: SignedIn) -> Json<UserView> {
    Json(signed_in.user.into())
}

/// `PATCH /v1/me`: changes names and locale, and nothing else.
#[utoipa::path(
    patch, path = "/v1/me", tag = "account", operation_id = "changeUser",
    summary = "Change names and locale",
    description = "Changes the fields that are sent.",
    params(Proof),
    request_body(content = ProfileChange, description = "What changes."),
    responses((status = 200, description = "The user.", body = UserView), ChangeRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn change(
    State(app): State<App>,
    signed_in: SignedIn,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<UserView>, ApiError> {
    let first_name = fields.optional_checked("first_name", validate::name);
    let last_name = fields.optional_checked("last_name", validate::name);
    let locale = fields.optional_checked("locale", validate::locale);
    fields.finish()?;
    let changes = Changes {
        first_name: first_name.as_deref(),
        last_name: last_name.as_deref(),
        locale: locale.as_deref(),
    };
    let now = app.engines.clock.now();
    signed_in.count_profile_write(&app, now).await?;
    let user = app.accounts.update_profile(signed_in.user.id, changes, now).await?;
    Ok(Json(user.ok_or(ApiError::SessionRevoked)?.into()))
}

/// `DELETE /v1/me`: deletes the account, its sessions and every trace of its phone. It cannot be undone, so it requires
/// a fresh sign-in (contract, ruling 37).
#[utoipa::path(
    delete, path = "/v1/me", tag = "account", operation_id = "deleteUser",
    summary = "Delete the account",
    description = "Deletes the account, its sessions and every trace of its phone. It cannot be undone, and takes a \
        sign-in by code in the last 10 minutes.",
    params(Proof),
    responses((status = 204, description = "Done."), DeleteRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<StatusCode, ApiError> {
    signed_in.require_fresh(app.engines.clock.now())?;
    let by = Deleter::User(signed_in.session.id);
    if !deletion::delete(&app, &signed_in.user, by).await? {
        return Err(ApiError::SessionRevoked);
    }
    Ok(StatusCode::NO_CONTENT)
}
