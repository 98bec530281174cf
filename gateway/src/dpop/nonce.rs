//! The server's nonces (RFC 9449, sections 8 and 9). With one, a proof cannot be made in advance: not even by someone who
//! may use the key for a moment.
//!
//! A nonce is a keyed hash of the minute in which it is given out. So every gateway accepts every gateway's nonces, and
//! none is stored.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use crate::app::App;
use crate::dpop::{DPOP, DPOP_NONCE};

/// For how many minutes after its own a nonce is accepted.
const KEPT_MINUTES: i64 = 5;

/// The nonces that a proof may carry now. That of the next minute is among them, because gateways' clocks differ.
pub(crate) fn accepted(app: &App) -> Vec<String> {
    let minute = minute(app);
    (minute - KEPT_MINUTES..=minute + 1).map(|minute| of(app, minute)).collect()
}

fn minute(app: &App) -> i64 {
    app.engines.clock.now().secs() / 60
}

fn of(app: &App, minute: i64) -> String {
    app.engines.keys.index("dpop nonce", &minute.to_string())
}

/// Adds the current nonce to the answer of each call that carries a proof or is refused for the lack of one: the client
/// uses it in its next proof.
pub(crate) async fn offer(State(app): State<App>, request: Request, next: Next) -> Response {
    let proven = request.headers().contains_key(DPOP);
    let mut response = next.run(request).await;
    let challenge = response.headers().get(WWW_AUTHENTICATE);
    if (proven || challenge.is_some_and(|value| value.as_bytes().starts_with(b"DPoP")))
        && let Ok(nonce) = HeaderValue::from_str(&of(&app, minute(&app)))
    {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}
