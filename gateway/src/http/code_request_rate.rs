//! How many code requests a second are accepted: any number, until workers or sign-ins are late (contract, ruling 79).
//!
//! A gateway and the broker accept several times as many code requests as workers can text with the same processors. What
//! is accepted beyond that is texted too late to be of use, and the work for it is taken from sign-ins. So while what
//! workers take has waited too long, each gateway accepts its share of what they take, and less until the queues are short;
//! then it tries a little more at a time. Breakwater (OSDI 2020) limits rates by the wait in a queue as well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{Load, WorkerLoad};
use tokio::time::Instant;

use crate::http::concurrency_limit::Shed;
use crate::http::rare_line::RareLine;

/// A limit begins when messages have waited so long, in milliseconds: a burst that is worked off sooner is accepted.
const LATE_MS: f64 = 1_500.0;
/// Under a limit, messages wait about so long, in milliseconds: workers always find one, and texts are not late.
const AIM_MS: f64 = 300.0;
/// The rate is what workers take, less the part of it that works the rest of the wait off in this time, in milliseconds.
const WORKED_OFF_MS: f64 = 2_000.0;
/// But never less than this part, so that one bad look stops nobody.
const LEAST_PART: f64 = 0.25;

/// Each look at queues that are short raises the rate by so much more than the one before, up to the most.
const GROWS_BY: f64 = 0.01;
const GROWS_AT_MOST: f64 = 0.05;
/// But until the first strain after its beginning by so much: it began at what was known, not at what can be done.
const GROWS_AT_FIRST: f64 = 0.5;
/// A look at a strain lowers it to the first part, and at much of it to the second.
const FALLS_TO: (f64, f64) = (0.93, 0.7);
/// Then so many looks pass until it falls again: what was accepted before is still on its way.
const FALLS_AFTER: u32 = 1;
/// A limit that is not told by workers begins at so many times the rate that was accepted lately.
const BEGINS_AT: f64 = 1.5;
/// Lately: the share of the last look in that rate, so that it is of about ten seconds; and the looks after which it is known.
const LATELY: f64 = 0.05;
const LATELY_LOOKS: u32 = 20;
/// A gateway always accepts so many a second: they harm no engine.
const LEAST: f64 = 100.0;
/// What was not used of the rate in this time can be used at once, in seconds: a burst after a pause is accepted.
const BURST_SECS: f64 = 0.5;
/// And what a limit begins with, so that it refuses nobody where few arrive.
const FIRST_SECS: f64 = 0.1;
/// A limit ends after so many looks between which nothing was refused.
const QUIET_LOOKS: u32 = 10;

/// The rate of one gateway. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeRequestRate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    arrived: Count,
    refused: Count,
    /// How many are accepted a second, lately, and after how many looks.
    lately: (f64, u32),
    limit: Option<Limit>,
    warning: RareLine,
}

/// Since the last look, and what that is a second, over about a second.
#[derive(Debug, Default)]
struct Count {
    count: u32,
    rate: f64,
}

#[derive(Debug)]
struct Limit {
    /// A second.
    rate: f64,
    growth: f64,
    is_new: bool,
    /// Looks that pass before the rate may fall again.
    waits: u32,
    /// Requests that may be accepted now.
    left: f64,
    filled_at: Instant,
    quiet_looks: u32,
    has_refused: bool,
}

/// Signs that this gateway or its engines have more to do than they can, whatever workers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strain {
    None,
    /// Sign-ins are late, connections wait to be accepted, or many requests are in hand.
    Some,
    /// Sign-ins are refused.
    Much,
}

impl CodeRequestRate {
    /// Accepts a code request.
    ///
    /// # Errors
    /// If as many were accepted lately as can be texted and signed in.
    pub(crate) fn enter(&self) -> Result<(), Shed> {
        let mut state = self.lock();
        state.arrived.count += 1;
        let limit = state.limit.as_mut();
        if limit.is_none_or(|limit| limit.accepts(Instant::now())) {
            return Ok(());
        }
        state.refused.count += 1;
        state.tell_refused();
        Err(Shed)
    }

    /// The most that are accepted, a second, if there is a limit.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.lock().limit.as_ref().map(|limit| limit.rate)
    }

    /// Sets a limit at once if there is a strain and none is set: all that a surge brings until then has to be done too.
    pub(crate) fn feel(&self, strain: Strain) {
        let mut state = self.lock();
        let (lately, looks) = state.lately;
        // A process that has just begun knows of no rate that it can do.
        if strain > Strain::None && looks >= LATELY_LOOKS && state.limit.is_none() {
            state.limit = Some(Limit::of(lately * BEGINS_AT));
        }
    }

    /// How many code requests arrive, a second. Called once before each [`Self::look`], with the time since the last one.
    pub(crate) fn count(&self, time: Duration) -> f64 {
        let mut state = self.lock();
        state.arrived.look(time);
        state.refused.look(time);
        let accepted = state.arrived.rate - state.refused.rate;
        let (lately, looks) = state.lately;
        state.lately = (lately + (accepted - lately) * LATELY, looks.saturating_add(1));
        state.arrived.rate
    }

    /// Sets the rate by what all processes say of their load, and by the strain of this one. Called twice a second.
    pub(crate) fn look(&self, loads: &[Load], strain: Strain) {
        let mut state = self.lock();
        let seen = Pace::of(loads, state.arrived.rate);
        let Some(limit) = &mut state.limit else {
            if seen.waited_ms > LATE_MS {
                state.limit = Some(Limit::of(seen.rate.unwrap_or(state.arrived.rate)));
            }
            return;
        };
        if limit.moves(&seen, strain) {
            state.limit = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_refused(&mut self) {
        if let Some(limit) = &self.limit
            && self.warning.is_due()
        {
            tracing::warn!(
                a_second = limit.rate.round(),
                "more code requests than can be texted and signed in in time: some are refused with 503"
            );
        }
    }
}

impl Count {
    fn look(&mut self, time: Duration) {
        let rate = f64::from(std::mem::take(&mut self.count)) / time.as_secs_f64().max(0.001);
        self.rate = f64::midpoint(self.rate, rate);
    }
}

impl Limit {
    fn of(rate: f64) -> Self {
        let rate = rate.max(LEAST);
        Self {
            rate,
            growth: 0.0,
            is_new: true,
            waits: FALLS_AFTER,
            left: rate * FIRST_SECS,
            filled_at: Instant::now(),
            quiet_looks: 0,
            has_refused: false,
        }
    }

    fn accepts(&mut self, now: Instant) -> bool {
        let filled = (now - self.filled_at).as_secs_f64() * self.rate;
        self.left = (self.left + filled).min(self.rate * BURST_SECS);
        self.filled_at = now;
        let accepts = self.left >= 1.0;
        if accepts {
            self.left -= 1.0;
        }
        self.has_refused |= !accepts;
        accepts
    }

    /// Follows what was seen; returns whether the limit is over.
    fn moves(&mut self, seen: &Pace, strain: Strain) -> bool {
        let falls_to = match strain {
            _ if self.waits > 0 => None,
            Strain::None => None,
            Strain::Some => Some(FALLS_TO.0),
            Strain::Much => Some(FALLS_TO.1),
        };
        self.waits = if falls_to.is_some() { FALLS_AFTER } else { self.waits.saturating_sub(1) };
        let is_calm = seen.rate.is_none() && strain == Strain::None;
        self.is_new &= falls_to.is_none();
        self.growth = match is_calm {
            true if self.is_new => GROWS_AT_FIRST,
            true => (self.growth + GROWS_BY).min(GROWS_AT_MOST),
            false => 0.0,
        };
        let rate = self.rate * falls_to.unwrap_or(1.0 + self.growth);
        self.rate = seen.rate.map_or(rate, |most| rate.min(most)).max(LEAST);
        let has_refused = std::mem::take(&mut self.has_refused);
        self.quiet_looks = if is_calm && !has_refused { self.quiet_looks + 1 } else { 0 };
        self.quiet_looks >= QUIET_LOOKS
    }
}

/// What workers can do, by what they say.
#[derive(Debug)]
struct Pace {
    /// The longest wait of the two kinds of workers.
    waited_ms: f64,
    /// What this gateway may accept a second. `None`: the queues are short, and nobody knows.
    rate: Option<f64>,
}

impl Pace {
    fn of(loads: &[Load], requested: f64) -> Self {
        let kinds = [
            together(loads.iter().filter_map(|load| match load {
                Load::OtpWorker(load) => Some(load),
                _ => None,
            })),
            together(loads.iter().filter_map(|load| match load {
                Load::SmsWorker(load) => Some(load),
                _ => None,
            })),
        ];
        let share = share(loads, requested);
        let late = kinds.iter().filter(|kind| kind.waited_ms > AIM_MS);
        let rates = late.map(|kind| {
            let part = 1.0 - (kind.waited_ms - AIM_MS) / WORKED_OFF_MS;
            kind.taken * part.max(LEAST_PART) * share
        });
        Self {
            waited_ms: kinds.iter().map(|kind| kind.waited_ms).fold(0.0, f64::max),
            rate: rates.reduce(f64::min),
        }
    }
}

/// All workers of a kind as one: what they take together, and how long each of those waited.
fn together<'a>(workers: impl Iterator<Item = &'a WorkerLoad>) -> WorkerLoad {
    let (mut taken, mut weights, mut waited_ms) = (0.0, 0.0, 0.0);
    for worker in workers {
        // One that takes nothing because its hands are full counts as well.
        let weight = if worker.waited_ms > 0.0 { worker.taken.max(1.0) } else { worker.taken };
        taken += worker.taken;
        weights += weight;
        waited_ms += weight * worker.waited_ms;
    }
    WorkerLoad { taken, waited_ms: if weights > 0.0 { waited_ms / weights } else { 0.0 } }
}

/// The part of all code requests that arrive here.
fn share(loads: &[Load], requested: f64) -> f64 {
    let all: f64 = loads
        .iter()
        .filter_map(|load| match load {
            Load::Gateway { requested } => Some(*requested),
            _ => None,
        })
        .sum();
    if all > requested { requested / all } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    fn sms_worker(taken: f64, waited_ms: f64) -> Load {
        Load::SmsWorker(WorkerLoad { taken, waited_ms })
    }

    /// So many arrive in half a second, evenly; returns how many are accepted.
    async fn arrive(rate: &CodeRequestRate, count: u32) -> u32 {
        let (start, mut accepted) = (Instant::now(), 0);
        for part in 1..=count {
            advance(start + LOOK * part / count - Instant::now()).await;
            accepted += u32::from(rate.enter().is_ok());
        }
        rate.count(LOOK);
        accepted
    }

    /// A gateway that has accepted so many in each half second for a while.
    async fn after(count: u32) -> CodeRequestRate {
        let rate = CodeRequestRate::default();
        for _ in 0..100 {
            assert_eq!(arrive(&rate, count).await, count);
            rate.look(&[sms_worker(f64::from(count) * 2.0, LATE_MS / 2.0)], Strain::None);
        }
        rate
    }

    fn assert_is(rate: &CodeRequestRate, wanted: f64) {
        let found = rate.limit().expect("there is a limit");
        assert!((found / wanted - 1.0).abs() < 0.02, "{found} and not {wanted}");
    }

    #[tokio::test(start_paused = true)]
    async fn workers_that_take_a_fifth_get_as_much_as_they_take() {
        const DONE: u32 = 100;
        let (rate, mut queue, mut accepted) = (after(50).await, 0, Vec::new());
        for _ in 0..120 {
            let count = arrive(&rate, 500).await;
            accepted.push(count);
            queue += count;
            let taken = queue.min(DONE);
            queue -= taken;
            let waited_ms = f64::from(queue) / f64::from(DONE) * 500.0;
            rate.look(&[sms_worker(f64::from(taken) * 2.0, waited_ms)], Strain::None);
        }
        let late: u32 = accepted.iter().skip(40).sum();
        assert!((80 * 90..80 * 105).contains(&late), "{late} in 40 s: {accepted:?}");
        assert!(queue < DONE * 3, "the last one waits less than 1.5 s: {queue}");
        let mut looks = 0;
        while rate.limit().is_some() {
            assert_eq!(arrive(&rate, 20).await, 20, "nobody is refused any more");
            rate.look(&[sms_worker(40.0, 0.0)], Strain::None);
            looks += 1;
            assert!(looks < 20, "the limit ends soon");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_gateway_gets_its_share_of_what_workers_take_less_what_works_the_wait_off() {
        let (large, small) = (after(300).await, after(100).await);
        let loads = [
            sms_worker(150.0, AIM_MS + WORKED_OFF_MS * 0.625),
            sms_worker(850.0, AIM_MS + WORKED_OFF_MS * 0.625),
            Load::OtpWorker(WorkerLoad { taken: 10.0, waited_ms: AIM_MS / 2.0 }),
            Load::Gateway { requested: 600.0 },
            Load::Gateway { requested: 200.0 },
        ];
        for (rate, wanted) in [(&large, 281.0), (&small, LEAST)] {
            rate.look(&loads, Strain::None);
            assert_is(rate, wanted);
        }
        // However late they are, they get a part.
        let small = after(100).await;
        small.look(&[sms_worker(3_000.0, 60_000.0), loads[3], loads[4]], Strain::None);
        assert_is(&small, 187.5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_takes_nothing_counts_as_well() {
        let busy = WorkerLoad { taken: 0.0, waited_ms: 9_000.0 };
        let idle = WorkerLoad::default();
        assert_eq!(together([busy, idle].iter()), busy);
        let rate = after(200).await;
        rate.look(&[Load::OtpWorker(busy), Load::OtpWorker(idle)], Strain::None);
        assert_is(&rate, LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_strain_is_felt_at_once_and_lowers_the_rate_at_every_second_look() {
        let rate = after(200).await;
        rate.feel(Strain::None);
        assert_eq!(rate.limit(), None);
        rate.feel(Strain::Some);
        assert_is(&rate, 600.0);
        rate.feel(Strain::Much);
        assert_is(&rate, 600.0);
        let mut wanted = 600.0;
        for (strain, part) in [
            (Strain::Much, 1.0),
            (Strain::Much, FALLS_TO.1),
            (Strain::Much, 1.0),
            (Strain::Some, FALLS_TO.0),
            (Strain::Some, 1.0),
            (Strain::None, 1.0 + GROWS_BY),
            (Strain::None, 1.0 + 2.0 * GROWS_BY),
        ] {
            wanted *= part;
            rate.look(&[], strain);
            assert_is(&rate, wanted);
        }
        for _ in 0..100 {
            rate.look(&[], Strain::Much);
        }
        assert_is(&rate, LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_was_not_too_much_is_limited_for_seconds_only() {
        let rate = after(50).await;
        rate.feel(Strain::Some);
        let mut accepted = Vec::new();
        for _ in 0..16 {
            accepted.push(arrive(&rate, 1_000).await);
            rate.look(&[], Strain::None);
        }
        assert_eq!(accepted.last(), Some(&1_000), "{accepted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_has_just_begun_is_limited_by_workers_only() {
        let rate = CodeRequestRate::default();
        for _ in 1..LATELY_LOOKS {
            rate.count(LOOK);
        }
        rate.feel(Strain::Much);
        assert_eq!(rate.limit(), None);
        rate.look(&[sms_worker(500.0, LATE_MS + 1.0)], Strain::None);
        assert!(rate.limit().is_some());
    }
}
