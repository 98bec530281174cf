//! The engines, measured now by this gateway, and the processes that run on them.

use std::time::Duration;

use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::processes::{self, PoolUse, Process};

/// An engine that has not answered by then is away: nothing waits longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The engines and the processes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Engines, examples(json!({
    "as_of": "2026-11-30T10:24:10.000Z",
    "embedded": false,
    "database": {
        "state": "up",
        "latency_us": 240,
        "engine": "PostgreSQL",
        "version": "17.2",
        "pool": { "size": 6, "in_use": 1, "most": 16 },
    },
    "store": {
        "state": "up",
        "latency_us": 130,
        "version": "7.4.1",
        "used_memory": 2_097_152,
        "max_memory": 0,
        "policy": "noeviction",
        "role": "master",
        "replicas": 1,
    },
    "broker": { "state": "away", "latency_us": null },
    "processes": [{
        "instance": "7d4b0f4e-2b1c-4f0a-9a53-0d3f5c1f2b11",
        "part": "otp-worker",
        "version": "0.1.0",
        "started_at": "2026-11-30T08:00:00.000Z",
        "seen_at": "2026-11-30T10:24:08.000Z",
        "is_gone": false,
        "skew_ms": 2,
        "pool": { "size": 2, "in_use": 0, "most": 8 },
        "queues": {
            "otp-worker": { "oldest_ms": 140, "held": 2, "ready": 0, "consumers": 1, "waiting": [], "dead": 1 },
        },
        "providers": {},
        "routes": [],
    }],
    "versions": ["0.1.0"],
})))]
pub(crate) struct EnginesView {
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
    /// Whether everything runs in one process, on SQLite and memory.
    pub embedded: bool,
    pub database: Database,
    /// Redis; null when embedded.
    #[schema(required = true)]
    pub store: Option<CodeStore>,
    /// RabbitMQ; null when embedded.
    #[schema(required = true)]
    pub broker: Option<Reached>,
    pub processes: Vec<Process>,
    /// The versions of the processes that are not gone. More than one: a release is being rolled out, or was forgotten.
    pub versions: Vec<String>,
}

/// Whether an engine answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EngineReached)]
pub(crate) struct Reached {
    pub state: State,
    /// One round trip, measured now, in microseconds.
    #[schema(required = true)]
    pub latency_us: Option<u64>,
}

/// The state of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EngineState)]
pub(crate) enum State {
    Up,
    /// It cannot be reached, or did not answer within a second.
    Away,
    /// It answers, and refuses.
    Refuses,
}

/// PostgreSQL or SQLite.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Database {
    #[serde(flatten)]
    pub reached: Reached,
    /// `PostgreSQL` or `SQLite`.
    pub engine: &'static str,
    #[schema(required = true)]
    pub version: Option<String>,
    /// The connections of this gateway; null for SQLite.
    #[schema(required = true)]
    pub pool: Option<PoolUse>,
}

/// Redis.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CodeStore {
    #[serde(flatten)]
    pub reached: Reached,
    #[schema(required = true)]
    pub version: Option<String>,
    /// Bytes in use.
    #[schema(required = true)]
    pub used_memory: Option<u64>,
    /// The most bytes that it takes; 0: no limit.
    #[schema(required = true)]
    pub max_memory: Option<u64>,
    /// Its `maxmemory-policy`: only `noeviction` keeps codes and counts.
    #[schema(required = true)]
    pub policy: Option<String>,
    /// `master` or `slave`, as Redis calls them.
    #[schema(required = true)]
    pub role: Option<String>,
    /// Replicas that are connected.
    #[schema(required = true)]
    pub replicas: Option<u32>,
}

/// Measures the engines, all at once.
pub(crate) async fn read(app: &App) -> Result<EnginesView, ApiError> {
    let embedded = matches!(app.config.engines, config::EngineSettings::Embedded { .. });
    let (processes, database, store, broker) = tokio::join!(
        processes::read(app),
        database(app),
        store(app),
        reached(app.engines.bus.ready())
    );
    let processes = processes?;
    let here = processes::here(&processes);
    let mut versions: Vec<String> = here.map(|process| process.version.clone()).collect();
    versions.sort_unstable();
    versions.dedup();
    Ok(EnginesView {
        as_of: app.engines.clock.now(),
        embedded,
        database,
        store: (!embedded).then_some(store),
        broker: (!embedded).then_some(broker),
        processes,
        versions,
    })
}

async fn reached<T>(answer: impl Future<Output = Result<T, EngineError>>) -> Reached {
    measured(answer).await.0
}

async fn measured<T>(answer: impl Future<Output = Result<T, EngineError>>) -> (Reached, Option<T>) {
    let began = Instant::now();
    let (state, answer) = match timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(answer)) => (State::Up, Some(answer)),
        Ok(Err(error)) if !error.is_away() => (State::Refuses, None),
        Ok(Err(_)) | Err(_) => (State::Away, None),
    };
    let latency_us = u64::try_from(began.elapsed().as_micros()).ok().filter(|_| answer.is_some());
    (Reached { state, latency_us }, answer)
}

async fn database(app: &App) -> Database {
    let sql = &app.engines.sql;
    let (reached, version) = measured(sql.version()).await;
    let pool = sql.usage().map(|usage| PoolUse {
        size: usage.size,
        in_use: usage.in_use,
        most: usage.most,
    });
    let engine = sql.name();
    // What a distribution adds stands after a space.
    let version = version.and_then(|version| version.split(' ').next().map(str::to_owned));
    Database { reached, engine, version, pool }
}

async fn store(app: &App) -> CodeStore {
    let reached = reached(app.engines.store.ready()).await;
    let about = match reached.state {
        State::Up => measured(app.engines.store.about()).await.1.flatten().unwrap_or_default(),
        State::Away | State::Refuses => store::About::default(),
    };
    CodeStore {
        reached,
        version: about.version,
        used_memory: about.used_memory,
        max_memory: about.max_memory,
        policy: about.policy,
        role: about.role,
        replicas: about.replicas,
    }
}
