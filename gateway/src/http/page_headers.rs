//! The headers of pages: what a text on one holds cannot become code, and no other site frames, opens or embeds one.

use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue};

/// Nothing inline, nothing from elsewhere, framed by nobody.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const APART: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    // For browsers that do not know `frame-ancestors`.
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), SAME_ORIGIN),
    (HeaderName::from_static("cross-origin-resource-policy"), SAME_ORIGIN),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// Adds to the answer of a page, or of a file of one, what all of them have. A layer for `axum::middleware::map_response`.
pub(crate) async fn keep_apart(mut response: Response) -> Response {
    for (name, value) in APART {
        response.headers_mut().insert(name, value);
    }
    response
}
