//! The HTTP client of the providers, and the two questions that each call ends in: did the request leave, and what
//! does the answer say?

use std::time::Duration;

use anyhow::Context as _;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use super::Outcome;

/// To reach a provider.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A whole call, connecting included.
pub const LIMIT: Duration = Duration::from_secs(10);
/// More of an answer is not read: nothing that we look for is that long.
const MAX_ANSWER: usize = 64 * 1024;

/// A client that never sends a request twice: no redirects, no retries. `limit` is [`LIMIT`] but in tests.
pub fn client(limit: Duration) -> anyhow::Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        // A connection that the other side is about to close turns a send into an unknown outcome: keep none for long.
        .pool_idle_timeout(Duration::from_secs(15))
        .pool_max_idle_per_host(16)
        .no_proxy()
        .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("build the providers' HTTP client")
}

/// What a call without an answer means. Only an error before the connection stood is sure to have sent nothing.
pub fn without_answer(error: &reqwest::Error) -> Outcome {
    if error.is_builder() {
        Outcome::Unavailable("the request could not be built")
    } else if error.is_connect() {
        Outcome::Unavailable("no connection")
    } else if error.is_timeout() {
        Outcome::Unknown("no answer in time")
    } else {
        Outcome::Unknown("cut before the answer")
    }
}

/// The start of an answer's body; what came of it, should it be cut.
pub async fn body(response: &mut Response) -> Vec<u8> {
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

/// `Retry-After` in seconds; its form with a date is not used by providers.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
