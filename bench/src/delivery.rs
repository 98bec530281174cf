//! From a client's ask to the provider's call, with a provider that is a program of its own (this one).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::{open_loop, percentile};
use crate::ring::{Ring, Servers};
use crate::support::eventually;
use crate::support::http::new_phone;

/// When the provider was called for a phone.
type Calls = Arc<Mutex<HashMap<String, Instant>>>;

pub async fn report(engines: &Servers, count: usize, rate: u32) -> anyhow::Result<()> {
    let calls = Calls::default();
    let listener =
        TcpListener::bind("127.0.0.1:0").await.context("listen for the provider's calls")?;
    let url = format!("http://{}/texts", listener.local_addr()?);
    let provider = Router::new().route("/texts", post(take)).with_state(Arc::clone(&calls));
    tokio::spawn(async move { axum::serve(listener, provider).await });

    let routes = [
        ("LATCHKEY_SMS_ROUTES", "default=http"),
        ("LATCHKEY_HTTP_PROVIDER_URL", url.as_str()),
        ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-the-load-generator-only"),
    ];
    let ring = Ring::start(engines, &routes).await;
    let api = ring.api();
    api.otp(&new_phone()).await.expect(202);
    let asks = open_loop(count, rate, |_| {
        let api = api.clone();
        async move {
            let phone = new_phone();
            let asked = Instant::now();
            api.otp(&phone).await.expect(202);
            (phone, asked)
        }
    })
    .await;
    let called = |phone: &str| calls.lock().expect("no panic while held").get(phone).copied();
    let mut waits = Vec::with_capacity(count);
    for (phone, asked) in &asks {
        let at =
            eventually("a call of the provider", Duration::from_secs(30), async || called(phone));
        waits.push(at.await - *asked);
    }
    ring.stop().await;

    println!("## Request → provider call\n");
    println!(
        "{count} asks, {rate} begun a second, by the HTTP provider; from the client's first byte to the provider's handler.\n"
    );
    println!("| p50 ms | p99 ms | longest ms |\n|---|---|---|");
    let [half, most, all] = [50, 99, 100].map(|hundredths| percentile(&mut waits, hundredths));
    println!("| {half:.1} | {most:.1} | {all:.1} |\n");
    Ok(())
}

async fn take(State(calls): State<Calls>, Json(body): Json<Value>) -> Json<Value> {
    let now = Instant::now();
    if let Some(phone) = body["phone_number"].as_str() {
        calls.lock().expect("no panic while held").entry(phone.to_owned()).or_insert(now);
    }
    Json(json!({ "id": body["attempt_id"] }))
}
