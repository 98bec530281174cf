//! `GET /openapi.json`: the document of this gateway.

use std::sync::OnceLock;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use bytes::Bytes;

use crate::app::App;
use crate::openapi::document;
use crate::openapi::refusals::refusals;

refusals!(DocumentRefused: NoBody);

/// Serves the OpenAPI document. It is made at its first use, and only its bytes are kept: most gateways never serve it.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "getOpenApi",
    summary = "This document",
    description = "The OpenAPI document of this server. May be cached for 5 minutes; `/docs` shows it as a page.",
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json",
        headers(("Cache-Control" = String, description = "How long it may be kept.")),
        example = json!({ "openapi": "3.1.0", "info": { "title": "Latchkey", "version": "0.1.0" }, "paths": {} })),
        DocumentRefused),
)]
pub(crate) async fn openapi_document(State(app): State<App>) -> impl IntoResponse {
    let headers = [(CACHE_CONTROL, "public, max-age=300"), (CONTENT_TYPE, "application/json")];
    (headers, bytes(app.has_inbox()))
}

fn bytes(has_inbox: bool) -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    // A process has one configuration, so there is one document.
    BYTES.get_or_init(|| document(has_inbox).to_string().into()).clone()
}
