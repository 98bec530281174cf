//! The time from a client's request to the provider call, and the effect of an unreliable provider. This program is the
//! provider.

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
use bench::ring::{Ring, Servers};
use testkit::http::{Api, new_phone};

/// The lifetime of a code: a message delivered later is useless.
const LIFE: Duration = Duration::from_mins(5);
const SLOW: Duration = Duration::from_secs(2);
/// Rare, so that a hundred waiting tasks are not a load themselves. The provider records the actual times.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many of a hundred calls the unreliable provider refuses.
const FAILING: u64 = 30;

/// What the provider knows about a phone.
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

/// The measurements with one provider.
struct Figures {
    waits: Vec<Duration>,
    logins: Vec<Duration>,
    delivered: usize,
    /// How many messages would have been delivered with a single attempt each.
    once: usize,
}

pub async fn report(engines: &Servers, count: usize, rate: u32) -> anyhow::Result<()> {
    let mut good = measure(engines, Provider::default(), count, rate).await?;
    let unreliable = Provider { unreliable: true, ..Provider::default() };
    let mut bad = measure(engines, unreliable, count, rate).await?;

    println!("## Request → provider call\n");
    println!(
        "{count} requests, {rate} started per second, through the HTTP provider; from the client's first byte to the provider's handler.\n"
    );
    println!("| p50 ms | p99 ms | max ms |\n|---|---|---|");
    let [half, most, all] = [50, 99, 100].map(|hundredths| percentile(&mut good.waits, hundredths));
    println!("| {half:.1} | {most:.1} | {all:.1} |\n");
    println!("## An unreliable provider\n");
    println!(
        "The same requests, each followed by a login; the unreliable provider answers after {} s and refuses {FAILING} of 100 calls.\n",
        SLOW.as_secs()
    );
    println!(
        "| provider | delivered within the code's lifetime | on the first attempt | login p50 ms | login p99 ms |\n|---|---|---|---|---|"
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
    let (code_requests, _) = run(Pace::ASecond(rate), 0..count, move |_| {
        let (api, provider) = (api.clone(), asking.clone());
        async move { one(&api, &provider).await }
    })
    .await;
    ring.stop().await;
    serving.abort();

    let seen = |phone: &str| provider.look(phone).0;
    Ok(Figures {
        waits: code_requests.iter().map(|(_, wait, _)| *wait).collect(),
        delivered: code_requests.iter().filter(|(phone, _, _)| seen(phone).taken).count(),
        once: code_requests.iter().filter(|(phone, _, _)| !seen(phone).failed_first).count(),
        logins: code_requests.into_iter().filter_map(|(_, _, login)| login).collect(),
    })
}

/// Runs a request, its message and its login. Returns the phone, the time until the provider's first call, and the
/// duration of the login.
async fn one(api: &Api, provider: &Provider) -> (String, Duration, Option<Duration>) {
    let phone = new_phone();
    let asked = Instant::now();
    api.otp(&phone).await.expect(202);
    let called = provider.known(&phone, asked + LIFE, |(seen, _)| seen.called).await;
    let wait = called.expect("the provider is called") - asked;
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

    /// Waits until something is known about a phone; `None` if it is not known in time.
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
