//! The OpenAPI document of the admin port.

use std::sync::OnceLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::Value;
use utoipa::OpenApi;

use super::{
    audit, blocks, bulk, delivery, find, guard, limits, members, providers, queues, requests,
    system, users,
};
use crate::openapi::finish::{self, Surface};
use crate::openapi::refusals::refusals;
use crate::openapi::words;

refusals!(DocumentRefused: Browserless);

/// What the admin port serves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey admin API",
        description = "What staff do at the console, for programs: by keys that `latchkey admin-keys create` makes, each \
            with a role, on a port of its own (LATCHKEY_ADMIN_LISTEN).\n\n\
            Every refusal is a problem document (RFC 9457) with a stable `code`. Phone numbers are masked; each act is in \
            the audit as `admin-key:` and the key's name. Times are RFC 3339 in UTC. Answers may gain fields: ignore those \
            that you do not know.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    paths(
        users::list,
        users::create,
        users::find,
        bulk::act,
        users::read,
        users::block,
        users::unblock,
        users::unlock,
        users::clear_password,
        users::end_sessions,
        users::send_code,
        users::reveal,
        users::add_note,
        users::export,
        users::delete,
        requests::list,
        requests::read,
        blocks::list,
        blocks::set,
        blocks::end,
        delivery::pulse,
        delivery::delivery,
        providers::read,
        providers::shut,
        providers::open,
        queues::read,
        queues::letter,
        queues::replay,
        queues::drop_letters,
        system::engines,
        guard::read,
        guard::replay,
        guard::open,
        limits::read,
        limits::explain,
        members::list,
        system::settings,
        system::webhook_calls,
        audit::list,
        find::find,
        serve,
    ),
    // Named by parameters alone.
    components(schemas(words::ProviderName)),
    tags(
        (name = "users", description = "Accounts, and what staff do with them."),
        (name = "requests", description = "Texts and calls, and the time line of each."),
        (name = "blocks", description = "Who and what may not request codes."),
        (name = "delivery", description = "Whether everything is as usual, and who delivers where."),
        (name = "providers", description = "The providers that carry texts, and the routes."),
        (name = "queues", description = "The queues between the services, and their dead letters."),
        (name = "guard", description = "What the pumping guard saw and blocks."),
        (name = "limits", description = "The limits in effect, and what they would answer."),
        (name = "staff", description = "Who has which role."),
        (name = "system", description = "What runs, how it is set, and whether receipts come through."),
        (name = "audit", description = "Who did what to whom."),
        (name = "find", description = "What an id from a log belongs to."),
        (name = "service", description = "This document."),
    ),
)]
struct Served;

/// The OpenAPI document (3.1) of the admin port; docs/openapi-admin.json is this.
pub fn admin_document() -> Value {
    finish::finish(Served::openapi(), Surface::Admin)
}

/// Serves the document; it needs no key, and holds nothing of this deployment.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "getAdminOpenApi",
    summary = "This document",
    description = "The OpenAPI document of this port. It needs no key.",
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json",
        example = json!({ "openapi": "3.1.0", "info": { "title": "Latchkey admin API", "version": "0.1.0" }, "paths": {} })),
        DocumentRefused),
)]
pub(super) async fn serve() -> impl IntoResponse {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| admin_document().to_string().into()).clone();
    ([(CONTENT_TYPE, "application/json")], bytes)
}
