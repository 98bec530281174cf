//! From a client's ask to the provider's call, and what an unreliable provider changes: the provider is this program.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::{Pace, percentile, run};
use crate::ring::{Ring, Servers};
use crate::support::http::{Api, new_phone};

/// A code's life: what is not delivered by then is of no use.
const LIFE: Duration = Duration::from_secs(300);
const SLOW: Duration = Duration::from_secs(2);
/// Seldom: a hundred that wait must not be the load that they measure. The moments themselves are noted by the provider.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of a hundred calls of the unreliable provider.
const FAILING: u64 = 30;

/// What the provider knows of a phone.
#[derive(Clone, Copy, Default)]
struct Seen {
    called: Option<Instant>,
    failed_first: bool,
    taken: bool,
}

#[derive(Clone, Default)]
struct Provider {
    seen: Arc<Mutex<HashMap<String, (Seen, String)>>>,
    unreliable: bool,
}

/// What was measured with one provider.
struct Figures {
    waits: Vec<Duration>,
    logins: Vec<Duration>,
    delivered: usize,
    /// What would have been delivered had each text been tried once.
    once: usize,
}

pub async fn report(engines: &Servers, count: usize, rate: u32) -> anyhow::Result<()> {
    let mut good = measure(engines, Provider::default(), count, rate).await?;
    let unreliable = Provider { unreliable: true, ..Provider::default() };
    let mut bad = measure(engines, unreliable, count, rate).await?;

    println!("## Request → provider call\n");
    println!(
        "{count} asks, {rate} begun a second, by the HTTP provider; from the client's first byte to the provider's handler.\n"
    );
    println!("| p50 ms | p99 ms | longest ms |\n|---|---|---|");
    let [half, most, all] = [50, 99, 100].map(|hundredths| percentile(&mut good.waits, hundredths));
    println!("| {half:.1} | {most:.1} | {all:.1} |\n");
    println!("## An unreliable provider\n");
    println!(
        "The same asks, each followed by its login; the unreliable provider answers after {} s and refuses {FAILING} of 100 calls.\n",
        SLOW.as_secs()
    );
    println!(
        "| provider | delivered within the code's life | by one try | login p50 ms | login p99 ms |\n|---|---|---|---|---|"
    );
    for (name, figures) in [("reliable", &mut good), ("unreliable", &mut bad)] {
        let [half, most] = [50, 99].map(|hundredths| percentile(&mut figures.logins, hundredths));
        println!(
            "| {name} | {} of {count} | {} | {half:.1} | {most:.1} |",
            figures.delivered, figures.once
        );
    }
    println!();
    Ok(())
}

async fn measure(
    engines: &Servers,
    provider: Provider,
    count: usize,
    rate: u32,
) -> anyhow::Result<Figures> {
    let listener =
        TcpListener::bind("127.0.0.1:0").await.context("listen for the provider's calls")?;
    let url = format!("http://{}/texts", listener.local_addr()?);
    let served = Router::new().route("/texts", post(take)).with_state(provider.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, served).await });
    let routes = [
        ("LATCHKEY_SMS_ROUTES", "default=http"),
        ("LATCHKEY_HTTP_PROVIDER_URL", url.as_str()),
        ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-the-load-generator-only"),
    ];
    let ring = Ring::start(engines, &routes).await;
    let api = ring.api();
    api.otp(&new_phone()).await.expect(202);
    let asking = provider.clone();
    let (asks, _) = run(Pace::ASecond(rate), 0..count, move |_| {
        let (api, provider) = (api.clone(), asking.clone());
        async move { one(&api, &provider).await }
    })
    .await;
    ring.stop().await;
    serving.abort();

    let seen = |phone: &str| provider.look(phone).0;
    Ok(Figures {
        waits: asks.iter().map(|(_, wait, _)| *wait).collect(),
        delivered: asks.iter().filter(|(phone, _, _)| seen(phone).taken).count(),
        once: asks.iter().filter(|(phone, _, _)| !seen(phone).failed_first).count(),
        logins: asks.into_iter().filter_map(|(_, _, login)| login).collect(),
    })
}

/// An ask, its text and its login: the phone, how long until the provider's first call, how long the login took.
async fn one(api: &Api, provider: &Provider) -> (String, Duration, Option<Duration>) {
    let phone = new_phone();
    let asked = Instant::now();
    api.otp(&phone).await.expect(202);
    let called = provider.known(&phone, asked + LIFE, |(seen, _)| seen.called).await;
    let wait = called.expect("a call of the provider") - asked;
    let taken =
        provider.known(&phone, asked + LIFE, |(seen, code)| seen.taken.then(|| code.clone()));
    let Some(code) = taken.await else { return (phone, wait, None) };
    let login = Instant::now();
    api.login(&phone, &code).await.expect(200);
    (phone, wait, Some(login.elapsed()))
}

impl Provider {
    fn look(&self, phone: &str) -> (Seen, String) {
        self.seen.lock().expect("no panic while held").get(phone).cloned().unwrap_or_default()
    }

    /// What is to be known of a phone, once it is; `None` when it is not by then.
    async fn known<T>(
        &self,
        phone: &str,
        until: Instant,
        what: fn(&(Seen, String)) -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(known) = what(&self.look(phone)) {
                return Some(known);
            }
            if Instant::now() > until {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn note(&self, phone: &str, what: impl FnOnce(&mut (Seen, String))) {
        let mut seen = self.seen.lock().expect("no panic while held");
        what(seen.entry(phone.to_owned()).or_default());
    }
}

async fn take(
    State(provider): State<Provider>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let now = Instant::now();
    let (phone, text) = (body["phone_number"].as_str(), body["text"].as_str());
    let (phone, text) = (phone.unwrap_or_default(), text.unwrap_or_default());
    let fails = provider.unreliable && domain::rng::below(100) < FAILING;
    provider.note(phone, |(seen, _)| {
        seen.failed_first |= seen.called.is_none() && fails;
        seen.called.get_or_insert(now);
    });
    if provider.unreliable {
        tokio::time::sleep(SLOW).await;
    }
    if fails {
        let surely_not_sent = json!({ "reason": "provider_unavailable" });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(surely_not_sent));
    }
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6);
    provider.note(phone, |(seen, known)| {
        seen.taken = true;
        code.unwrap_or_default().clone_into(known);
    });
    (StatusCode::OK, Json(json!({ "id": body["attempt_id"] })))
}
