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
use crate::openapi::params::Proof;
use crate::openapi::refusals::refusals;
use crate::tokens::jwt::RefreshClaims;
use crate::tokens::pair::{AnyClaims, TokenPair};
use utoipa::ToSchema;

/// A refresh token.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "refresh": "eyJ…the-refresh-token" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct RefreshToken {
    /// The newest refresh token of the session.
    refresh: String,
}

/// A token of either kind.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "token": "eyJ…the-access-token" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct AnyToken {
    /// An access token or a refresh token.
    token: String,
}

/// An empty object.
#[derive(ToSchema)]
#[schema(examples(json!({})))]
pub(crate) struct Empty {}

refusals!(RefreshRefused: Body, TokenNotValid, ProofNotValid, RefreshReused, SessionRevoked);
refusals!(VerifyRefused: Body, TokenNotValid, SessionRevoked);

/// `POST /v1/token/refresh`: issues the session's next pair. The last refresh may be repeated within the grace period;
/// an older token ends the session (P9; OAuth 2.0 Security Best Current Practice, RFC 9700, 4.14.2).
///
/// A bound session requires a proof of its key. A proof may be reused here, because a client repeats a call whose
/// answer was lost. The answer is bound to the key, so it is useless to someone who only copied the call.
#[utoipa::path(
    post, path = "/v1/token/refresh", tag = "tokens", operation_id = "refreshTokens",
    summary = "Refresh the tokens",
    description = "Exchanges a refresh token for the next pair. The last refresh may be repeated for 30 s, so a \
        lost answer costs nothing; any older token ends the session.",
    params(Proof),
    request_body(content = RefreshToken, description = "The refresh token."),
    responses((status = 200, description = "The tokens.", body = TokenPair), RefreshRefused),
)]
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
    let outcome = app.sessions.refresh(presented(&claims, &proven), grace, idle, now).await?;
    metrics::counter!("latchkey_refresh_total", "outcome" => word(&outcome)).increment(1);
    match outcome {
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

/// The label of `latchkey_refresh_total`.
const fn word(outcome: &RefreshOutcome) -> &'static str {
    match outcome {
        RefreshOutcome::Rotated(_) => "rotated",
        RefreshOutcome::Repeated(_) => "repeated",
        RefreshOutcome::Reused => "reused",
        RefreshOutcome::Ended => "ended",
        RefreshOutcome::Unproven => "unproven",
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
#[utoipa::path(
    post, path = "/v1/token/verify", tag = "tokens", operation_id = "verifyToken",
    summary = "Verify a token",
    description = "Tells whether a token of either kind is valid and its session live. Services mostly verify \
        access tokens by the public keys alone.",
    request_body(content = AnyToken, description = "The token."),
    responses((status = 200, description = "Done.", body = Empty), VerifyRefused),
)]
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
#[utoipa::path(
    post, path = "/v1/token/blacklist", tag = "tokens", operation_id = "logOut",
    summary = "Log out",
    description = "Ends the session of a refresh token.",
    params(Proof),
    request_body(content = RefreshToken, description = "The refresh token."),
    responses((status = 200, description = "Done.", body = Empty), RefreshRefused),
)]
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
