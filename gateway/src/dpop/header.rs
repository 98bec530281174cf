//! The `DPoP` header (RFC 9449): a sign-in binds its session to a key of the client, and later calls prove that key.

use axum::extract::FromRequestParts;
use config::Environment;
use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;

use crate::app::App;
use crate::dpop::DPOP;
use crate::dpop::nonce;
use crate::dpop::proof::{self, AHEAD_SECS, BEHIND_SECS, Call, Flaw, Proven};
use crate::http::error::ApiError;
use crate::tokens::bearer::{Scheme, SentToken};

/// How long a used proof is remembered: as long as it could be valid, plus the clock skew between two gateways.
const KEPT_SECS: u64 = (AHEAD_SECS + BEHIND_SECS + 10).unsigned_abs();

/// The thumbprint of the key that the caller proved to hold, for calls without an access token; `None` without a `DPoP`
/// header. A header that is sent must be valid even if none is required.
pub(crate) struct ProvenKey(pub Option<String>);

impl FromRequestParts<App> for ProvenKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let proven = judge(parts, app, None)?;
        Ok(Self(proven.map(|proven| proven.jkt)))
    }
}

/// The proof sent with an access token, by the key that the token is bound to; `None` for an unbound token. A bound
/// token is valid only under the `DPoP` scheme, an unbound one only under `Bearer`.
pub(crate) fn for_token(
    parts: &Parts,
    app: &App,
    token: &SentToken,
    bound_to: Option<&str>,
) -> Result<Option<Proven>, ApiError> {
    let jkt = match (token.scheme, bound_to) {
        (Scheme::Bearer, None) => return Ok(None),
        (Scheme::Bearer, Some(_)) => return Err(ApiError::TokenBound),
        (Scheme::Dpop, None) => return Err(ApiError::TokenNotBound),
        (Scheme::Dpop, Some(jkt)) => jkt,
    };
    let proven = judge(parts, app, Some(token.expose()))?.ok_or(Flaw::Missing)?;
    if proven.jkt != jkt {
        return Err(Flaw::OtherKey.into());
    }
    Ok(Some(proven))
}

/// Accepts a proof only once. Otherwise a call of a bound session that was copied from a log or a broken proxy could be
/// replayed while its proof is fresh.
pub(crate) async fn use_up(app: &App, proven: &Proven) -> Result<(), ApiError> {
    let key = app.engines.keys.index("dpop", &format!("{} {}", proven.jkt, proven.jti));
    if app.replay_guard.first_time(&key, KEPT_SECS).await? {
        return Ok(());
    }
    Err(Flaw::Used.into())
}

/// Checks the request's proof, if there is one, against this request.
fn judge(parts: &Parts, app: &App, access_token: Option<&str>) -> Result<Option<Proven>, Flaw> {
    let Some(text) = only(&parts.headers)? else { return Ok(None) };
    let url = url(parts, app).ok_or(Flaw::Url)?;
    let nonces = app.config.dpop_nonce.then(|| nonce::accepted(app));
    let call = Call {
        method: parts.method.as_str(),
        url: &url,
        access_token,
        now_secs: app.engines.clock.now().secs(),
        nonces: nonces.as_deref(),
    };
    proof::check(text, call).map(Some)
}

fn only(headers: &HeaderMap) -> Result<Option<&str>, Flaw> {
    let mut values = headers.get_all(DPOP).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Flaw::NotOne),
    }
}

/// This request's URL as the client sees it. Proxy headers are not used: behind a proxy, the configuration holds our
/// public URL. `None` in production without one: the client's own `Host` would let in a proof that was made for another
/// server.
fn url(parts: &Parts, app: &App) -> Option<String> {
    let path = parts.uri.path();
    if app.config.public_url.is_some() {
        return Some(format!("{}{path}", app.public_url));
    }
    if app.config.environment == Environment::Production {
        return None;
    }
    let host = parts.headers.get(HOST)?.to_str().ok()?;
    Some(format!("http://{host}{path}"))
}

impl From<Flaw> for ApiError {
    fn from(flaw: Flaw) -> Self {
        tracing::debug!(reason = ?flaw, "proof refused");
        Self::ProofNotValid(flaw)
    }
}
