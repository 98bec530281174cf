//! Says the load of a worker, so that gateways accept no more code requests than it can do (contract, ruling 79). Nothing
//! depends on it: without reports, gateways accept all.

use std::time::Duration;

use bus::consumer::{QueueState, Taken};
use domain::clock::Clock;
use store::{Load, Loads, WorkerLoad};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::presence::INSTANCE;

/// How often a load is told. Meanwhile the wait in a queue that gets three times what is taken grows by a third of a second.
pub const EVERY: Duration = Duration::from_millis(500);

/// Waits are counted from the shortest of this time and of that before it: the clocks of two hosts differ, and a queue that
/// is well is empty now and then.
const SHORTEST_OF: Duration = Duration::from_mins(5);

/// Reports what a worker takes of its queue, as the load of `part`, until `stop`.
pub async fn run(
    loads: Loads,
    part: fn(WorkerLoad) -> Load,
    queue: QueueState,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::new(queue.taken());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let load = seen.load(queue.taken(), Instant::now(), &clock);
        let told = loads.tell(*INSTANCE, part(load));
        if let Some(Err(error)) = stop.run_until_cancelled(told).await {
            tracing::debug!(error = format!("{error:#}"), "cannot tell the load");
        }
    }
}

/// What was seen of a queue so far.
struct Seen {
    taken: Taken,
    at: Instant,
    rate: f64,
    /// The shortest wait of this span and of that before it.
    shortest_ms: [f64; 2],
    span_began: Instant,
}

impl Seen {
    fn new(taken: Taken) -> Self {
        let now = Instant::now();
        let shortest_ms = [f64::INFINITY; 2];
        Self { taken, at: now, rate: 0.0, shortest_ms, span_began: now }
    }

    /// The load by what is taken now. The rate is smoothed over about a second: messages are taken in bunches.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of half a second")]
    fn load(&mut self, taken: Taken, now: Instant, clock: &Clock) -> WorkerLoad {
        let messages = (taken.messages - self.taken.messages) as f64;
        let rate = messages / (now - self.at).as_secs_f64().max(0.001);
        let waited_ms = if messages > 0.0 {
            Some((taken.waited_ms - self.taken.waited_ms) as f64 / messages)
        } else {
            // Nothing was taken if all hands are full.
            taken.oldest_waiting.map(|oldest| (clock.now_ms() - oldest.ms()).max(0) as f64)
        };
        (self.taken, self.at, self.rate) = (taken, now, f64::midpoint(self.rate, rate));
        let waited_ms = waited_ms.map_or(0.0, |waited_ms| self.above_shortest(waited_ms, now));
        WorkerLoad { taken: self.rate, waited_ms: if taken.is_held_back { 0.0 } else { waited_ms } }
    }

    fn above_shortest(&mut self, waited_ms: f64, now: Instant) -> f64 {
        if now - self.span_began >= SHORTEST_OF {
            self.shortest_ms = [f64::INFINITY, self.shortest_ms[0]];
            self.span_began = now;
        }
        self.shortest_ms[0] = self.shortest_ms[0].min(waited_ms);
        waited_ms - self.shortest_ms[0].min(self.shortest_ms[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_millis(500);

    fn taken(messages: u64, waited_ms: u64) -> Taken {
        Taken { messages, waited_ms, ..Taken::default() }
    }

    fn load(seen: &mut Seen, taken: Taken, clock: &Clock) -> WorkerLoad {
        seen.load(taken, seen.at + HALF, clock)
    }

    #[test]
    fn the_load_is_a_rate_and_the_mean_wait_of_what_was_taken() {
        let (clock, mut seen) = (Clock::manual(), Seen::new(taken(10, 90)));
        let first = load(&mut seen, taken(60, 90), &clock);
        assert_eq!(first, WorkerLoad { taken: 50.0, waited_ms: 0.0 });
        let second = load(&mut seen, taken(110, 100_090), &clock);
        assert_eq!(second, WorkerLoad { taken: 75.0, waited_ms: 2000.0 });
        let idle = load(&mut seen, taken(110, 100_090), &clock);
        assert_eq!(idle, WorkerLoad { taken: 37.5, waited_ms: 0.0 });
    }

    #[test]
    fn a_worker_whose_hands_are_full_tells_how_long_the_oldest_waits() {
        let (clock, mut seen) = (Clock::manual(), Seen::new(taken(0, 0)));
        load(&mut seen, taken(10, 0), &clock);
        let full = Taken { oldest_waiting: Some(clock.now()), ..taken(10, 0) };
        clock.advance(Duration::from_secs(7));
        let waited_ms = load(&mut seen, full, &clock).waited_ms;
        assert!(waited_ms >= 7_000.0, "{waited_ms}");
        let held_back = Taken { is_held_back: true, ..full };
        let waited_ms = load(&mut seen, held_back, &clock).waited_ms;
        assert!(waited_ms == 0.0, "fewer code requests would not hasten it");
    }

    #[test]
    fn a_clock_that_differs_is_no_wait() {
        let (clock, mut seen) = (Clock::manual(), Seen::new(taken(0, 0)));
        let mut total = taken(0, 0);
        for round in 0..2_000_u32 {
            let behind_ms = 60_000 + if round == 1_999 { 2_500 } else { 10 };
            total = taken(total.messages + 1, total.waited_ms + behind_ms);
            let waited_ms = load(&mut seen, total, &clock).waited_ms;
            let wanted = if round == 1_999 { 2_490.0 } else { 0.0 };
            assert!((waited_ms - wanted).abs() < 1.0, "round {round}: {waited_ms}");
        }
        // It was set: what was a wait of a minute is none now, and more than that is one.
        total = taken(total.messages + 1, total.waited_ms);
        assert!(load(&mut seen, total, &clock).waited_ms == 0.0);
        total = taken(total.messages + 1, total.waited_ms + 3_000);
        assert!(load(&mut seen, total, &clock).waited_ms >= 2_999.0);
    }
}
