//! The metrics of a worker's queue (contract, section 11).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{gauge, histogram};
use serde::Serialize;

use super::Options;
use crate::{Delay, Delivery, Queue, QueueCounts};
use domain::clock::Clock;
use domain::event::{
    Event, OtpRequested, OtpTexted, SmsReceipt, SmsRequested, SmsStatus, SmsStatuses, UserSignedUp,
};
use domain::timestamp::Timestamp;

const OLDEST: &str = "latchkey_queue_oldest_seconds";
const LAG: &str = "latchkey_event_lag_seconds";
const DEAD: &str = "latchkey_dead_letters";
const UP: &str = "latchkey_consumer_up";
/// Without a label, so that an autoscaler can read it without a query. A process of all parts has two queues, and nobody
/// scales it by this: there the queue that was looked at last is shown.
const OWN: &str = "latchkey_own_queue_oldest_seconds";
/// Also without a label: an autoscaler adds it up over the pods.
const IN_HAND: &str = "latchkey_own_messages_in_hand";
/// How long past its delay a message may return. After that another worker has it, or it is finished.
const OVERDUE_MS: i64 = 5_000;

/// What a worker knows of its queue.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueFigures {
    /// The age of the oldest message that this worker has in hand or has put off, in milliseconds.
    pub oldest_ms: i64,
    /// Messages in this worker's hands.
    pub held: u32,
    /// Of the whole queue, at most ten seconds old.
    #[serde(flatten)]
    pub counts: QueueCounts,
}

/// What a worker has taken since it started, of the types in [`Options::paced`], without what was handed out before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub messages: u64,
    /// How long all of them together waited to be taken, in milliseconds.
    pub waited_ms: u64,
    /// The time of the oldest that waits for a free handler of this worker, as it was a second ago.
    pub oldest_waiting: Option<Timestamp>,
    /// Messages wait for something that no pace would hasten: a dependency that is away, a provider that throttles us.
    pub is_held_back: bool,
}

/// The figures of a worker as they were a second ago, and what it has taken until now. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct QueueState(Arc<Mutex<(QueueFigures, Taken)>>);

impl QueueState {
    pub fn figures(&self) -> QueueFigures {
        self.lock().0.clone()
    }

    pub fn taken(&self) -> Taken {
        self.lock().1
    }

    fn lock(&self) -> MutexGuard<'_, (QueueFigures, Taken)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct QueueMetrics {
    queue: Queue,
    clock: Clock,
    state: QueueState,
    waits_by_design: &'static [&'static str],
    paced: &'static [&'static str],
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
        let Options { clock, waits_by_design, paced, state, .. } = options;
        let (clock, state) = (clock.clone(), state.clone());
        let put_off = HashMap::new();
        let mut seen = Self { queue, clock, state, waits_by_design, paced, put_off };
        seen.look([], QueueCounts::default());
        seen.look_at_own([], 0, false);
        seen.consumes(false);
        seen
    }

    pub(super) fn taken(&mut self, message: &Delivery) {
        self.put_off.remove(&message.id);
        let Some(event_time) = message.event_time() else { return };
        if is_fresh(message) {
            let now_ms = self.clock.now_ms();
            histogram!(LAG, "type" => label(&message.kind)).record(age_secs(now_ms, event_time));
            if self.is_paced(message) {
                let taken = &mut self.state.lock().1;
                taken.messages += 1;
                taken.waited_ms += now_ms.saturating_sub(event_time.ms()).max(0).unsigned_abs();
            }
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
        counts: QueueCounts,
    ) {
        let now_ms = self.clock.now_ms();
        self.put_off.retain(|_, message| message.until_ms > now_ms);
        let mut held = 0;
        let in_hand = in_hand.into_iter().inspect(|_| held += 1);
        let in_hand = in_hand.filter_map(|message| message.event_time());
        let times = in_hand.chain(self.put_off.values().map(|message| message.event_time));
        let oldest = times.min().unwrap_or_else(|| Timestamp::from_ms(now_ms));
        gauge!(OLDEST, "queue" => self.queue.as_str()).set(age_secs(now_ms, oldest));
        gauge!(DEAD, "queue" => self.queue.as_str()).set(f64::from(counts.dead.unwrap_or(0)));
        let oldest_ms = now_ms.saturating_sub(oldest.ms()).max(0);
        self.state.lock().0 = QueueFigures { oldest_ms, held, counts };
    }

    /// Whether the worker takes messages.
    pub(super) fn consumes(&self, is_up: bool) {
        gauge!(UP, "queue" => self.queue.as_str()).set(if is_up { 1.0 } else { 0.0 });
    }

    /// What waits for a free handler of this process: more workers would take it sooner, unless it `is_held_back`. A
    /// message that failed before waited for its delay, and one that waits by design for its time. Beside it, how many
    /// messages are in hand: that follows the load before anything waits.
    pub(super) fn look_at_own<'a>(
        &self,
        waiting: impl IntoIterator<Item = &'a Arc<Delivery>>,
        in_hand: u32,
        is_held_back: bool,
    ) {
        let by_design = |message: &Delivery| self.waits_by_design.contains(&message.kind.as_str());
        let waiting = waiting.into_iter().filter(|message| message.attempts == 0);
        let (mut oldest, mut oldest_paced) = (None, None);
        for message in waiting.filter(|message| !by_design(message)) {
            let Some(event_time) = message.event_time() else { continue };
            earlier(&mut oldest, event_time);
            if self.is_paced(message) && is_fresh(message) {
                earlier(&mut oldest_paced, event_time);
            }
        }
        let oldest = oldest.filter(|_| !is_held_back);
        let now_ms = self.clock.now_ms();
        gauge!(OWN).set(oldest.map_or(0.0, |oldest| age_secs(now_ms, oldest)));
        gauge!(IN_HAND).set(f64::from(if is_held_back { 0 } else { in_hand }));
        let taken = &mut self.state.lock().1;
        (taken.oldest_waiting, taken.is_held_back) = (oldest_paced, is_held_back);
    }

    fn is_paced(&self, message: &Delivery) -> bool {
        self.paced.contains(&message.kind.as_str())
    }
}

/// Whether nobody had it before.
fn is_fresh(message: &Delivery) -> bool {
    message.attempts == 0 && !message.suspect
}

fn earlier(oldest: &mut Option<Timestamp>, event_time: Timestamp) {
    *oldest = Some(oldest.map_or(event_time, |oldest| oldest.min(event_time)));
}

fn age_secs(now_ms: i64, event_time: Timestamp) -> f64 {
    let age_ms = now_ms.saturating_sub(event_time.ms()).max(0);
    std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64()
}

/// The types that `latchkey_event_lag_seconds` tells apart: those of the events that workers take, as they are written
/// now. All else is [`OTHER_TYPE`]: a publisher could invent any number of names.
pub const EVENT_TYPES: [&str; 7] = [
    OtpRequested::TYPE,
    UserSignedUp::TYPE,
    OtpTexted::TYPE,
    SmsRequested::TYPE,
    SmsReceipt::TYPE,
    SmsStatus::TYPE,
    SmsStatuses::TYPE,
];
pub const OTHER_TYPE: &str = "other";

fn label(kind: &str) -> &'static str {
    EVENT_TYPES.into_iter().find(|known| *known == kind).unwrap_or(OTHER_TYPE)
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
    fn the_figure_for_the_autoscaler_is_of_messages_that_more_workers_would_take_sooner() {
        // Another test's worker would write the same figure: it has no label.
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let figure = |name: &str| {
            let text = handle.render();
            let line = |text: &str| text.strip_prefix(name)?.trim().parse::<f64>().ok();
            text.lines().find_map(line)
        };
        let shown = || figure("latchkey_own_queue_oldest_seconds ");
        let in_hand = || figure("latchkey_own_messages_in_hand ");
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let clock = Clock::manual();
        let mut options = Options::new(1, clock.clone());
        options.waits_by_design = &[OtpTexted::TYPE];
        let seen = QueueMetrics::register(Queue::OtpWorker, &options);
        assert_eq!(shown(), Some(0.0));
        let body = format!(r#"{{"id":"m1","time":"{}"}}"#, clock.now());
        let message = |kind: &str| Delivery::loose(kind, "m1", body.clone().into_bytes());
        clock.advance(Duration::from_secs(30));
        let waiting = [&Arc::new(message(SmsRequested::TYPE))];
        seen.look_at_own(waiting, 65, false);
        assert_eq!(in_hand(), Some(65.0));
        assert!(shown().is_some_and(|age| (30.0..31.0).contains(&age)), "{:?}", shown());
        seen.look_at_own(waiting, 65, true);
        let both = (shown(), in_hand());
        assert_eq!(both, (Some(0.0), Some(0.0)), "more workers would wait as well");
        let failed = Delivery { attempts: 1, ..message(SmsRequested::TYPE) };
        seen.look_at_own([&Arc::new(failed), &Arc::new(message(OtpTexted::TYPE))], 0, false);
        assert_eq!((shown(), in_hand()), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn what_was_taken_is_counted_with_its_wait_unless_it_was_handed_out_before() {
        recorder();
        let clock = Clock::manual();
        let mut options = Options::new(1, clock.clone());
        options.paced = &[OtpRequested::TYPE];
        let mut seen = QueueMetrics::register(Queue::OtpWorker, &options);
        let body = format!(r#"{{"id":"m1","time":"{}"}}"#, clock.now());
        let message = |kind: &str| Delivery::loose(kind, "m1", body.clone().into_bytes());
        clock.advance(Duration::from_secs(2));
        seen.taken(&message(OtpRequested::TYPE));
        seen.taken(&message(SmsStatuses::TYPE));
        seen.taken(&Delivery { attempts: 1, ..message(OtpRequested::TYPE) });
        seen.taken(&Delivery { suspect: true, ..message(OtpRequested::TYPE) });
        let taken = options.state.taken();
        assert_eq!(taken.messages, 1);
        assert!(taken.waited_ms >= 2_000, "{taken:?}");
        assert_eq!(taken.oldest_waiting, None);
        let (paced, other) = (message(OtpRequested::TYPE), message(SmsStatuses::TYPE));
        seen.look_at_own([&Arc::new(other)], 1, false);
        assert_eq!(options.state.taken().oldest_waiting, None);
        let requested_at = paced.event_time();
        seen.look_at_own([&Arc::new(paced)], 1, true);
        let taken = options.state.taken();
        assert_eq!((taken.oldest_waiting, taken.is_held_back), (requested_at, true));
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
        seen.look([&message], QueueCounts::default());
        assert!((60.0..61.0).contains(&oldest()), "{}", oldest());
        // Its provider is unavailable: nothing is in hand.
        seen.put_off(&message, Delay::HalfMinute);
        clock.advance(Duration::from_secs(25));
        seen.look([], QueueCounts::default());
        assert!((85.0..86.0).contains(&oldest()), "{}", oldest());
        // It was redelivered and finished.
        seen.taken(&message);
        seen.look([], QueueCounts::default());
        assert!(oldest() < 0.001, "{}", oldest());
        // It was not redelivered here: another worker has it.
        seen.put_off(&message, Delay::HalfMinute);
        clock.advance(Duration::from_secs(36));
        seen.look([], QueueCounts::default());
        assert!(oldest() < 0.001, "{}", oldest());
        // What waits by design is no backlog.
        let body = format!(r#"{{"id":"m2","time":"{}"}}"#, clock.now());
        let texted = Delivery::loose(OtpTexted::TYPE, "m2", body.into_bytes());
        seen.put_off(&texted, Delay::HalfMinute);
        clock.advance(Duration::from_secs(10));
        seen.look([], QueueCounts::default());
        assert!(oldest() < 0.001, "{}", oldest());
    }

    #[test]
    fn ten_thousand_types_of_a_stranger_make_one_time_series() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let clock = Clock::manual();
        let options = Options::new(1, clock.clone());
        let mut seen = QueueMetrics::register(Queue::SmsWorker, &options);
        for n in 0..10_000 {
            let body = format!(r#"{{"id":"m{n}","time":"{}"}}"#, clock.now());
            let kind = format!("invented{n}.v1");
            seen.taken(&Delivery::loose(&kind, &format!("m{n}"), body.into_bytes()));
        }
        let text = recorder.handle().render();
        let series =
            text.lines().filter(|line| line.starts_with("latchkey_event_lag_seconds_count"));
        assert_eq!(
            series.collect::<Vec<_>>(),
            ["latchkey_event_lag_seconds_count{type=\"other\"} 10000"]
        );
    }
}
