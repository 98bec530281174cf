//! Every path of the public port.

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};

use crate::app::App;
use crate::{
    events, inbox, login, me, me_password, me_phone, otp, sessions, signup, token, webhook,
};

/// Serves the public keys. Caches may keep them for a while: a new key is listed before it signs (contract, ruling 24).
async fn jwks_document(State(app): State<App>) -> impl IntoResponse {
    let headers =
        [(CACHE_CONTROL, "public, max-age=300"), (CONTENT_TYPE, "application/jwk-set+json")];
    (headers, app.tokens.jwks())
}

/// The routes, without what all answers share: [`crate::middleware::finish`] adds that.
pub(crate) fn routes(app: App) -> Router {
    let mut router = Router::new()
        .route("/v1/signup", post(signup::signup))
        .route("/v1/otp", post(otp::request))
        .route("/v1/otp/{request_id}", get(otp::status))
        .route("/v1/otp/{request_id}/events", get(events::stream))
        .route("/v1/login", post(login::login))
        .route("/v1/token", post(me_password::sign_in))
        .route("/v1/token/refresh", post(token::refresh))
        .route("/v1/token/verify", post(token::verify))
        .route("/v1/token/blacklist", post(token::blacklist))
        .route("/v1/me", get(me::read).patch(me::change).delete(me::delete))
        .route("/v1/me/password", put(me_password::set))
        .route("/v1/me/phone", post(me_phone::request))
        .route("/v1/me/phone/confirm", post(me_phone::confirm))
        .route("/v1/me/sessions", get(sessions::list).delete(sessions::end_others))
        .route("/v1/me/sessions/{session_id}", delete(sessions::end))
        .route("/.well-known/jwks.json", get(jwks_document))
        .route("/webhooks/twilio/status/{attempt_id}", post(webhook::twilio_status));
    if app.has_inbox() {
        router = router.route("/inbox/messages", get(inbox::messages));
    }
    router.with_state(app)
}
