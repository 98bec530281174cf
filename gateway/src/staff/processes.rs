//! What runs: the processes, as each says it of itself every few seconds.

use std::collections::BTreeMap;

use accounts::Processes;
use bus::Queue;
use domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use service::presence::GONE_MS;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// A process that runs, or that ran within the last day and was not stopped properly.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Process {
    /// Chosen anew at each start.
    pub instance: Uuid,
    /// `gateway`, `otp-worker`, `sms-worker` or `all-in-one`.
    pub part: String,
    pub version: String,
    #[schema(value_type = words::Time)]
    pub started_at: Timestamp,
    /// When it last said that it runs, by the database's clock.
    #[schema(value_type = words::Time)]
    pub seen_at: Timestamp,
    /// Whether it was not seen for 15 s: it was killed, or cannot reach the database.
    pub is_gone: bool,
    /// How far the clock of its host is ahead of the database's, in milliseconds.
    pub skew_ms: i64,
    #[serde(flatten)]
    pub report: Report,
}

/// Those that are not gone.
pub(crate) fn here(processes: &[Process]) -> impl Iterator<Item = &Process> {
    processes.iter().filter(|process| !process.is_gone)
}

/// What each worker of a queue that is not gone says of it.
pub(crate) fn workers_of(processes: &[Process], queue: Queue) -> Vec<&WorkerQueue> {
    here(processes).filter_map(|process| process.report.queues.get(queue.as_str())).collect()
}

/// What the parts of a process say of themselves.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ProcessReport)]
pub(crate) struct Report {
    /// Its connections to PostgreSQL; null for the embedded database.
    #[schema(required = true)]
    pub pool: Option<PoolUse>,
    /// The queues that it consumes, by name.
    pub queues: BTreeMap<String, WorkerQueue>,
    /// The providers that it calls, by name.
    pub providers: BTreeMap<String, WorkerProvider>,
    /// The routes that it follows, in the order in which they are matched.
    pub routes: Vec<Route>,
}

/// Connections to PostgreSQL.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PoolUse {
    /// Open.
    pub size: u32,
    /// Working for somebody at that moment.
    pub in_use: u32,
    /// The most that may be open.
    pub most: u32,
}

/// What a worker knows of its queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct WorkerQueue {
    /// The age of the oldest message in its hands, or put off by it, in milliseconds.
    pub oldest_ms: i64,
    /// Messages in its hands.
    pub held: u32,
    /// Messages of the whole queue that wait for a worker.
    #[schema(required = true)]
    pub ready: Option<u32>,
    /// Consumers of the whole queue.
    #[schema(required = true)]
    pub consumers: Option<u32>,
    /// Messages that wait for a retry, by delay.
    pub waiting: Vec<Waiting>,
    #[schema(required = true)]
    pub dead: Option<u32>,
}

/// Messages that wait for a retry after one delay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WaitingMessages)]
pub(crate) struct Waiting {
    /// The delay, in milliseconds.
    pub delay_ms: i64,
    pub messages: u32,
}

/// A provider as one sms-worker sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkerProvider {
    /// `closed`; `open`: no call is made; `half_open`: one text probes the provider, and decides.
    pub circuit: String,
    /// When the circuit opened.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub since: Option<Timestamp>,
    /// When the provider is probed.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub until: Option<Timestamp>,
    /// Calls that run.
    pub running: u32,
    /// The most that may run at once now.
    pub limit: u32,
    /// The provider said that there are too many calls: none is made until then.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub paused_until: Option<Timestamp>,
}

/// A route: which providers send to the numbers that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Route {
    /// The digits that a number begins with; null: any other number.
    #[schema(required = true)]
    pub prefix: Option<String>,
    /// In the order in which they are tried.
    pub providers: Vec<String>,
    /// Whether one of them can call.
    pub voice: bool,
}

/// The report as it is stored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    database: StoredDatabase,
    queues: BTreeMap<String, WorkerQueue>,
    providers: BTreeMap<String, WorkerProvider>,
    delivery: StoredDelivery,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredDatabase {
    pool: Option<PoolUse>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredDelivery {
    routes: Vec<Route>,
}

impl Report {
    /// A report of another version that cannot be read says nothing.
    fn read(json: &str) -> Self {
        let Stored { database, queues, providers, delivery } =
            serde_json::from_str(json).unwrap_or_default();
        Self { pool: database.pool, queues, providers, routes: delivery.routes }
    }
}

/// Every process, by part and start.
pub(crate) async fn read(app: &App) -> Result<Vec<Process>, ApiError> {
    let (rows, now) = Processes::new(&app.engines.sql).all(&app.engines.clock).await?;
    let process = |row: accounts::Process| Process {
        is_gone: now.ms().saturating_sub(row.seen_at.ms()) > GONE_MS,
        report: Report::read(&row.report),
        instance: row.instance,
        part: row.part,
        version: row.version,
        started_at: row.started_at,
        seen_at: row.seen_at,
        skew_ms: row.skew_ms,
    };
    Ok(rows.into_iter().map(process).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_another_version_says_what_can_be_read_of_it() {
        let report = Report::read(
            r#"{"database":{"pool":null},"queues":{"otp-worker":{"held":3,"new":1}},"more":{"x":{}},
                "delivery":{"routes":[{"prefix":"98","providers":["http"],"voice":false}]}}"#,
        );
        assert_eq!(
            (report.queues["otp-worker"].held, report.queues["otp-worker"].ready),
            (3, None)
        );
        assert_eq!(report.routes[0].providers, ["http"]);
        for odd in ["", "[]", "{\"queues\":3}", "{\"providers\":{\"http\":{}}}"] {
            assert!(Report::read(odd).queues.is_empty(), "{odd}");
        }
    }
}
