//! The provider: a webhook in this program, so that no process that is measured pays for it. It keeps connections open,
//! as providers do, and knows when each phone was called and which code it got.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How often this program looks whether what it waits for has come: its own time is not measured.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Which calls are answered 500, their texts not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fails {
    #[default]
    Never,
    /// So many of a hundred, spread evenly: never two in a row.
    Evenly(usize),
    /// So many of a hundred on average: now and then several in a row, which looks like an outage.
    AtRandom(u64),
}

/// What the provider knows about a phone.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub first_call: Option<Instant>,
    pub taken_at: Option<Instant>,
    /// How many texts were taken.
    pub taken: usize,
    pub code: String,
}

#[derive(Default)]
struct Known {
    delay_ms: AtomicU64,
    fails: Mutex<Fails>,
    calls: AtomicUsize,
    /// Phones with at least one text.
    reached: AtomicUsize,
    seen: Mutex<HashMap<String, Seen>>,
}

/// A running provider; it ends when dropped.
pub struct Provider {
    url: String,
    known: Arc<Known>,
    serving: JoinHandle<()>,
}

impl Provider {
    /// Serves on a free local port. It answers at once and takes every text, until told otherwise.
    pub async fn start() -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("listen for the provider's calls")?;
        let url = format!("http://{}/texts", listener.local_addr()?);
        let known = Arc::new(Known::default());
        let served = Router::new().route("/texts", post(take)).with_state(known.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, served).await.expect("the listener stays open");
        });
        Ok(Self { url, known, serving })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The settings with which Latchkey sends all texts here.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [
            ("LATCHKEY_SMS_ROUTES", "default=http"),
            ("LATCHKEY_HTTP_PROVIDER_URL", self.url.as_str()),
            ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-the-load-generator-only"),
        ]
    }

    /// From now on, answers after `delay`, and fails so.
    pub fn behave(&self, delay: Duration, fails: Fails) {
        let delay = u64::try_from(delay.as_millis()).expect("a delay is short");
        self.known.delay_ms.store(delay, Ordering::Relaxed);
        *self.known.fails.lock().expect("no panic while held") = fails;
    }

    pub fn look(&self, phone: &str) -> Seen {
        let seen = self.known.seen.lock().expect("no panic while held");
        seen.get(phone).cloned().unwrap_or_default()
    }

    /// The number of phones that have a text.
    pub fn reached(&self) -> usize {
        self.known.reached.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> usize {
        self.known.calls.load(Ordering::Relaxed)
    }

    /// Waits until this many phones have a text; `false` if they have not within `limit`.
    pub async fn reaches(&self, phones: usize, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.reached() < phones {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(
    State(known): State<Arc<Known>>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let (phone, text) = (body["phone_number"].as_str(), body["text"].as_str());
    let (phone, text) = (phone.unwrap_or_default(), text.unwrap_or_default());
    known.note(phone, |seen| _ = seen.first_call.get_or_insert_with(Instant::now));
    let number = known.calls.fetch_add(1, Ordering::Relaxed);
    let delay = known.delay_ms.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let fails = match *known.fails.lock().expect("no panic while held") {
        Fails::Never => false,
        Fails::Evenly(percent) => number * percent % 100 < percent,
        Fails::AtRandom(percent) => domain::rng::spread_below(100) < percent,
    };
    if fails {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(Value::Null));
    }
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6);
    let first = known.note(phone, |seen| {
        seen.taken += 1;
        seen.taken_at.get_or_insert_with(Instant::now);
        code.unwrap_or_default().clone_into(&mut seen.code);
        seen.taken == 1
    });
    known.reached.fetch_add(usize::from(first), Ordering::Relaxed);
    (StatusCode::OK, Json(json!({ "id": body["attempt_id"] })))
}

impl Known {
    fn note<T>(&self, phone: &str, what: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.seen.lock().expect("no panic while held");
        what(seen.entry(phone.to_owned()).or_default())
    }
}
