//! The admin console: pages for staff, made by the server, that work without a script (contract, rulings 20 and 65).
//!
//! One room per subject; what they share is here. Each page and each act is a function of the crates that own the data, and
//! every act is written to the audit in the transaction that does it. It must never show a code, a token, or a whole phone
//! number that nobody asked to see.

mod audit;
mod blocks;
mod find;
mod form;
mod home;
mod page;
mod params;
mod refused;
mod requests;
mod rights;
mod secret;
mod session;
mod sign_in;
mod time;
mod users;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};

use crate::app::App;

/// Every path of the console.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/console", get(home::show))
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
        .route("/console/users/{id}", get(users::one::show))
        .route("/console/users/{id}/reveal", post(users::acts::reveal))
        .route("/console/users/{id}/{act}", post(users::acts::act))
        .route("/console/requests", get(requests::list))
        .route("/console/requests/{id}", get(requests::one::show))
        .route("/console/blocks", get(blocks::list).post(blocks::add))
        .route("/console/blocks/end", post(blocks::end))
        .route("/console/audit", get(audit::list))
        .route("/console/audit/export", post(audit::export))
        .route(page::STYLE_PATH, get(page::style))
        .route("/console/{*path}", get(page::unknown))
        .layer(from_fn(page::finish))
}
