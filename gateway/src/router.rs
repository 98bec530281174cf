//! Every path of the public port.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};

use crate::api::{
    inbox, jwks, login, me, otp, otp_events, password_sign_in, signup, token, twilio_webhook,
};
use crate::app::App;
use crate::console;
use crate::dpop::nonce;
use crate::openapi::{page, serve};
use crate::pages;

/// A handler that exists only once its body has arrived: while it is waited for, the request needs no room for what the
/// handler will need.
macro_rules! late {
    ($handler:path, $($part:ident),+) => {
        |$($part),+| Box::pin($handler($($part),+))
    };
}

/// The routes, without what all answers share: [`crate::http::layers::finish`] adds that.
pub(crate) fn routes(app: App) -> Router {
    let mut router = Router::new()
        .route("/v1/signup", post(late!(signup::signup, app, caller, body)))
        .route("/v1/otp", post(late!(otp::request, app, caller, body)))
        .route("/v1/otp/{request_id}", get(otp::status))
        .route("/v1/otp/{request_id}/events", get(otp_events::stream))
        .route("/v1/login", post(late!(login::login, app, caller, key, body)))
        .route("/v1/token", post(late!(password_sign_in::sign_in, app, caller, key, body)))
        .route("/v1/token/refresh", post(late!(token::refresh, app, key, body)))
        .route("/v1/token/verify", post(late!(token::verify, app, body)))
        .route("/v1/token/blacklist", post(late!(token::blacklist, app, key, body)))
        .route(
            "/v1/me",
            get(me::profile::read)
                .patch(late!(me::profile::change, app, signed_in, body))
                .delete(me::profile::delete),
        )
        .route(
            "/v1/me/password",
            put(late!(me::password::set, app, signed_in, caller, body)).delete(late!(
                me::password::remove,
                app,
                signed_in,
                caller,
                body
            )),
        )
        .route("/v1/me/activity", get(me::activity::list))
        .route("/v1/me/phone", post(late!(me::phone::request, app, signed_in, caller, body)))
        .route(
            "/v1/me/phone/confirm",
            post(late!(me::phone::confirm, app, signed_in, caller, body)),
        )
        .route("/v1/me/sessions", get(me::sessions::list).delete(me::sessions::end_others))
        .route("/v1/me/sessions/{session_id}", delete(me::sessions::end))
        .route("/.well-known/jwks.json", get(jwks::document))
        .route("/openapi.json", get(serve::openapi_document))
        .merge(page::routes())
        .route("/webhooks/twilio/status/{attempt_id}", post(twilio_webhook::twilio_status))
        .merge(pages::routes(&app));
    if app.has_inbox() {
        router = router.route("/inbox/messages", get(inbox::messages));
    }
    if app.config.dpop_nonce {
        router = router.layer(from_fn_with_state(app.clone(), nonce::offer));
    }
    router.merge(console::routes(&app)).with_state(app)
}
