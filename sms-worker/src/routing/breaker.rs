//! A circuit breaker: it stops calls to a failing provider for a while, then probes it with one text.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use domain::clock::Clock;
use domain::timestamp::Timestamp;

/// This many calls in a row without a clear answer open the circuit.
const TOLERATED: u32 = 5;
/// Under load, so many of the last [`RECENT`] must have failed, too: of a provider that fails three calls in ten, five in
/// a row fail every few seconds, and it still takes the other seven.
const MOST_OF_RECENT: usize = 16;
const RECENT: usize = 20;
/// What was longer ago says nothing about now. With fewer than [`RECENT`] calls since then, five in a row decide.
const RECENT_MS: i64 = 10_000;
/// How long the circuit stays open; doubled each time the probe fails.
const OPEN_MS: i64 = 5_000;
/// Together with the longest wait in the broker, this brings service back within the 60 s of P12.
const OPEN_MAX_MS: i64 = 30_000;
/// How long other callers wait while the probe runs.
const PROBE_MS: i64 = 1_000;

const OPEN: &str = "latchkey_provider_open";

/// The circuit of one provider.
pub struct Breaker {
    provider: &'static str,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    /// Calls in a row that failed.
    failures: u32,
    /// When the last calls ended, and whether they failed.
    recent: VecDeque<(i64, bool)>,
    open_until_ms: Option<i64>,
    /// When it opened; meaningful while it is open.
    opened_at_ms: i64,
    next_open_ms: i64,
    probing: bool,
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circuit {
    /// `closed`; `open`: no call is made; `half_open`: one text probes the provider, and decides.
    pub word: &'static str,
    /// When it opened first, since the provider last worked.
    pub since: Option<Timestamp>,
    /// When the provider is probed.
    pub until: Option<Timestamp>,
}

/// A permit for one call. Dropping it without reporting a result (its caller went away) has no effect.
pub struct BreakerPermit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

/// What a call shows about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderHealth {
    /// It answered, whether or not it took the text.
    Works,
    /// It could not be reached or gave no clear answer.
    Fails,
    /// It refuses every call until an operator acts.
    Refuses,
}

impl Breaker {
    pub fn new(provider: &'static str, clock: Clock) -> Self {
        let state = State {
            failures: 0,
            recent: VecDeque::with_capacity(RECENT),
            open_until_ms: None,
            opened_at_ms: 0,
            next_open_ms: OPEN_MS,
            probing: false,
        };
        let breaker = Self { provider, clock, state: Mutex::new(state) };
        breaker.show(false);
        breaker
    }

    /// Returns a permit to call, or how many milliseconds to wait before trying again.
    pub fn pass(&self) -> Result<BreakerPermit<'_>, i64> {
        let mut state = self.state();
        let Some(until) = state.open_until_ms else {
            return Ok(BreakerPermit { breaker: self, probe: false });
        };
        let left = until - self.clock.now_ms();
        if left > 0 {
            return Err(left);
        }
        if state.probing {
            return Err(PROBE_MS);
        }
        state.probing = true;
        Ok(BreakerPermit { breaker: self, probe: true })
    }

    /// The state of the circuit, for staff.
    pub(crate) fn state_now(&self) -> Circuit {
        let (state, now_ms) = (self.state(), self.clock.now_ms());
        let Some(until_ms) = state.open_until_ms else {
            return Circuit { word: "closed", since: None, until: None };
        };
        let since = Some(Timestamp::from_ms(state.opened_at_ms));
        if until_ms > now_ms {
            Circuit { word: "open", since, until: Some(Timestamp::from_ms(until_ms)) }
        } else {
            Circuit { word: "half_open", since, until: None }
        }
    }

    #[cfg(test)]
    fn is_open(&self) -> bool {
        self.state().open_until_ms.is_some()
    }

    /// Updates the gauge that operators alert on.
    fn show(&self, open: bool) {
        metrics::gauge!(OPEN, "provider" => self.provider).set(if open { 1.0 } else { 0.0 });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerPermit<'_> {
    /// Records the result of the call.
    pub fn judge(self, verdict: ProviderHealth) {
        let mut state = self.breaker.state();
        let now_ms = self.breaker.clock.now_ms();
        state.note(now_ms, verdict == ProviderHealth::Fails);
        match verdict {
            ProviderHealth::Works => {
                // A call from before the circuit opened says nothing about now: only the probe closes it.
                if state.open_until_ms.is_none() || self.probe {
                    state.failures = 0;
                    state.open_until_ms = None;
                    state.next_open_ms = OPEN_MS;
                }
            }
            ProviderHealth::Fails => {
                state.failures = state.failures.saturating_add(1);
                if self.probe || (state.is_failing() && state.open_until_ms.is_none()) {
                    state.open(now_ms);
                }
            }
            ProviderHealth::Refuses => {
                if self.probe || state.open_until_ms.is_none() {
                    state.open(now_ms);
                }
            }
        }
        self.breaker.show(state.open_until_ms.is_some());
    }
}

impl Drop for BreakerPermit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state().probing = false;
        }
    }
}

impl State {
    fn note(&mut self, now_ms: i64, failed: bool) {
        self.recent.retain(|(at, _)| now_ms - at < RECENT_MS);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now_ms, failed));
    }

    fn is_failing(&self) -> bool {
        let failed = self.recent.iter().filter(|(_, failed)| *failed).count();
        self.failures >= TOLERATED && (self.recent.len() < RECENT || failed >= MOST_OF_RECENT)
    }

    fn open(&mut self, now_ms: i64) {
        if self.open_until_ms.is_none() {
            self.opened_at_ms = now_ms;
        }
        self.open_until_ms = Some(now_ms + self.next_open_ms);
        self.next_open_ms = (self.next_open_ms * 2).min(OPEN_MAX_MS);
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call(breaker: &Breaker, verdict: ProviderHealth) -> Result<(), i64> {
        breaker.pass().map(|pass| pass.judge(verdict))
    }

    #[test]
    fn five_failures_in_a_row_open_the_circuit_and_a_successful_probe_closes_it() {
        let clock = Clock::manual();
        let breaker = Breaker::new("test", clock.clone());
        for _ in 0..4 {
            call(&breaker, ProviderHealth::Fails).unwrap();
        }
        call(&breaker, ProviderHealth::Works).unwrap();
        for _ in 0..5 {
            call(&breaker, ProviderHealth::Fails).unwrap();
        }
        assert_eq!(breaker.state_now().word, "open");
        let wait = call(&breaker, ProviderHealth::Works).unwrap_err();
        assert!((1..=OPEN_MS).contains(&wait), "{wait}");
        clock.advance(Duration::from_millis(5_001));
        let probe = breaker.pass().ok().unwrap();
        assert!(breaker.pass().is_err(), "one probe at a time");
        assert_eq!(breaker.state_now().word, "half_open");
        probe.judge(ProviderHealth::Works);
        assert!(!breaker.is_open());
        let closed = Circuit { word: "closed", since: None, until: None };
        assert_eq!(breaker.state_now(), closed);
        call(&breaker, ProviderHealth::Works).unwrap();
    }

    #[test]
    fn under_load_five_failures_in_a_row_open_the_circuit_only_if_most_calls_fail() {
        let clock = Clock::manual();
        let breaker = Breaker::new("test", clock.clone());
        for _ in 0..20 {
            call(&breaker, ProviderHealth::Works).unwrap();
        }
        for _ in 0..15 {
            call(&breaker, ProviderHealth::Fails).unwrap();
            assert!(!breaker.is_open());
        }
        call(&breaker, ProviderHealth::Fails).unwrap();
        assert!(breaker.is_open(), "a provider that fails altogether");
        clock.advance(Duration::from_millis(5_001));
        call(&breaker, ProviderHealth::Works).unwrap();
        // Long after, five calls in a row decide again.
        clock.advance(Duration::from_millis(10_001));
        for _ in 0..5 {
            assert!(!breaker.is_open());
            call(&breaker, ProviderHealth::Fails).unwrap();
        }
        assert!(breaker.is_open());
    }

    #[test]
    fn the_metric_shows_whether_the_circuit_is_open() {
        let shown = || {
            let text = service::telemetry::metrics().render();
            let line = |line: &&str| line.starts_with("latchkey_provider_open{provider=\"seen\"}");
            text.lines().find(line).map(|line| line.ends_with(" 1"))
        };
        drop(service::telemetry::metrics());
        let clock = Clock::manual();
        let breaker = Breaker::new("seen", clock.clone());
        assert_eq!(shown(), Some(false));
        call(&breaker, ProviderHealth::Refuses).unwrap();
        assert_eq!(shown(), Some(true));
        clock.advance(Duration::from_secs(6));
        assert_eq!(shown(), Some(true), "open until a probe succeeds");
        call(&breaker, ProviderHealth::Works).unwrap();
        assert_eq!(shown(), Some(false));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_30_seconds() {
        let clock = Clock::manual();
        let breaker = Breaker::new("test", clock.clone());
        call(&breaker, ProviderHealth::Refuses).unwrap();
        for wanted in [5_000, 10_000, 20_000, 30_000, 30_000] {
            let wait = breaker.pass().err().unwrap();
            assert!((wanted - 500..=wanted).contains(&wait), "{wanted}: {wait}");
            clock.advance(Duration::from_millis(u64::try_from(wait).unwrap() + 1));
            call(&breaker, ProviderHealth::Fails).unwrap();
        }
    }

    #[test]
    fn a_dropped_probe_lets_another_caller_probe() {
        let clock = Clock::manual();
        let breaker = Breaker::new("test", clock.clone());
        call(&breaker, ProviderHealth::Refuses).unwrap();
        clock.advance(Duration::from_secs(6));
        drop(breaker.pass().ok().unwrap());
        assert!(breaker.pass().is_ok());
    }

    #[test]
    fn stragglers_neither_close_nor_prolong_an_open_circuit() {
        let breaker = Breaker::new("test", Clock::manual());
        let (late, later) = (breaker.pass().ok().unwrap(), breaker.pass().ok().unwrap());
        call(&breaker, ProviderHealth::Refuses).unwrap();
        let wait = breaker.pass().err().unwrap();
        late.judge(ProviderHealth::Works);
        later.judge(ProviderHealth::Refuses);
        assert!(breaker.pass().err().unwrap() <= wait);
    }
}
