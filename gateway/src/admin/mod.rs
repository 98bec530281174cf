//! The admin API: what the console does, for programs, by keys of a role, on a port of its own (contract, ruling 69).
//!
//! Each route reads its call, asks the right and calls a function of [`crate::staff`], as a page of the console does: no
//! answer holds what a page computes. It must never know a cookie, and no route of it is on the public port.
//!
//! A new view is a handler with its `#[utoipa::path]` in the file of its subject, a line in [`routes`], a line in
//! [`document`]'s `paths`, and `latchkey openapi --admin > docs/openapi-admin.json`.

mod audit;
mod blocks;
mod bulk;
mod by_key;
mod delivery;
pub(crate) mod document;
mod find;
mod guard;
mod limits;
mod list;
mod members;
mod providers;
mod queues;
mod requests;
mod system;
mod users;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

/// Every path of the admin port, without what all answers share: [`crate::http::layers::finish`] adds that.
pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/admin/v1/users", get(users::list).post(users::create))
        .route("/admin/v1/users/find", post(users::find))
        .route("/admin/v1/users/bulk", post(bulk::act))
        .route("/admin/v1/users/{user_id}", get(users::read))
        .route("/admin/v1/users/{user_id}/block", post(users::block))
        .route("/admin/v1/users/{user_id}/unblock", post(users::unblock))
        .route("/admin/v1/users/{user_id}/unlock", post(users::unlock))
        .route("/admin/v1/users/{user_id}/clear-password", post(users::clear_password))
        .route("/admin/v1/users/{user_id}/end-sessions", post(users::end_sessions))
        .route("/admin/v1/users/{user_id}/send-code", post(users::send_code))
        .route("/admin/v1/users/{user_id}/reveal", post(users::reveal))
        .route("/admin/v1/users/{user_id}/notes", post(users::add_note))
        .route("/admin/v1/users/{user_id}/export", post(users::export))
        .route("/admin/v1/users/{user_id}/delete", post(users::delete))
        .route("/admin/v1/requests", get(requests::list))
        .route("/admin/v1/requests/{request_id}", get(requests::read))
        .route("/admin/v1/blocks", get(blocks::list).post(blocks::set))
        .route("/admin/v1/blocks/end", post(blocks::end))
        .route("/admin/v1/pulse", get(delivery::pulse))
        .route("/admin/v1/delivery", get(delivery::delivery))
        .route("/admin/v1/providers", get(providers::read))
        .route("/admin/v1/providers/{provider}/shut", post(providers::shut))
        .route("/admin/v1/providers/{provider}/open", post(providers::open))
        .route("/admin/v1/queues", get(queues::read))
        .route("/admin/v1/queues/{queue}/letters/{id}", get(queues::letter))
        .route("/admin/v1/queues/{queue}/replay", post(queues::replay))
        .route("/admin/v1/queues/{queue}/drop", post(queues::drop_letters))
        .route("/admin/v1/engines", get(system::engines))
        .route("/admin/v1/guard", get(guard::read))
        .route("/admin/v1/guard/replay", post(guard::replay))
        .route("/admin/v1/guard/open", post(guard::open))
        .route("/admin/v1/limits", get(limits::read))
        .route("/admin/v1/limits/explain", post(limits::explain))
        .route("/admin/v1/staff", get(members::list))
        .route("/admin/v1/settings", get(system::settings))
        .route("/admin/v1/webhook-calls", get(system::webhook_calls))
        .route("/admin/v1/audit", get(audit::list))
        .route("/admin/v1/find/{id}", get(find::find))
        .route("/openapi.json", get(document::serve))
        .with_state(app)
}
