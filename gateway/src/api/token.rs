//! `/v1/token/…`: simplejwt's paths. Refresh with rotation, verify and blacklist.

use accounts::{BlacklistOutcome, Presented, RefreshOutcome};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::dpop::header::ProvenKey;
use crate::dpop::proof::Flaw;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::tokens::jwt::RefreshClaims;
use crate::tokens::pair::{AnyClaims, TokenPair};

/// `POST /v1/token/refresh`: issues the session's next pair. The last refresh may be repeated within the grace period;
/// an older token ends the session (P9; OAuth 2.0 Security Best Current Practice, RFC 9700, 4.14.2).
///
/// A bound session requires a proof of its key. A proof may be reused here, because a client repeats a call whose
/// answer was lost. The answer is bound to the key, so it is useless to someone who only copied the call.
pub(crate) async fn refresh(
    State(app): State<App>,
    proven: ProvenKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<TokenPair>, ApiError> {
    let token = fields.string("refresh");
    fields.finish()?;
    let now = app.engines.clock.now();
    let claims = app.tokens.refresh(&token)?;
    let (grace, idle) = (app.config.tokens.refresh_grace_secs, app.config.tokens.refresh_idle_secs);
    match app.sessions.refresh(presented(&claims, &proven), grace, idle, now).await? {
        RefreshOutcome::Rotated(session) | RefreshOutcome::Repeated(session) => {
            Ok(Json(app.pair(&session)?))
        }
        RefreshOutcome::Reused => {
            tracing::warn!(session.id = %claims.session_id, "refresh token reused, session ended");
            Err(ApiError::RefreshReused)
        }
        RefreshOutcome::Ended => Err(ApiError::SessionRevoked),
        RefreshOutcome::Unproven => Err(unproven(&proven)),
    }
}

fn presented<'a>(claims: &RefreshClaims, proven: &'a ProvenKey) -> Presented<'a> {
    let RefreshClaims { session_id: session, generation, .. } = *claims;
    Presented { session, generation, jkt: proven.0.as_deref() }
}

fn unproven(proven: &ProvenKey) -> ApiError {
    if proven.0.is_none() { Flaw::Missing.into() } else { Flaw::OtherKey.into() }
}

/// `POST /v1/token/verify`: checks that a token of either kind is valid and its session live. No proof is required: a
/// bound token names its key in `cnf`, for the service that receives the token.
pub(crate) async fn verify(
    State(app): State<App>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let token = fields.string("token");
    fields.finish()?;
    let now = app.engines.clock.now();
    let (session, user, jkt) = match app.tokens.any(&token)? {
        AnyClaims::Access(claims) => (claims.session_id, claims.user_id, Some(claims.jkt)),
        AnyClaims::Refresh(claims) => (claims.session_id, claims.user_id, None),
    };
    let live = app.sessions.live(session, now).await?.ok_or(ApiError::SessionRevoked)?;
    if live.user.id != user || jkt.is_some_and(|jkt| jkt != live.session.jkt) {
        return Err(ApiError::TokenNotValid);
    }
    Ok(Json(json!({})))
}

/// `POST /v1/token/blacklist`: logout; a bound session requires a proof of its key. An older token ends the session
/// too, but the answer reports its reuse (contract, ruling 14).
pub(crate) async fn blacklist(
    State(app): State<App>,
    proven: ProvenKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let token = fields.string("refresh");
    fields.finish()?;
    let now = app.engines.clock.now();
    let claims = app.tokens.refresh(&token)?;
    match app.sessions.blacklist(presented(&claims, &proven), now).await? {
        BlacklistOutcome::Ended => Ok(Json(json!({}))),
        BlacklistOutcome::Reused => Err(ApiError::RefreshReused),
        BlacklistOutcome::Gone => Err(ApiError::SessionRevoked),
        BlacklistOutcome::Unproven => Err(unproven(&proven)),
    }
}
