//! `/v1/token…`: simplejwt's paths. Refresh with rotation, verify, blacklist; phone and password.

use axum::Json;
use axum::extract::State;
use common::db::{BlacklistOutcome, RefreshOutcome};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::tokens::{AnyClaims, TokenPair};

/// `POST /v1/token/refresh`: the next pair of the session. The last refresh may be repeated within the grace; an older
/// token ends the session (P9; OAuth 2.0 Security Best Current Practice, RFC 9700, 4.14.2).
pub(crate) async fn refresh(
    State(app): State<App>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<TokenPair>, ApiError> {
    let token = fields.string("refresh");
    fields.finish()?;
    let now = app.engines.clock.now();
    let claims = app.tokens.refresh(&token)?;
    let lives = &app.config.tokens;
    let outcome = app
        .engines
        .db
        .refresh(
            claims.session_id,
            claims.generation,
            lives.refresh_grace_secs,
            lives.refresh_idle_secs,
            now,
        )
        .await?;
    match outcome {
        RefreshOutcome::Rotated(session) | RefreshOutcome::Repeated(session) => {
            Ok(Json(app.pair(&session)?))
        }
        RefreshOutcome::Reused => {
            tracing::warn!(session.id = %claims.session_id, "a refresh token was used again: its session is ended");
            Err(ApiError::RefreshReused)
        }
        RefreshOutcome::Ended => Err(ApiError::SessionRevoked),
    }
}

/// `POST /v1/token/verify`: whether a token, of either kind, is good and its session lives.
pub(crate) async fn verify(
    State(app): State<App>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let token = fields.string("token");
    fields.finish()?;
    let now = app.engines.clock.now();
    let (session, user) = match app.tokens.any(&token)? {
        AnyClaims::Access(claims) => (claims.session_id, claims.user_id),
        AnyClaims::Refresh(claims) => (claims.session_id, claims.user_id),
    };
    let live = app.engines.db.session(session, now).await?.ok_or(ApiError::SessionRevoked)?;
    if live.user.id != user {
        return Err(ApiError::TokenNotValid);
    }
    Ok(Json(json!({})))
}

/// `POST /v1/token/blacklist`: logout. By an older token the session ends too, but the answer says that it was reused
/// (design, ruling 14).
pub(crate) async fn blacklist(
    State(app): State<App>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let token = fields.string("refresh");
    fields.finish()?;
    let now = app.engines.clock.now();
    let claims = app.tokens.refresh(&token)?;
    match app.engines.db.blacklist(claims.session_id, claims.generation, now).await? {
        BlacklistOutcome::Ended => Ok(Json(json!({}))),
        BlacklistOutcome::Reused => Err(ApiError::RefreshReused),
        BlacklistOutcome::Gone => Err(ApiError::SessionRevoked),
    }
}
