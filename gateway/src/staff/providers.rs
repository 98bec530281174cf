//! The providers that carry texts: how they do now, who shut them, and which of them sends to which numbers.

use std::collections::BTreeMap;

use accounts::{Block, BlockKind, Blocks};
use config::ProviderName;
use domain::timestamp::Timestamp;
use ledger::{AttemptState, RecentAttempt};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::processes::{self, Process, Route, WorkerProvider};

/// What the figures cover, in minutes.
pub(crate) const MINUTES: u32 = 15;
/// The most calls that they are made of, the newest first.
const MOST_ATTEMPTS: u32 = 5_000;
/// The longest that a provider may be shut, in minutes: a week.
pub(crate) const LONGEST_MINUTES: i64 = 7 * 24 * 60;

/// The providers and the routes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Providers, examples(json!({
    "as_of": "2026-11-30T10:24:10.000Z",
    "minutes": 15,
    "is_cut": false,
    "providers": [{
        "provider": "twilio",
        "shut": {
            "until": "2026-11-30T11:15:00.000Z",
            "since": "2026-11-30T10:15:00.000Z",
            "reason": "no receipts since 10:00, ticket 4711",
            "owner": "ops",
        },
        "workers": [{
            "instance": "7d4b0f4e-2b1c-4f0a-9a53-0d3f5c1f2b11",
            "circuit": "closed",
            "since": null,
            "until": null,
            "running": 0,
            "limit": 40,
            "paused_until": null,
        }],
        "outcomes": [{ "outcome": "accepted", "calls": 118 }, { "outcome": "rejected", "calls": 2 }],
        "p50_ms": 180,
        "p95_ms": 410,
        "last_error": { "at": "2026-11-30T10:14:12.500Z", "outcome": "rejected", "code": "21211" },
        "accepted": 118,
        "receipts": 64,
        "receipt_p50_ms": 2300,
    }],
    "routes": [
        { "prefix": "98", "providers": ["http"], "voice": false },
        { "prefix": null, "providers": ["twilio", "http"], "voice": true },
    ],
})))]
pub(crate) struct ProvidersView {
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
    /// What the outcomes and latencies cover, in minutes.
    pub minutes: u32,
    /// Whether there were more calls than the 5,000 newest, which the figures are made of.
    pub is_cut: bool,
    pub providers: Vec<ProviderView>,
    /// The routes in the order in which they are matched, as an sms-worker says.
    pub routes: Vec<Route>,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub(crate) struct ProviderView {
    pub provider: String,
    /// Who shut it, and until when.
    #[schema(required = true)]
    pub shut: Option<Shut>,
    /// How each sms-worker sees it.
    pub workers: Vec<AtWorker>,
    /// How the calls of the last minutes ended.
    pub outcomes: Vec<Outcome>,
    /// How long half of the calls took at most, in milliseconds.
    #[schema(required = true)]
    pub p50_ms: Option<i64>,
    /// How long 95 of 100 calls took at most, in milliseconds.
    #[schema(required = true)]
    pub p95_ms: Option<i64>,
    /// The last call that was not accepted.
    #[schema(required = true)]
    pub last_error: Option<LastError>,
    /// Calls that were accepted.
    pub accepted: u32,
    /// Of these, how many have a final receipt.
    pub receipts: u32,
    /// How long half of the receipts took at most after the call, in milliseconds.
    #[schema(required = true)]
    pub receipt_p50_ms: Option<i64>,
}

/// A provider that staff shut by hand.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ProviderShut, examples(json!({
    "until": "2026-11-30T11:15:00.000Z",
    "since": "2026-11-30T10:15:00.000Z",
    "reason": "no receipts since 10:00, ticket 4711",
    "owner": "ops",
})))]
pub(crate) struct Shut {
    /// Null: until it is opened.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub until: Option<Timestamp>,
    #[schema(value_type = words::Time)]
    pub since: Timestamp,
    pub reason: String,
    pub owner: String,
}

/// A provider as one sms-worker sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ProviderAtWorker)]
pub(crate) struct AtWorker {
    pub instance: Uuid,
    #[serde(flatten)]
    pub seen: WorkerProvider,
}

/// How many calls ended in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CallOutcome)]
pub(crate) struct Outcome {
    #[schema(value_type = words::CallEnd)]
    pub outcome: &'static str,
    pub calls: u32,
}

/// A call that was not accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LastCallError)]
pub(crate) struct LastError {
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    #[schema(value_type = words::CallEnd)]
    pub outcome: &'static str,
    /// The provider's own code.
    #[schema(required = true)]
    pub code: Option<String>,
}

/// Every provider that a route names, that was called lately, or that is shut.
pub(crate) async fn read(app: &App) -> Result<ProvidersView, ApiError> {
    let now = app.engines.clock.now();
    let since = now.plus_secs(-60 * i64::from(MINUTES));
    let blocks = Blocks::new(&app.engines.sql);
    let (processes, attempts, shut) = tokio::try_join!(
        processes::read(app),
        async { Ok(app.ledger.recent_attempts(since, MOST_ATTEMPTS + 1).await?) },
        async { Ok(blocks.of_providers(now).await?) },
    )?;
    let is_cut = attempts.len() > MOST_ATTEMPTS as usize;
    let here: Vec<_> = processes.into_iter().filter(|process| !process.is_gone).collect();
    let routes = routes(app, &here);
    let mut names: Vec<String> = routes.iter().flat_map(|route| route.providers.clone()).collect();
    names.extend(here.iter().flat_map(|process| process.report.providers.keys().cloned()));
    names.extend(shut.iter().map(|block| block.value.clone()));
    names.extend(attempts.iter().map(|attempt| attempt.provider.clone()));
    names.sort_unstable();
    names.dedup();
    let provider = |name: String| {
        let calls: Vec<_> = attempts.iter().filter(|it| it.provider == name).collect();
        let shut = shut.iter().find(|block| block.value == name).map(Shut::of);
        view(name, shut, &here, &calls)
    };
    let providers = names.into_iter().map(provider).collect();
    Ok(ProvidersView { as_of: now, minutes: MINUTES, is_cut, providers, routes })
}

/// Shuts a provider for so many minutes: texts go by the next one of their route, or wait. In force in every sms-worker
/// within 10 s. `owner` is whom to ask about it.
pub(crate) async fn shut(
    app: &App,
    actor: &str,
    owner: &str,
    provider: ProviderName,
    minutes: i64,
    reason: &str,
) -> Result<Shut, ApiError> {
    if !(1..=LONGEST_MINUTES).contains(&minutes) {
        let detail = "Choose for how long: a week at most.";
        return Err(ApiError::field("minutes", "invalid", detail));
    }
    let now = app.engines.clock.now();
    let block = Block {
        kind: BlockKind::Provider,
        value: provider.as_str().to_owned(),
        display: provider.as_str().to_owned(),
        reason: reason.to_owned(),
        owner: owner.to_owned(),
        until: Some(now.plus_secs(minutes * 60)),
        created_at: now,
    };
    Blocks::new(&app.engines.sql).add(&block, actor).await?;
    Ok(Shut::of(&block))
}

/// Opens a provider again; returns whether it was shut.
pub(crate) async fn open(app: &App, actor: &str, provider: ProviderName) -> Result<bool, ApiError> {
    let now = app.engines.clock.now();
    let blocks = Blocks::new(&app.engines.sql);
    Ok(blocks.remove(BlockKind::Provider, provider.as_str(), actor, now).await?)
}

/// As an sms-worker says; without one, as this gateway's settings say.
fn routes(app: &App, processes: &[Process]) -> Vec<Route> {
    let told = processes.iter().map(|process| &process.report.routes);
    if let Some(routes) = told.into_iter().find(|routes| !routes.is_empty()) {
        return routes.clone();
    }
    let sms = &app.config.sms;
    let route = |prefix: Option<&String>, providers: &[ProviderName]| Route {
        prefix: prefix.cloned(),
        providers: providers.iter().map(|name| name.as_str().to_owned()).collect(),
        voice: sms.can_call(providers),
    };
    let by_prefix = sms.routes.by_prefix.iter().map(|(prefix, names)| route(Some(prefix), names));
    let default = route(None, &sms.routes.default);
    by_prefix.chain([default]).filter(|route| !route.providers.is_empty()).collect()
}

impl Shut {
    fn of(block: &Block) -> Self {
        Self {
            until: block.until,
            since: block.created_at,
            reason: block.reason.clone(),
            owner: block.owner.clone(),
        }
    }
}

fn view(
    provider: String,
    shut: Option<Shut>,
    processes: &[Process],
    calls: &[&RecentAttempt],
) -> ProviderView {
    let at = |process: &Process| {
        let seen = process.report.providers.get(&provider)?.clone();
        Some(AtWorker { instance: process.instance, seen })
    };
    let mut outcomes: BTreeMap<&'static str, u32> = BTreeMap::new();
    for call in calls {
        *outcomes.entry(call.state.as_str()).or_default() += 1;
    }
    let accepted: Vec<_> = calls.iter().filter(|it| it.state == AttemptState::Accepted).collect();
    let took = |call: &&RecentAttempt| Some(call.ended_at?.ms() - call.started_at.ms());
    let waited = |call: &&&RecentAttempt| Some(call.receipt_at?.ms() - call.ended_at?.ms());
    let latencies = sorted(calls.iter().filter_map(took));
    let receipts = sorted(accepted.iter().copied().filter_map(|call| waited(&call)));
    let failed = |call: &&&RecentAttempt| {
        !matches!(call.state, AttemptState::Accepted | AttemptState::Begun)
    };
    let last_error = calls.iter().find(failed).map(|call| LastError {
        at: call.ended_at.unwrap_or(call.started_at),
        outcome: call.state.as_str(),
        code: call.provider_code.clone(),
    });
    let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
    ProviderView {
        workers: processes.iter().filter_map(at).collect(),
        outcomes: outcomes.into_iter().map(|(outcome, calls)| Outcome { outcome, calls }).collect(),
        p50_ms: percentile(&latencies, 50),
        p95_ms: percentile(&latencies, 95),
        last_error,
        accepted: count(accepted.len()),
        receipts: count(receipts.len()),
        receipt_p50_ms: percentile(&receipts, 50),
        provider,
        shut,
    }
}

fn sorted(lengths: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut lengths: Vec<_> = lengths.map(|ms| ms.max(0)).collect();
    lengths.sort_unstable();
    lengths
}

/// The least value that so many of a hundred do not exceed.
fn percentile(sorted: &[i64], of_hundred: usize) -> Option<i64> {
    let place = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(place.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4], 50), Some(2));
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (Some(50), Some(95)));
    }
}
