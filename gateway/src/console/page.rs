//! What all pages of the console share: the frame around them, their headers, the pages of refusals, the style sheet.

use std::sync::LazyLock;

use anyhow::Context as _;
use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::console::refused::{Explained, Refused};
use crate::console::session::Staff;
use crate::http::error::ApiError;
use crate::http::layers::HttpRequestId;
use crate::staff::name_of;

pub(crate) const STYLE_PATH: &str = "/console/style.css";
const STYLE: &str = include_str!("../../templates/console/style.css");
pub(crate) const SCRIPT_PATH: &str = "/console/console.js";
const SCRIPT: &str = include_str!("../../templates/console/console.js");
static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| marked(STYLE_PATH, STYLE));
static SCRIPT_ADDRESS: LazyLock<String> = LazyLock::new(|| marked(SCRIPT_PATH, SCRIPT));

/// The address of a file with a mark of its content: a browser keeps it until it changes.
fn marked(path: &str, content: &str) -> String {
    let mark = hex::encode(&digest(&SHA256, content.as_bytes()).as_ref()[..6]);
    format!("{path}?{mark}")
}

/// Pages of the navigation: address, name.
type Pages = &'static [(&'static str, &'static str)];

/// The navigation, in groups: who or what is searched for, what is watched, what is run.
const PAGES: &[(&str, Pages)] = &[
    ("Find", &[("/console/requests", "Requests"), ("/console/users", "Users")]),
    (
        "Watch",
        &[
            ("/console", "Pulse"),
            ("/console/delivery", "Delivery"),
            ("/console/providers", "Providers"),
            ("/console/queues", "Queues"),
            ("/console/engines", "Engines"),
        ],
    ),
    (
        "Protect",
        &[
            ("/console/guard", "Guard"),
            ("/console/limits", "Limits"),
            ("/console/blocks", "Blocks"),
            ("/console/audit", "Audit"),
        ],
    ),
    (
        "Set up",
        &[
            ("/console/staff", "Staff"),
            ("/console/settings", "Keys and settings"),
            ("/console/developers", "For developers"),
        ],
    ),
];

/// What stands around a page's own content.
pub(crate) struct Frame {
    pub style: &'static str,
    pub script: &'static str,
    pub title: String,
    /// `None`: nobody is signed in.
    pub staff: Option<Shown>,
    /// The pages of the navigation.
    pub pages: &'static [(&'static str, Pages)],
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
        Self { staff: Some(shown), pages: PAGES, here, ..Self::empty(title, token) }
    }

    /// For a page before the sign-in.
    pub fn of_stranger(title: &str, token: String) -> Self {
        Self::empty(title.to_owned(), token)
    }

    fn empty(title: String, token: String) -> Self {
        let (style, script) = (&**STYLE_ADDRESS, &**SCRIPT_ADDRESS);
        Self { style, script, title, staff: None, pages: &[], here: "", token }
    }
}

/// A template as the answer.
pub(crate) fn html(page: &impl Template) -> Result<Response, Refused> {
    Ok(Html(page.render().context("render a page")?).into_response())
}

/// The media type of a file of JSON.
pub(crate) const JSON: &str = "application/json";

/// A file to be saved under this name.
pub(crate) fn download(name: &str, media_type: &'static str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(CONTENT_TYPE, media_type.to_owned()), (CONTENT_DISPOSITION, disposition)];
    (headers, text).into_response()
}

/// A list that was exported, to be saved under this name.
pub(crate) fn csv(name: &str, text: String) -> Response {
    download(name, "text/csv; charset=utf-8", text)
}

#[derive(Template)]
#[template(path = "console/refused.html")]
struct RefusedPage<'a> {
    frame: Frame,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

/// Gives a refusal its page.
pub(crate) async fn explain(request: Request, next: Next) -> Response {
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
    response
}

pub(crate) async fn style() -> Response {
    kept("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> Response {
    kept("text/javascript; charset=utf-8", SCRIPT)
}

fn kept(media_type: &'static str, content: &'static str) -> Response {
    let headers =
        [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (StatusCode::OK, headers, content).into_response()
}

/// A page that takes no form, or a form without its page.
pub(crate) async fn wrong_method() -> Refused {
    ApiError::MethodNotAllowed { allow: None }.into()
}

/// A path of the console that does not exist: told to staff only, so that a stranger learns of no page.
pub(crate) async fn unknown(_: Staff) -> Refused {
    ApiError::NotFound.into()
}
