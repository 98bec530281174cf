//! The pages for development: `/` (what this server offers), `/inbox` (its texts) and `/try` (sign in).
//!
//! They are there for whoever tries Latchkey or builds an app on it, and absent in production. `/try` is written to be
//! read: one page of HTML, one of CSS, one of JavaScript, no framework, no build. They use the public API like any
//! client, and must never know how it works inside.

mod files;
mod inbox;
mod settings;
mod sign_in;
mod start;

use axum::Router;
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::page_headers::keep_apart;

/// The pages that this deployment serves; none in production (contract, section 3).
pub(crate) fn routes(app: &App) -> Router<App> {
    if !app.is_development() {
        return Router::new();
    }
    let mut router = Router::new()
        .route("/", get(start::page))
        .route("/try", get(sign_in::page))
        .route("/pages/settings.json", get(settings::document))
        .route("/pages/{file}", get(files::file));
    if app.has_inbox() {
        router = router.route("/inbox", get(inbox::page));
    }
    router.layer(map_response(keep_apart))
}

fn html(template: &impl askama::Template) -> Result<Response, ApiError> {
    let text = template.render().map_err(anyhow::Error::from)?;
    Ok(Html(text).into_response())
}

/// The `token` of a query, once.
fn token_in(query: Option<&str>) -> Option<String> {
    let mut tokens = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "token");
    let token = tokens.next().map(|(_, token)| token.into_owned());
    tokens.next().is_none().then_some(token)?
}

/// A query with this token, for links from one page to the next; empty without one.
fn query_with(token: Option<&str>) -> String {
    let encoded = |token: &str| -> String {
        url::form_urlencoded::byte_serialize(token.as_bytes()).collect()
    };
    token.map_or_else(String::new, |token| format!("?token={}", encoded(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_once_and_written_so_that_it_can_be_read_again() {
        assert_eq!(token_in(None), None);
        assert_eq!(token_in(Some("a=b")), None);
        assert_eq!(token_in(Some("token=a&token=b")), None);
        for token in ["plain-token-of-16", "a&b=c\"<'>?#%+/", ""] {
            let query = query_with(Some(token));
            assert_eq!(token_in(query.strip_prefix('?')).as_deref(), Some(token));
            assert!(!query.contains(['"', '<', '>', '\'', '&']), "{query}");
        }
        assert_eq!(query_with(None), "");
    }
}
