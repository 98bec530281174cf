//! `GET /pages/{file}`: the scripts, styles and words of the pages. They are part of the program.

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};

use crate::http::error::ApiError;
use crate::http::etag;

/// A name under `/pages/`, and its content.
type File = (&'static str, &'static str);

macro_rules! words {
    ($($locale:literal),+) => {
        const WORDS: &[File] = &[
            $((concat!($locale, ".json"), include_str!(concat!("texts/", $locale, ".json")))),+
        ];
    };
}

// The locales of the sign-in page: those that texts have.
words!("en", "fa", "es", "fr", "de", "ar", "tr", "pt-BR", "hi", "id");

const FILES: &[File] = &[
    ("pages.css", include_str!("static/pages.css")),
    ("copy.js", include_str!("static/copy.js")),
    ("start.js", include_str!("static/start.js")),
    ("inbox.js", include_str!("static/inbox.js")),
    ("try.js", include_str!("static/try.js")),
    ("icon.svg", include_str!("static/icon.svg")),
];

/// Browsers ask again after a minute whether a file has changed, so that an upgrade shows soon.
pub(crate) async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::NotFound)?;
    let (name, content) =
        FILES.iter().chain(WORDS).find(|(file, _)| *file == name).ok_or(ApiError::NotFound)?;
    let tag = etag::of(content.as_bytes());
    let is_known = etag::is_known(&headers, &tag);
    let shared = [(CACHE_CONTROL, "public, max-age=60"), (CONTENT_TYPE, content_type(name))];
    let mut response = if is_known {
        (StatusCode::NOT_MODIFIED, shared).into_response()
    } else {
        (shared, Body::from(*content)).into_response()
    };
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/json",
    }
}
