//! `GET /inbox`: the texts that were kept instead of sent, as they arrive. The page reads `/inbox/messages`.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::app::App;
use crate::http::error::ApiError;
use crate::pages::{html, query_with, token_in};

#[derive(Template)]
#[template(path = "inbox.html", config = "src/pages/askama.toml")]
struct Inbox {
    token_query: String,
}

pub(crate) async fn page(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (asked, _) = request.into_parts();
    let token = token_in(asked.uri.query());
    app.inbox_access.check(&asked, token.as_deref())?;
    html(&Inbox { token_query: query_with(token.as_deref()) })
}
