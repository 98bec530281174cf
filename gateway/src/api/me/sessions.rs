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
use crate::openapi::params::Proof;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// A session as its user sees it.
// Contract, ruling 12.
#[derive(Serialize, ToSchema)]
#[schema(as = Session, examples(json!({
    "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "device": "Example/4.2 (Android 16)",
    "ip": "203.0.113.0",
    "created_at": "2026-11-30T10:15:20.117Z",
    "last_seen_at": "2026-11-30T10:24:03.550Z",
    "current": true,
})))]
pub(crate) struct SessionView {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    /// The device's own name for itself: its `User-Agent` at sign-in.
    device: String,
    /// Cut: enough to recognise a network, too little to find a person.
    ip: String,
    #[schema(value_type = words::Time)]
    created_at: Timestamp,
    #[schema(value_type = words::Time)]
    last_seen_at: Timestamp,
    /// Whether it is the session of this call.
    current: bool,
}

refusals!(ListRefused: Reading);
refusals!(EndRefused: Writing, FreshSignInRequired, NotFound);
refusals!(EndOthersRefused: Writing, FreshSignInRequired);

#[utoipa::path(
    get, path = "/v1/me/sessions", tag = "sessions", operation_id = "listSessions",
    summary = "Where the user is signed in",
    description = "The live sessions, 50 at most.",
    params(Proof),
    responses((status = 200, description = "The live sessions.", body = Vec<SessionView>,
        example = json!([{
            "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
            "device": "Example/4.2 (Android 16)",
            "ip": "203.0.113.0",
            "created_at": "2026-11-30T10:15:20.117Z",
            "last_seen_at": "2026-11-30T10:24:03.550Z",
            "current": true,
        }])), ListRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
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
#[utoipa::path(
    delete, path = "/v1/me/sessions/{session_id}", tag = "sessions", operation_id = "endSession",
    summary = "End a session",
    description = "Ends one session. Ending the session of this call is a logout; any other takes a sign-in by code \
        in the last 10 minutes, and ends the token of its device as well.",
    params(("session_id" = uuid::Uuid, Path, description = "The `id` of a session of this user."), Proof),
    responses((status = 204, description = "Done."), EndRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
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
#[utoipa::path(
    delete, path = "/v1/me/sessions", tag = "sessions", operation_id = "endOtherSessions",
    summary = "End all other sessions",
    description = "Ends every session but that of this call, and the tokens of all other devices. It takes a \
        sign-in by code in the last 10 minutes.",
    params(Proof),
    responses((status = 204, description = "Done."), EndOthersRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn end_others(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<StatusCode, ApiError> {
    let (user, keep, now) = (signed_in.user.id, signed_in.session.id, app.engines.clock.now());
    signed_in.require_fresh(now)?;
    let ended = app.sessions.end_others(user, keep, "ended_by_user", now).await?;
    ended.map(|_| StatusCode::NO_CONTENT).ok_or(ApiError::SessionRevoked)
}
