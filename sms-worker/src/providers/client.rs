//! The HTTP client for providers, and the two questions after each call: was the request sent, and what does the answer
//! say?

use std::time::Duration;

use anyhow::Context as _;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use super::Outcome;

/// Time limit to connect to a provider.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Time limit of a whole call, including the connection.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How long a connection is kept without a call. If the other side closes it just as a text is sent on it, the outcome
/// is unknown (P2), so ours ends first: Node.js, Uvicorn and Apache, as a webhook may be, close after 5 s by default, load
/// balancers and Twilio later. A text that finds none opens one.
const IDLE: Duration = Duration::from_secs(4);
/// As many as calls and queries run at once: a call that is over must not close its connection while others open theirs.
const MOST_IDLE: usize = 128;
/// The rest of an answer is not read: nothing that we look for is that long.
const MAX_ANSWER: usize = 64 * 1024;

/// Builds a client that never sends a request twice: no redirects, no retries. `limit` is [`LIMIT`] except in tests.
pub fn client(limit: Duration) -> anyhow::Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        .no_proxy()
        .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("build the providers' HTTP client")
}

/// Classifies a call without an answer. Only an error before the connection was made proves that nothing was sent.
pub(super) fn without_answer(error: &reqwest::Error) -> Outcome {
    if error.is_builder() {
        Outcome::Unavailable("the request could not be built")
    } else if error.is_connect() {
        Outcome::Unavailable("no connection")
    } else if error.is_timeout() {
        Outcome::Unknown("no answer in time")
    } else {
        Outcome::Unknown("connection lost before the answer")
    }
}

/// Reads the start of an answer's body, or as much as arrived before the connection was lost.
pub(super) async fn body(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    body
}

/// Reads `Retry-After` in seconds; providers do not use its date form.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
