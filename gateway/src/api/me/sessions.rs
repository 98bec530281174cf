//! `/v1/me/sessions`: where the user is signed in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::SessionId;
use domain::timestamp::Timestamp;
use serde::Serialize;

use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;

/// A session as its user sees it (contract, ruling 12).
#[derive(Serialize)]
pub(crate) struct SessionView {
    id: SessionId,
    device: String,
    /// Cut: enough to recognise a network, too little to find a person.
    ip: String,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    current: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Json<Vec<SessionView>>, ApiError> {
    let sessions = app.sessions.of_user(signed_in.user.id, app.engines.clock.now()).await?;
    let view = |session: accounts::Session| SessionView {
        current: session.id == signed_in.session.id,
        id: session.id,
        device: session.device,
        ip: session.ip,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
    };
    Ok(Json(sessions.into_iter().map(view).collect()))
}

/// Ends one session; ending the current one is a logout, and any other one requires a fresh sign-in, like
/// [`end_others`]. A logout leaves the device known, an end by another session does not. Another user's session is
/// answered like an unknown one.
pub(crate) async fn end(
    State(app): State<App>,
    signed_in: SignedIn,
    PathId(id): PathId<SessionId>,
) -> Result<StatusCode, ApiError> {
    let (user, now) = (signed_in.user.id, app.engines.clock.now());
    let ended = if id == signed_in.session.id {
        app.sessions.end(user, id, "logout", now).await?
    } else {
        signed_in.require_fresh(now)?;
        let by = signed_in.session.id;
        let ended = app.sessions.end_with_device(user, id, by, "ended_by_user", now).await?;
        ended.ok_or(ApiError::SessionRevoked)?
    };
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound) }
}

/// Ends all other sessions, and the tokens of all other devices. It requires a fresh sign-in: a thief must not shut the owner out (contract, ruling 37).
pub(crate) async fn end_others(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<StatusCode, ApiError> {
    let (user, keep, now) = (signed_in.user.id, signed_in.session.id, app.engines.clock.now());
    signed_in.require_fresh(now)?;
    let ended = app.sessions.end_others(user, keep, "ended_by_user", now).await?;
    ended.map(|_| StatusCode::NO_CONTENT).ok_or(ApiError::SessionRevoked)
}
