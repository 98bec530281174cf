//! Pages that follow what happens. A page that is requested as an event stream is made again and again, and what changed of
//! its live parts is sent: so each list is live by the code that shows it, and a role that was removed ends the stream.
//!
//! A live part begins behind an element's `data-live` and ends at `<!--/live-->`; a page has as many as it likes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::error::{AlreadyLogged, ApiError};

/// How many pages of one process may be live: each is made anew every few seconds.
pub(crate) const MOST: usize = 40;
/// How often a page is made again.
const EVERY: Duration = Duration::from_secs(2);
/// A stream ends after this and the browser opens the next: nothing stays open for as long as a tab does.
const LASTS: Duration = Duration::from_mins(10);
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The longest page that is looked at.
const LONGEST: usize = 1024 * 1024;
const STREAM: &str = "text/event-stream";
const BEGINS: &str = " data-live>";
const ENDS: &str = "<!--/live-->";

/// Marks a request that a live page makes of itself: nobody sits at it, so it keeps no session alive.
#[derive(Clone, Copy)]
pub(crate) struct OfItself;

/// Answers a request for an event stream with the live parts of its page; any other passes.
pub(crate) async fn follow(State(app): State<App>, request: Request, next: Next) -> Response {
    let accepts = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if request.method() != Method::GET || accepts != Some(STREAM) {
        return next.run(request).await;
    }
    let Ok(permit) = app.live_pages.clone().try_acquire_owned() else {
        return ApiError::unavailable(AlreadyLogged("too many pages of the console are live"))
            .into_response();
    };
    let page = Page::of(request);
    let first = next.clone().run(page.request()).await;
    if first.status() != StatusCode::OK {
        return first;
    }
    let live = Live {
        page,
        next,
        made: Some(first),
        shown: None,
        ends: Instant::now() + LASTS,
        stop: app.stop.clone(),
        over: false,
        _permit: permit,
    };
    let sse = Sse::new(live.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    ([(CACHE_CONTROL, "no-store")], sse).into_response()
}

/// The request that is made again and again.
struct Page {
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Page {
    fn of(request: Request) -> Self {
        let (mut parts, _) = request.into_parts();
        parts.headers.remove(ACCEPT);
        parts.extensions.insert(OfItself);
        Self { uri: parts.uri, headers: parts.headers, extensions: parts.extensions }
    }

    fn request(&self) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

struct Live {
    page: Page,
    next: Next,
    /// The page that was made before the stream began: its first event.
    made: Option<Response>,
    /// The parts that were sent last.
    shown: Option<Vec<String>>,
    ends: Instant,
    stop: CancellationToken,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Live {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, |mut live| async move {
            while !live.over && Instant::now() < live.ends {
                if live.made.is_none() {
                    tokio::select! {
                        () = live.stop.cancelled() => return None,
                        () = tokio::time::sleep(EVERY) => {}
                    }
                }
                if let Some(event) = live.change().await {
                    return Some((Ok(event), live));
                }
            }
            None
        })
    }

    /// `shown` with the parts of the page if they changed; `over` if the page may not be seen any more. An engine that is
    /// away for a moment changes nothing.
    async fn change(&mut self) -> Option<Event> {
        let page = match self.made.take() {
            Some(made) => made,
            None => self.next.clone().run(self.page.request()).await,
        };
        let status = page.status();
        if status.is_server_error() {
            return None;
        }
        if status != StatusCode::OK {
            self.over = true;
            return Some(Event::default().event("over").data(status.as_str()));
        }
        let bytes = to_bytes(page.into_body(), LONGEST).await.ok()?;
        let parts = parts_of(std::str::from_utf8(&bytes).ok()?);
        let steady: Vec<String> = parts.iter().map(|part| without_ages(part)).collect();
        if self.shown.as_ref() == Some(&steady) {
            return None;
        }
        self.shown = Some(steady);
        Event::default().event("shown").json_data(parts).ok()
    }
}

/// The live parts of a page, in its order. What users wrote is escaped, so it can neither begin nor end one.
fn parts_of(page: &str) -> Vec<&str> {
    let behind = page.split(BEGINS).skip(1);
    behind.filter_map(|rest| rest.split_once(ENDS)).map(|(part, _)| part).collect()
}

/// The part without "5 s ago": a page is not another one because a moment has passed.
fn without_ages(part: &str) -> String {
    let mut steady = String::with_capacity(part.len());
    for (place, piece) in part.split("<time ").enumerate() {
        if place == 0 {
            steady.push_str(piece);
            continue;
        }
        let (time, rest) = piece.split_once("</time>").unwrap_or((piece, ""));
        steady.push_str(time.split('>').next().unwrap_or_default());
        steady.push_str(rest);
    }
    steady
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_parts_of_a_page_are_cut_out_in_order() {
        let page = "<h1>x</h1><section class=\"card\" data-live>a<b>b</b><!--/live--></section>\
            <p>still</p><div data-live><!--/live--></div><div data-live>never ended";
        assert_eq!(parts_of(page), ["a<b>b</b>", ""]);
        assert!(parts_of("<h1>nothing lives</h1> &#60;p data-live&#62;").is_empty());
    }

    #[test]
    fn a_moment_that_passes_is_no_change() {
        let at = |ago: &str, iso: &str| {
            without_ages(&format!(
                "<td><time datetime=\"{iso}\" title=\"{iso}\">{ago}</time>x</td>"
            ))
        };
        assert_eq!(at("5 s ago", "2027-01-15T08:00:00Z"), at("2 min ago", "2027-01-15T08:00:00Z"));
        assert_ne!(at("5 s ago", "2027-01-15T08:00:00Z"), at("5 s ago", "2027-01-15T08:00:01Z"));
    }
}
