//! `GET /docs`: the API as a page, to read and to try. The page is made from the document; nothing comes from elsewhere.
//!
//! It is our own and not Swagger UI: that weighs 1.5 MB, and its address needs the trailing slash that this server
//! treats as none.

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::page_headers::keep_apart;
use crate::openapi::document;

mod html;

const KEPT: &str = "public, max-age=300";

pub(crate) fn routes() -> Router<App> {
    let router = Router::new().route("/docs", get(page)).route("/docs/{file}", get(file));
    router.layer(map_response(keep_apart))
}

/// Serves the page. It is made at its first use.
async fn page(State(app): State<App>) -> impl IntoResponse {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    // A process has one configuration, so there is one page.
    let page = PAGE.get_or_init(|| html::page(&document(app.has_inbox())).into()).clone();
    answer("text/html; charset=utf-8", page)
}

/// Serves a file of the page.
async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let (media_type, text) = match name.as_str() {
        "docs.css" => ("text/css; charset=utf-8", include_str!("page/docs.css")),
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("page/docs.js")),
        _ => return Err(ApiError::NotFound),
    };
    Ok(answer(media_type, Bytes::from_static(text.as_bytes())).into_response())
}

fn answer(media_type: &'static str, body: Bytes) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, KEPT)], body)
}
