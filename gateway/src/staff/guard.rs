//! The pumping guard: what its nets saw, what they block, and what another rule would have blocked.

use std::time::Duration;

use accounts::{Converted, GuardHistory, NetRow};
use domain::timestamp::Timestamp;
use guard::{Kind, MINUTE_MS, Rule, Stop};
use serde::Serialize;
use serde_json::json;
use service::guard_replay::{Bounds, replay as run};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// What the figures by country cover, in hours.
pub(crate) const HOURS: i64 = 24;
/// The most countries, and the most prefixes with refusals.
const MOST: u32 = 50;
/// The longest period of a replay: the history has no more.
pub(crate) const MOST_DAYS: i64 = 90;
/// How far one replay goes: an answer comes within seconds, and a gateway has other work.
const BOUNDS: Bounds = Bounds { rows: 500_000, time: Duration::from_secs(2) };
/// The most blocks that a replay names.
const MOST_STOPS: usize = 100;

/// The state of the guard.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Guard, examples(json!({
    "mode": "enforce",
    "rule": "min_sends=20,conversion=0.100,window=3600,settle=180,doubt=50,probes=10,probes_verified=2,block=900,block_cap=14400,forget=86400,country_factor=10",
    "nets": [{
        "kind": "prefix",
        "name": "989123",
        "country": "IR",
        "state": "blocked",
        "mode": "enforce",
        "sends": 70,
        "verified": 0,
        "level": 1,
        "until": "2026-11-30T10:30:00.000Z",
        "changed_at": "2026-11-30T10:15:00.000Z",
    }],
    "countries": [{ "country": "IR", "prefix": null, "sends": 5120, "verified": 3980, "refused": 330 }],
    "refused": [{ "country": "IR", "prefix": "989123", "sends": 70, "verified": 0, "refused": 330 }],
})))]
pub(crate) struct GuardView {
    /// By this gateway's settings; all gateways need the same.
    #[schema(value_type = words::GuardMode)]
    pub mode: &'static str,
    /// The rule in force, as `latchkey guard replay` takes it.
    pub rule: String,
    /// Nets that were ever blocked, the last changed first.
    pub nets: Vec<GuardNet>,
    /// The countries with the most sends of the last 24 hours.
    pub countries: Vec<Conversion>,
    /// The prefixes with the most refusals of the last 24 hours.
    pub refused: Vec<Conversion>,
}

/// A prefix or a country as the guard last reported it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GuardNet {
    #[schema(value_type = words::NetKind)]
    pub kind: String,
    /// The digits of a prefix, or the region of a country (ISO 3166).
    pub name: String,
    pub country: String,
    /// If it is `blocked` and `until` is past, the next request is a probe.
    #[schema(value_type = words::NetState)]
    pub state: String,
    /// In which mode it was reported: in `record` nothing was refused.
    #[schema(value_type = words::GuardMode)]
    pub mode: String,
    /// That decided: in the window, or in the probe.
    pub sends: i64,
    /// Of them, those whose codes were used.
    pub verified: i64,
    /// How many blocks in a row.
    pub level: i64,
    /// The end of the block.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub until: Option<Timestamp>,
    #[schema(value_type = words::Time)]
    pub changed_at: Timestamp,
}

/// Sends of a country or a prefix, and what became of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GuardConversion)]
pub(crate) struct Conversion {
    pub country: String,
    /// Null for a whole country.
    #[schema(required = true)]
    pub prefix: Option<String>,
    pub sends: i64,
    /// Whose codes were used.
    pub verified: i64,
    /// Requests that the guard refused.
    pub refused: i64,
}

/// What a rule would have done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GuardReplay, examples(json!({
    "rule": "min_sends=20,conversion=0.100,window=3600,settle=180,doubt=50,probes=10,probes_verified=2,block=900,block_cap=14400,forget=86400,country_factor=10",
    "from": "2026-11-23T10:24:10.000Z",
    "to": "2026-11-30T10:24:10.000Z",
    "is_cut": false,
    "requests": 36240,
    "verified": 27110,
    "stopped": 330,
    "turned_away": 3,
    "stops": [{
        "prefix": "989123",
        "country": "IR",
        "from": "2026-11-30T10:15:00.000Z",
        "opened": null,
        "sends": 70,
        "verified": 0,
        "blocks": 1,
        "stopped": 330,
        "turned_away": 3,
    }],
    "blocks": 1,
})))]
pub(crate) struct ReplayView {
    /// The whole rule, as a text to take.
    pub rule: String,
    #[schema(value_type = words::Time)]
    pub from: Timestamp,
    /// The end of what was replayed.
    #[schema(value_type = words::Time)]
    pub to: Timestamp,
    /// Whether it ends before now, because one answer takes seconds and no more: `latchkey guard replay` has no bound.
    pub is_cut: bool,
    pub requests: u64,
    pub verified: u64,
    /// Requests that it would have stopped.
    pub stopped: u64,
    /// How many of those who signed in it would have turned away. The history has no persons, so it is a share.
    pub turned_away: u64,
    /// The blocks, the one that stopped most first; 100 at most.
    pub stops: Vec<StopView>,
    /// How many blocks there were in all.
    pub blocks: usize,
}

/// One block of a replay, from its start until its net was open again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GuardStop)]
pub(crate) struct StopView {
    /// Null for a whole country.
    #[schema(required = true)]
    pub prefix: Option<String>,
    pub country: String,
    #[schema(value_type = words::Time)]
    pub from: Timestamp,
    /// Null if it was not open again.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub opened: Option<Timestamp>,
    /// The sends that caused it, and how many of them were verified.
    pub sends: u64,
    pub verified: u64,
    pub blocks: u32,
    pub stopped: u64,
    /// As in the whole: who would have been turned away.
    pub turned_away: u64,
}

pub(crate) async fn read(app: &App) -> Result<GuardView, ApiError> {
    let history = GuardHistory::new(&app.engines.sql);
    let since = app.engines.clock.now().plus_secs(-HOURS * 3600);
    Ok(GuardView {
        mode: app.config.pumping_guard.as_str(),
        rule: Rule::default().to_string(),
        nets: history.nets().await?.into_iter().map(net).collect(),
        countries: conversions(history.by_country(since, MOST).await?),
        refused: conversions(history.refused_by_prefix(since, MOST).await?),
    })
}

fn net(net: NetRow) -> GuardNet {
    GuardNet {
        kind: net.kind,
        name: net.name,
        country: net.country,
        state: net.state,
        mode: net.mode,
        sends: net.sends,
        verified: net.verified,
        level: net.level,
        until: net.until,
        changed_at: net.changed_at,
    }
}

fn conversions(rows: Vec<Converted>) -> Vec<Conversion> {
    let one = |row: Converted| Conversion {
        country: row.country,
        prefix: row.operator_prefix,
        sends: row.sends,
        verified: row.verified,
        refused: row.refused,
    };
    rows.into_iter().map(one).collect()
}

/// Opens a net now: its counts begin anew, so it blocks again if its sends do not convert. Returns whether it was closed.
/// The audit has it before it is done.
///
/// # Errors
/// 404 for a net that was never blocked. If an engine is away.
pub(crate) async fn open(
    app: &App,
    actor: &str,
    (kind, name): (Kind, &str),
    reason: &str,
) -> Result<bool, ApiError> {
    let history = GuardHistory::new(&app.engines.sql);
    let nets = history.nets().await?;
    let is_meant = |net: &&NetRow| net.kind == kind.as_str() && net.name == name;
    let net = nets.iter().find(is_meant).ok_or(ApiError::NotFound)?;
    let now = app.engines.clock.now();
    let detail = json!({ "kind": kind.as_str(), "reason": reason });
    app.audit.add(now, actor, "guard_opened", name, &detail).await?;
    Ok(app.codes.open_net(kind, name, &net.country).await?)
}

/// Runs a rule over the last days of the history, from their beginning on, for two seconds at most. It changes nothing.
///
/// # Errors
/// 400 for a rule that cannot be read. If the database is away.
pub(crate) async fn replay(app: &App, rule: &str, days: i64) -> Result<ReplayView, ApiError> {
    let rule = Rule::parse(rule)
        .map_err(|wrong| ApiError::field("rule", "invalid", format!("{wrong}.")))?;
    let now = app.engines.clock.now();
    let from = now.plus_secs(-days.clamp(1, MOST_DAYS) * 86_400);
    let history = GuardHistory::new(&app.engines.sql);
    let period = (from, now.plus_ms(MINUTE_MS));
    let replayed = run(&history, rule, period, Some(BOUNDS), |_| ()).await?;
    let mut stops = replayed.report.stops;
    let blocks = stops.len();
    stops.sort_by_key(|stop| (std::cmp::Reverse(stop.stopped), stop.from));
    stops.truncate(MOST_STOPS);
    Ok(ReplayView {
        rule: rule.to_string(),
        from,
        to: replayed.stopped_at.unwrap_or(now),
        is_cut: replayed.stopped_at.is_some(),
        requests: replayed.report.code_requests,
        verified: replayed.report.verified,
        stopped: replayed.report.stopped,
        turned_away: replayed.report.turned_away,
        stops: stops.into_iter().map(stop).collect(),
        blocks,
    })
}

fn stop(stop: Stop) -> StopView {
    StopView {
        prefix: stop.prefix,
        country: stop.country,
        from: stop.from,
        opened: stop.opened,
        sends: stop.sends,
        verified: stop.verified,
        blocks: stop.blocks,
        stopped: stop.stopped,
        turned_away: stop.turned_away,
    }
}
