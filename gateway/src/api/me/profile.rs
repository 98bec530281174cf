//! `/v1/me`: the user's own account.

use accounts::{Changes, Deleter, User};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::UserId;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use serde::Serialize;
use service::deletion::Deletion;
use texts::Notice;

use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;

/// The account as its owner sees it.
#[derive(Serialize)]
pub(crate) struct UserView {
    id: UserId,
    phone_number: E164,
    first_name: String,
    last_name: String,
    locale: String,
    created_at: Timestamp,
}

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

pub(crate) async fn read(signed_in: SignedIn) -> Json<UserView> {
    Json(signed_in.user.into())
}

/// `PATCH /v1/me`: changes names and locale, and nothing else.
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
pub(crate) async fn delete(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<StatusCode, ApiError> {
    let (user, engines, now) = (&signed_in.user, &app.engines, app.engines.clock.now());
    signed_in.require_fresh(now)?;
    let deletion = Deletion::of(user, &app.accounts, &engines.keys, now).await?;
    let notice = signed_in.notice(&app, Notice::AccountDeleted)?;
    let by = Deleter::User(signed_in.session.id);
    if !deletion.from_database(&app.accounts, notice.as_ref(), by, now).await? {
        return Err(ApiError::SessionRevoked);
    }
    if let Err(error) = deletion.from_store(&app.codes).await {
        tracing::warn!(
            error = format!("{error:#}"),
            "cannot remove a deleted account from Redis, its data expires"
        );
    }
    app.outbox_filled.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
