//! What all pages of the console share: the frame around them, their headers, the pages of refusals, the style sheet.

use std::sync::LazyLock;

use accounts::User;
use anyhow::Context as _;
use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::console::refused::{Explained, Refused};
use crate::console::session::Staff;
use crate::http::error::ApiError;
use crate::http::layers::HttpRequestId;

pub(crate) const STYLE_PATH: &str = "/console/style.css";
const STYLE: &str = include_str!("../../templates/console/style.css");
/// The address of the style sheet, with a mark of its content: a browser keeps it until it changes.
static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| {
    let mark = hex::encode(&digest(&SHA256, STYLE.as_bytes()).as_ref()[..6]);
    format!("{STYLE_PATH}?{mark}")
});

/// Nothing from elsewhere, nothing inline, framed by nobody.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     form-action 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// Headers that keep a page apart from other sites, beside those that every answer has.
const APART: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// The pages of the navigation: address, name.
const PAGES: &[(&str, &str)] = &[
    ("/console", "Pulse"),
    ("/console/requests", "Requests"),
    ("/console/users", "Users"),
    ("/console/blocks", "Blocks"),
    ("/console/audit", "Audit"),
];

/// What stands around a page's own content.
pub(crate) struct Frame {
    pub style: &'static str,
    pub title: String,
    /// `None`: nobody is signed in.
    pub staff: Option<Shown>,
    /// The pages of the navigation.
    pub pages: &'static [(&'static str, &'static str)],
    /// The address of this page among them.
    pub here: &'static str,
    /// The token of the page's forms.
    pub token: String,
}

/// Who is signed in, as the frame shows it.
pub(crate) struct Shown {
    pub id: String,
    pub name: String,
    pub role: &'static str,
}

impl Frame {
    pub fn new(staff: &Staff, here: &'static str, title: impl Into<String>) -> Self {
        let shown = Shown {
            id: staff.user.id.to_string(),
            name: name_of(&staff.user),
            role: staff.role.as_str(),
        };
        let (title, token) = (title.into(), staff.token.clone());
        Self { style: &STYLE_ADDRESS, title, staff: Some(shown), pages: PAGES, here, token }
    }

    /// For a page before the sign-in.
    pub fn of_stranger(title: &str, token: String) -> Self {
        let title = title.to_owned();
        Self { style: &STYLE_ADDRESS, title, staff: None, pages: &[], here: "", token }
    }
}

/// The name of an account; its masked number if it has none.
pub(crate) fn name_of(user: &User) -> String {
    let name = format!("{} {}", user.first_name, user.last_name);
    if name.trim().is_empty() { user.phone_number.to_string() } else { name.trim().to_owned() }
}

/// A template as the answer.
pub(crate) fn html(page: &impl Template) -> Result<Response, Refused> {
    Ok(Html(page.render().context("render a page")?).into_response())
}

#[derive(Template)]
#[template(path = "console/refused.html")]
struct RefusedPage<'a> {
    frame: Frame,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

/// Adds to each answer of the console what all of them have, and gives a refusal its page.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<HttpRequestId>().cloned();
    let mut response = next.run(request).await;
    if let Some(Explained { title, detail }) = response.extensions_mut().remove() {
        let page = RefusedPage {
            frame: Frame::of_stranger(&title, String::new()),
            status: response.status().as_u16(),
            detail: &detail,
            request_id: id.as_ref().map_or("", |id| &*id.0),
        };
        let text = page.render().unwrap_or(detail);
        response.headers_mut().remove(CONTENT_LENGTH);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        *response.body_mut() = text.into();
    }
    for (name, value) in APART {
        response.headers_mut().insert(name, value);
    }
    response
}

pub(crate) async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (StatusCode::OK, headers, STYLE).into_response()
}

/// A path of the console that does not exist: told to staff only, so that a stranger learns of no page.
pub(crate) async fn unknown(_: Staff) -> Refused {
    ApiError::NotFound.into()
}
