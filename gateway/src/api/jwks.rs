//! `GET /.well-known/jwks.json`: the keys that verify access tokens.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use utoipa::ToSchema;

use crate::app::App;
use crate::openapi::refusals::refusals;

/// A set of public keys (RFC 7517).
#[derive(ToSchema)]
#[schema(as = JwkSet, examples(json!({ "keys": [{
    "alg": "ES256",
    "crv": "P-256",
    "kid": "2026-11-30T10-15-00Z",
    "kty": "EC",
    "use": "sig",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}] })))]
#[expect(dead_code, reason = "it only describes what `TokenKeys` writes")]
struct JwkSetView {
    /// The keys that verify tokens now. One that will sign later is listed before it does.
    keys: Vec<JwkView>,
}

/// A public key.
#[derive(ToSchema)]
#[schema(as = Jwk)]
#[expect(dead_code, reason = "it only describes what `TokenKeys` writes")]
struct JwkView {
    /// The key's name, as in the header of its tokens.
    kid: String,
    /// `EC`, `OKP` or `RSA`; the other members depend on it.
    kty: String,
    /// The algorithm of its tokens; accept no other.
    #[schema(examples("ES256"))]
    alg: String,
    /// Always `sig`.
    #[schema(value_type = String)]
    r#use: String,
    /// The curve, of `EC` and `OKP`.
    #[schema(value_type = String, required = false)]
    crv: Option<String>,
    /// Of `EC` and `OKP`.
    #[schema(value_type = String, required = false)]
    x: Option<String>,
    /// Of `EC`.
    #[schema(value_type = String, required = false)]
    y: Option<String>,
    /// Of `RSA`.
    #[schema(value_type = String, required = false)]
    n: Option<String>,
    /// Of `RSA`.
    #[schema(value_type = String, required = false)]
    e: Option<String>,
}

refusals!(JwksRefused: NoBody);

/// Serves the public keys. Caches may keep them for a while: a new key is listed before it signs (contract, ruling 24).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "service", operation_id = "getKeys",
    summary = "The public keys",
    description = "The keys that verify access tokens (RFC 7517). May be cached for 5 minutes.",
    responses((status = 200, description = "The keys that verify tokens now.", body = JwkSetView,
        content_type = "application/jwk-set+json",
        headers(("Cache-Control" = String, description = "How long it may be kept."))), JwksRefused),
)]
pub(crate) async fn document(State(app): State<App>) -> impl IntoResponse {
    let headers =
        [(CACHE_CONTROL, "public, max-age=300"), (CONTENT_TYPE, "application/jwk-set+json")];
    (headers, app.tokens.jwks())
}
