//! Figures that no request changes, gathered at a slow tick for the ops port (contract, section 11). Every gateway shows the
//! same ones, but for the addresses: those are its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use accounts::{GuardHistory, Outbox};
use config::Config;
use domain::engine_error::EngineError;
use domain::phone::country_label;
use domain::timestamp::Timestamp;
use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::tokens::key_ring::{KeyState, TokenKeys};

const EVERY: Duration = Duration::from_secs(10);

/// Gathers until `stop`. A figure of an engine that is away stays as it was: readiness tells of the engine.
pub(crate) async fn run(app: App, limit: ConcurrencyLimit, stop: CancellationToken) {
    show_limits(&app.config);
    let mut countries = HashSet::new();
    while !stop.is_cancelled() {
        let now = app.engines.clock.now();
        show_key_age(&app.token_keys, now);
        let (most, in_hand) = limit.figures();
        gauge!("latchkey_requests_limit").set(most);
        gauge!("latchkey_requests_in_hand").set(f64::from(in_hand));
        gauge!("latchkey_distinct_client_addresses").set(f64::from(app.addresses_seen.count(now)));
        let shown = async {
            show_outbox(&app, now).await?;
            show_blocked(&app, now, &mut countries).await
        };
        if let Err(error) = shown.await {
            tracing::debug!(error = format!("{error:#}"), "figures not gathered, trying again");
        }
        stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
}

/// The limits in effect. One that is set at run time has no figure.
fn show_limits(config: &Config) {
    for shown in config.shown_limits() {
        if let Some(value) = shown.value {
            #[expect(clippy::cast_precision_loss, reason = "a limit far below 2^52")]
            gauge!("latchkey_limit_value", "limit" => shown.limit.as_str()).set(value as f64);
        }
    }
}

/// The age of the key that signs, as its file says it.
fn show_key_age(keys: &TokenKeys, now: Timestamp) {
    let mut known = keys.known().into_iter();
    let signing = known.find(|key| key.state == KeyState::Signing);
    if let Some(written_at) = signing.and_then(|key| key.written_at) {
        gauge!("latchkey_signing_key_age_seconds").set(secs_between(written_at, now));
    }
}

async fn show_outbox(app: &App, now: Timestamp) -> Result<(), EngineError> {
    let oldest = Outbox::new(&app.engines.sql).oldest().await?;
    let age = oldest.map_or(0.0, |oldest| secs_between(oldest, now));
    gauge!("latchkey_outbox_oldest_seconds").set(age);
    Ok(())
}

/// The blocked nets by country: a prefix would be a time series for each that an attacker chooses.
async fn show_blocked(
    app: &App,
    now: Timestamp,
    shown: &mut HashSet<&'static str>,
) -> Result<(), EngineError> {
    // A country whose last net is open again has none, and not the former number for ever.
    let mut all: HashMap<_, u32> = shown.iter().map(|country| (*country, 0)).collect();
    for (country, nets) in GuardHistory::new(&app.engines.sql).blocked(now).await? {
        *all.entry(country_label(&country)).or_default() += nets;
    }
    for (country, nets) in all {
        gauge!("latchkey_guard_blocked_nets", "country" => country).set(f64::from(nets));
        shown.insert(country);
    }
    Ok(())
}

fn secs_between(earlier: Timestamp, now: Timestamp) -> f64 {
    let ms = now.ms().saturating_sub(earlier.ms()).max(0);
    Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
}
