//! What runs: each process says every few seconds that it is there, and what its parts know of themselves (contract, ruling
//! 66). Staff see it at the console. Nothing depends on it: a database that is away costs a process its row and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use accounts::{Beat, Processes};
use bus::Queue;
use bus::consumer::QueueState;
use config::Role;
use domain::clock::Clock;
use domain::rng;
use serde_json::{Map, Value};
use sql::Pool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The id of this process among all: of its row, and of its spans.
pub static INSTANCE: LazyLock<Uuid> = LazyLock::new(rng::id_v4);

const EVERY: Duration = Duration::from_secs(5);
/// After a failure: at start the table may be made only a moment later.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The failures in a row after which the log tells of it.
const TOLD_AT: u32 = 15;
/// A process that was not seen for this long is shown as gone: two rows were missed.
pub const GONE_MS: i64 = 15_000;
/// The longest that a stop waits for the row to be removed. If it is not, the row shows a process that is gone.
const END_WITHIN: Duration = Duration::from_millis(500);
/// The longest report that is written.
const LONGEST: usize = 16 * 1024;

/// What a part says of itself: plain JSON without a secret, a number or a code.
type Told = Box<dyn Fn() -> Value + Send + Sync>;

/// What the parts of a process say of themselves, by topic and name. Clones share it.
#[derive(Clone, Default)]
pub struct Presence(Arc<Mutex<BTreeMap<(&'static str, &'static str), Told>>>);

impl Presence {
    /// From now on the report has what `told` returns under this topic and name. It must be quick: it is asked every 5 s.
    pub fn tell(
        &self,
        topic: &'static str,
        name: &'static str,
        told: impl Fn() -> Value + Send + Sync + 'static,
    ) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert((topic, name), Box::new(told));
    }

    /// From now on the report has what a worker knows of its queue.
    pub fn tell_queue(&self, queue: Queue, state: QueueState) {
        self.tell("queues", queue.as_str(), move || {
            serde_json::to_value(state.figures()).unwrap_or_default()
        });
    }

    /// The report as it is now: `{topic: {name: …}}`.
    pub fn report(&self) -> Value {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Map::new();
        for ((topic, name), told) in &*parts {
            let topic = report.entry(*topic).or_insert_with(|| Value::Object(Map::new()));
            if let Some(topic) = topic.as_object_mut() {
                topic.insert((*name).to_owned(), told());
            }
        }
        Value::Object(report)
    }
}

/// The name under which a process of this role is shown.
pub const fn part_of(role: Role) -> &'static str {
    match role {
        Role::AllInOne => "all-in-one",
        Role::Gateway | Role::OtpWorker | Role::SmsWorker => role.as_str(),
    }
}

/// Writes this process's row, with the id `instance`, until `stop`, and then removes it. It never fails and never ends before.
pub async fn run(
    sql: Pool,
    clock: Clock,
    presence: Presence,
    part: &'static str,
    instance: Uuid,
    stop: CancellationToken,
) {
    let processes = Processes::new(&sql);
    let started_at = clock.now();
    let (mut failures, mut is_first) = (0_u32, true);
    loop {
        let mut report = presence.report().to_string();
        if report.len() > LONGEST {
            "{}".clone_into(&mut report);
        }
        let beat = Beat { instance, part, version: VERSION, started_at, report: &report };
        let Some(told) = stop.run_until_cancelled(processes.beat(&beat, &clock)).await else {
            break;
        };
        // The parts have more to say of themselves a moment after the start.
        let wait = if told.is_ok() && !is_first { EVERY } else { AGAIN_AFTER };
        is_first = false;
        match told {
            Ok(skew_ms) => {
                failures = 0;
                show(&sql, skew_ms);
            }
            Err(error) => {
                failures += 1;
                // Once: readiness reports an unavailable database, and a right that is missing stays so.
                if failures == TOLD_AT {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "cannot say that this process runs"
                    );
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    let _ = tokio::time::timeout(END_WITHIN, processes.end(instance)).await;
}

/// Shows what is known of the database as metrics: how far the host's clock is ahead of its clock, and the connections to
/// it.
fn show(sql: &Pool, skew_ms: i64) {
    let skew = Duration::from_millis(skew_ms.unsigned_abs()).as_secs_f64();
    let skew = if skew_ms < 0 { -skew } else { skew };
    metrics::gauge!("latchkey_clock_skew_seconds").set(skew);
    if let Some(usage) = sql.usage() {
        let idle = usage.size.saturating_sub(usage.in_use);
        for (state, connections) in [("in_use", usage.in_use), ("idle", idle), ("most", usage.most)]
        {
            metrics::gauge!("latchkey_db_pool", "state" => state).set(f64::from(connections));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_has_what_each_part_said_last() {
        let presence = Presence::default();
        assert_eq!(presence.report(), json!({}));
        presence.tell("queues", "otp-worker", || json!({ "ready": 1 }));
        presence.tell("queues", "sms-worker", || json!({ "ready": 2 }));
        presence.clone().tell("queues", "otp-worker", || json!({ "ready": 3 }));
        let report =
            json!({ "queues": { "otp-worker": {"ready": 3}, "sms-worker": {"ready": 2} } });
        assert_eq!(presence.report(), report);
        assert_eq!(part_of(Role::AllInOne), "all-in-one");
        assert_eq!(part_of(Role::SmsWorker), "sms-worker");
    }
}
