//! The metrics of a worker's queue (contract, section 11).

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{gauge, histogram};

use super::Options;
use crate::{Delay, Delivery, Queue};
use domain::clock::Clock;
use domain::event::{
    Event, OtpRequested, OtpTexted, SmsReceipt, SmsRequested, SmsStatus, SmsStatuses, UserSignedUp,
};
use domain::timestamp::Timestamp;

const OLDEST: &str = "latchkey_queue_oldest_seconds";
const LAG: &str = "latchkey_event_lag_seconds";
const DEAD: &str = "latchkey_dead_letters";
/// How long past its delay a message may return. After that another worker has it, or it is finished.
const OVERDUE_MS: i64 = 5_000;

pub(super) struct QueueMetrics {
    queue: Queue,
    clock: Clock,
    waits_by_design: &'static [&'static str],
    /// Messages that wait in the broker for redelivery, by id. While a dependency is unavailable all of them may be
    /// there and none in hand.
    put_off: HashMap<String, PutOff>,
}

struct PutOff {
    event_time: Timestamp,
    until_ms: i64,
}

impl QueueMetrics {
    /// Registers the metrics, so that they exist before the first message.
    pub(super) fn register(queue: Queue, options: &Options) -> Self {
        let Options { clock, waits_by_design, .. } = options;
        let mut seen =
            Self { queue, clock: clock.clone(), waits_by_design, put_off: HashMap::new() };
        seen.look([], 0);
        seen
    }

    pub(super) fn taken(&mut self, message: &Delivery) {
        self.put_off.remove(&message.id);
        let Some(event_time) = message.event_time() else { return };
        if message.attempts == 0 && !message.suspect {
            let age_secs = age_secs(self.clock.now_ms(), event_time);
            histogram!(LAG, "type" => label(&message.kind)).record(age_secs);
        }
    }

    pub(super) fn put_off(&mut self, message: &Delivery, delay: Delay) {
        if self.waits_by_design.contains(&message.kind.as_str()) {
            return;
        }
        if let Some(event_time) = message.event_time() {
            let until_ms = self.clock.now_ms() + delay.ms() + OVERDUE_MS;
            self.put_off.insert(message.id.clone(), PutOff { event_time, until_ms });
        }
    }

    pub(super) fn look<'a>(
        &mut self,
        in_hand: impl IntoIterator<Item = &'a Arc<Delivery>>,
        dead_letters: u32,
    ) {
        let now_ms = self.clock.now_ms();
        self.put_off.retain(|_, message| message.until_ms > now_ms);
        let in_hand = in_hand.into_iter().filter_map(|message| message.event_time());
        let times = in_hand.chain(self.put_off.values().map(|message| message.event_time));
        let ages = times.map(|time| age_secs(now_ms, time));
        gauge!(OLDEST, "queue" => self.queue.as_str()).set(ages.fold(0.0, f64::max));
        gauge!(DEAD, "queue" => self.queue.as_str()).set(f64::from(dead_letters));
    }
}

fn age_secs(now_ms: i64, event_time: Timestamp) -> f64 {
    let age_ms = now_ms.saturating_sub(event_time.ms()).max(0);
    std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64()
}

/// Returns a known type, or `other`: a publisher could invent any number of names.
fn label(kind: &str) -> &'static str {
    let known = [
        OtpRequested::TYPE,
        UserSignedUp::TYPE,
        OtpTexted::TYPE,
        SmsRequested::TYPE,
        SmsReceipt::TYPE,
        SmsStatus::TYPE,
        SmsStatuses::TYPE,
    ];
    known.into_iter().find(|known| *known == kind).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::time::Duration;

    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

    use super::*;

    fn recorder() -> &'static PrometheusHandle {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
    }

    fn oldest() -> f64 {
        let text = recorder().render();
        let line = "latchkey_queue_oldest_seconds{queue=\"sms-worker\"} ";
        text.lines().find_map(|text| text.strip_prefix(line)?.parse().ok()).unwrap()
    }

    #[test]
    fn a_message_that_waits_in_the_broker_keeps_its_age() {
        recorder();
        let clock = Clock::manual();
        let mut options = Options::new(1, clock.clone());
        options.waits_by_design = &[OtpTexted::TYPE];
        let mut seen = QueueMetrics::register(Queue::SmsWorker, &options);
        let body = format!(r#"{{"id":"m1","time":"{}"}}"#, clock.now());
        let message = Arc::new(Delivery::loose(SmsRequested::TYPE, "m1", body.into_bytes()));
        clock.advance(Duration::from_mins(1));
        seen.look([&message], 0);
        assert!((60.0..61.0).contains(&oldest()), "{}", oldest());
        // Its provider is unavailable: nothing is in hand.
        seen.put_off(&message, Delay::HalfMinute);
        clock.advance(Duration::from_secs(25));
        seen.look([], 0);
        assert!((85.0..86.0).contains(&oldest()), "{}", oldest());
        // It was redelivered and finished.
        seen.taken(&message);
        seen.look([], 0);
        assert!(oldest() < 0.001, "{}", oldest());
        // It was not redelivered here: another worker has it.
        seen.put_off(&message, Delay::HalfMinute);
        clock.advance(Duration::from_secs(36));
        seen.look([], 0);
        assert!(oldest() < 0.001, "{}", oldest());
        // What waits by design is no backlog.
        let body = format!(r#"{{"id":"m2","time":"{}"}}"#, clock.now());
        let texted = Delivery::loose(OtpTexted::TYPE, "m2", body.into_bytes());
        seen.put_off(&texted, Delay::HalfMinute);
        clock.advance(Duration::from_secs(10));
        seen.look([], 0);
        assert!(oldest() < 0.001, "{}", oldest());
    }
}
