//! `GET /`: what this server is, its address, the first three calls, and where else to look.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::HOST;
use http::request::Parts;

use crate::app::App;
use crate::http::error::ApiError;
use crate::pages::{html, query_with, token_in};

#[derive(Template)]
#[template(path = "start.html", config = "src/pages/askama.toml")]
struct Start {
    /// Without a trailing slash.
    address: String,
    has_inbox: bool,
    /// Continues the query of the call that reads the inbox.
    token_parameter: String,
    /// The query of links to the pages that need the token.
    token_query: String,
    asks_for_token: bool,
    is_token_wrong: bool,
}

/// The page holds no secret, so it is open without the inbox's token, which it asks for.
pub(crate) async fn page(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (asked, _) = request.into_parts();
    let token = token_in(asked.uri.query());
    let refused = match app.inbox_access.check(&asked, token.as_deref()) {
        Ok(()) => false,
        Err(ApiError::InboxTokenNotValid) => true,
        Err(other) => return Err(other),
    };
    let token_query = query_with(token.as_deref().filter(|_| !refused));
    html(&Start {
        address: address(&app, &asked),
        has_inbox: app.has_inbox(),
        token_parameter: token_query.replacen('?', "&", 1),
        token_query,
        asks_for_token: refused,
        is_token_wrong: refused && token.is_some(),
    })
}

/// The configured address, or the one under which this page was opened: a server that listens on all addresses does
/// not know which of them its reader can reach.
fn address(app: &App, asked: &Parts) -> String {
    let host = asked.headers.get(HOST).and_then(|host| host.to_str().ok());
    match host.filter(|host| is_plain(host)) {
        Some(host) if app.config.public_url.is_none() => format!("http://{host}"),
        _ => app.public_url.to_string(),
    }
}

/// Whether a `Host` can stand in a command that is pasted into a shell.
fn is_plain(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_a_shell_would_run_is_not_shown() {
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80", "my-box.example"] {
            assert!(is_plain(host), "{host}");
        }
        for host in ["a$(id)", "a;b", "a'b", "a b", "<b>"] {
            assert!(!is_plain(host), "{host}");
        }
    }
}
