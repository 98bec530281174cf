//! What a page in a browser sent, refused where only programs call.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::ORIGIN;
use http::{HeaderMap, HeaderName};

use crate::http::error::ApiError;

/// Which site a request is from, as a browser says.
pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may call a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    Anybody,
    /// No page in a browser: its user did not mean the call.
    Programs,
}

/// Refuses a page's call where only programs may call.
pub(crate) async fn refuse_pages(callers: Callers, request: Request, next: Next) -> Response {
    if callers == Callers::Programs && is_of_a_page(request.headers()) {
        metrics::counter!("latchkey_admin_refused_total", "reason" => "browser").increment(1);
        return ApiError::BrowserNotAllowed.into_response();
    }
    next.run(request).await
}

/// Browsers say which site a request is from. Only an address that somebody typed is of none, and such a request has no
/// key.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
        || headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none")
}
