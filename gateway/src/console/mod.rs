//! The admin console: pages for staff, made by the server, that work without a script (contract, rulings 20 and 65).
//!
//! One room per subject; what they share is here. Each page and each act is a function of the crates that own the data, and
//! every act is written to the audit in the transaction that does it. It must never show a code, a token, or a whole phone
//! number that nobody asked to see.

mod audit;
mod blocks;
mod chart;
mod delivery;
mod developers;
mod engines;
mod find;
mod form;
mod guard;
mod ids;
mod limits;
mod live;
mod markdown;
mod members;
mod page;
mod params;
mod providers;
mod pulse;
mod queues;
mod refused;
mod requests;
mod secret;
pub(crate) mod session;
mod settings;
mod sign_in;
mod time;
mod users;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post};

use crate::app::App;
use crate::http::page_headers::keep_apart;

pub(crate) use self::live::MOST as MOST_LIVE;

/// Every path of the console.
pub(crate) fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/console", get(pulse::show))
        .route("/console/login", get(sign_in::show).post(sign_in::request_code))
        .route("/console/login/code", post(sign_in::check_code))
        .route(
            "/console/login/password",
            get(sign_in::password::show).post(sign_in::password::check),
        )
        .route("/console/logout", post(sign_in::sign_out))
        .route("/console/find", post(find::find))
        .route("/console/find/{id}", get(find::open))
        .route("/console/users", get(users::list).post(users::create::create))
        .route("/console/users/new", get(users::create::show))
        .route("/console/users/bulk", post(users::bulk::act))
        .route("/console/users/{id}", get(users::one::show))
        .route("/console/users/{id}/reveal", post(users::acts::reveal))
        .route("/console/users/{id}/{act}", post(users::acts::act))
        .route("/console/requests", get(requests::list))
        .route("/console/requests/export", post(requests::export))
        .route("/console/requests/{id}", get(requests::one::show))
        .route("/console/delivery", get(delivery::show))
        .route("/console/blocks", get(blocks::list).post(blocks::add))
        .route("/console/blocks/end", post(blocks::end))
        .route("/console/blocks/export", post(blocks::export))
        .route("/console/engines", get(engines::show))
        .route("/console/queues", get(queues::list).post(queues::acts::several))
        .route("/console/queues/{queue}/{id}", get(queues::one::show).post(queues::acts::one))
        .route("/console/providers", get(providers::list).post(providers::act))
        .route("/console/audit", get(audit::list))
        .route("/console/audit/export", post(audit::export))
        .route("/console/guard", get(guard::list))
        .route("/console/guard/open", post(guard::open))
        .route("/console/limits", get(limits::list).post(limits::explain))
        .route("/console/staff", get(members::list).post(members::change))
        .route("/console/settings", get(settings::show))
        .route("/console/developers", get(developers::show))
        .route("/console/developers/latchkey.postman_collection.json", get(developers::collection))
        .route(
            "/console/developers/latchkey.postman_environment.json",
            get(developers::environment),
        )
        .route(page::STYLE_PATH, get(page::style))
        .route(page::SCRIPT_PATH, get(page::script))
        .route("/console/{*path}", get(page::unknown))
        // Here and not at the end: its answer is a page, too.
        .method_not_allowed_fallback(page::wrong_method)
        .layer(from_fn_with_state(app.clone(), live::follow))
        .layer(from_fn(page::explain))
        .layer(map_response(keep_apart))
}
