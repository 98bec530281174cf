//! Limits how many calls of one provider run at once: the limit grows while calls succeed and halves when the provider
//! says that there are too many (additive increase, multiplicative decrease). No provider publishes its limit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::clock::Clock;
use domain::rng;
use domain::timestamp::Timestamp;
use tokio::sync::Notify;

const START: f64 = 16.0;
const MOST: f64 = 128.0;
/// Refusals of concurrent calls count as one signal.
const CUT_EVERY_MS: i64 = 1_000;
/// The pause when the provider names none or a shorter one; doubled on each further refusal.
const PAUSE_MS: i64 = 500;
const PAUSE_MAX_MS: i64 = 30_000;
/// The longest pause that a provider may ask for. It may name hours, or a time where seconds belong: the call after the
/// pause asks again, and a provider that works again is used within 60 s (P12).
const TOLD_MAX_MS: i64 = 60_000;
/// A provider may name such a pause with every call: one line a minute is enough.
const CUT_LINE_EVERY_MS: i64 = 60_000;

/// The concurrency limit of one provider.
pub struct Limiter {
    clock: Clock,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    limit: f64,
    running: u32,
    /// How many calls of the account the provider counted as running when it last refused one.
    refused_at: Option<f64>,
    cut_at_ms: i64,
    paused_until_ms: i64,
    next_pause_ms: i64,
    cut_line_at_ms: i64,
}

/// The calls of one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub running: u32,
    /// The most that may run at once now.
    pub limit: i64,
    /// The provider said that there are too many.
    pub paused_until: Option<Timestamp>,
}

/// A slot for one call; freed when dropped.
pub struct ConcurrencyPermit<'a> {
    limiter: &'a Limiter,
}

impl Limiter {
    pub(super) fn new(clock: Clock) -> Self {
        let state = State {
            limit: START,
            running: 0,
            refused_at: None,
            cut_at_ms: i64::MIN,
            paused_until_ms: i64::MIN,
            next_pause_ms: PAUSE_MS,
            cut_line_at_ms: i64::MIN,
        };
        Self { clock, state: Mutex::new(state), freed: Notify::new() }
    }

    /// Returns a slot, waiting up to `patience` for it, or else an estimate of the wait in milliseconds. A longer wait
    /// belongs to the broker: no job waits in memory.
    pub async fn enter(&self, patience: Duration) -> Result<ConcurrencyPermit<'_>, i64> {
        let patience_ms = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        let give_up_ms = self.clock.now_ms().saturating_add(patience_ms);
        loop {
            let now = self.clock.now_ms();
            let (wait_ms, paused) = {
                let mut state = self.state();
                let paused_ms = state.paused_until_ms.saturating_sub(now);
                if paused_ms <= 0 && f64::from(state.running) < state.limit.floor() {
                    state.running += 1;
                    return Ok(ConcurrencyPermit { limiter: self });
                }
                if paused_ms > 0 { (paused_ms, true) } else { (give_up_ms - now, false) }
            };
            if wait_ms <= 0 || wait_ms > give_up_ms - now {
                return Err(if paused { wait_ms } else { 1_000 });
            }
            let wait = Duration::from_millis(wait_ms.unsigned_abs());
            // A spurious wake-up costs one check; if a slot was freed before this wait, Notify keeps the signal.
            drop(tokio::time::timeout(wait, self.freed.notified()).await);
        }
    }

    /// Records an accepted call; `in_use` is the number of running calls that the provider reports for the account.
    pub(crate) fn taken(&self, in_use: Option<u32>) {
        let mut state = self.state();
        state.next_pause_ms = PAUSE_MS;
        if let (Some(in_use), Some(refused_at)) = (in_use, state.refused_at) {
            // Other programs may use the account: do not grow near the count at which the provider last refused. That
            // limit may change, so the mark rises slowly.
            state.refused_at = Some(refused_at + 0.01);
            if f64::from(in_use) >= refused_at * 0.9 {
                return;
            }
        }
        state.limit = (state.limit + 1.0 / state.limit).min(MOST);
        drop(state);
        self.freed.notify_one();
    }

    /// Records a refusal for too many calls: all callers wait as long as the provider says, 60 s at most, and fewer
    /// calls run afterwards. Returns whether the wait was cut and a line about it is due: one a minute at most.
    pub(crate) fn refused(&self, retry_after: Option<Duration>, in_use: Option<u32>) -> bool {
        let now = self.clock.now_ms();
        let mut state = self.state();
        let told_ms =
            retry_after.map_or(0, |wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let mut pause_ms = told_ms.min(TOLD_MAX_MS);
        // Some providers send a wait of zero, which would make a tight loop: use our own pause, which doubles. Refusals
        // of concurrent calls count as one signal here too.
        if pause_ms < PAUSE_MS && state.paused_until_ms <= now {
            pause_ms = pause_ms.max(jittered(state.next_pause_ms));
            state.next_pause_ms = (state.next_pause_ms * 2).min(PAUSE_MAX_MS);
        }
        state.paused_until_ms = state.paused_until_ms.max(now.saturating_add(pause_ms));
        if now.saturating_sub(state.cut_at_ms) >= CUT_EVERY_MS {
            state.cut_at_ms = now;
            state.limit = (state.limit / 2.0).max(1.0);
        }
        if let Some(in_use) = in_use {
            state.refused_at = Some(f64::from(in_use).max(1.0));
        }
        let is_due =
            told_ms > TOLD_MAX_MS && now.saturating_sub(state.cut_line_at_ms) >= CUT_LINE_EVERY_MS;
        if is_due {
            state.cut_line_at_ms = now;
        }
        is_due
    }

    /// How many calls run now, for staff.
    pub(crate) fn load(&self) -> Load {
        let (state, now_ms) = (self.state(), self.clock.now_ms());
        let is_paused = state.paused_until_ms > now_ms;
        Load {
            running: state.running,
            #[expect(clippy::cast_possible_truncation, reason = "1 to 128")]
            limit: state.limit.floor() as i64,
            paused_until: is_paused.then(|| Timestamp::from_ms(state.paused_until_ms)),
        }
    }

    /// Returns how many calls may run at once now.
    #[cfg(test)]
    fn limit(&self) -> f64 {
        self.state().limit
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds up to half of the pause as jitter, so that workers do not come back at the same moment.
fn jittered(pause_ms: i64) -> i64 {
    let more = rng::spread_below(u64::try_from(pause_ms / 2).unwrap_or_default().max(1));
    pause_ms + i64::try_from(more).unwrap_or_default()
}

impl Drop for ConcurrencyPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.running = state.running.saturating_sub(1);
        drop(state);
        self.limiter.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_never_exceed_the_limit_and_a_freed_slot_is_reused() {
        let limiter = Limiter::new(Clock::manual());
        let mut slots = Vec::new();
        for _ in 0..16 {
            slots.push(limiter.enter(Duration::ZERO).await.ok().unwrap());
        }
        assert!(limiter.enter(Duration::ZERO).await.is_err());
        let (late, ()) = tokio::join!(limiter.enter(Duration::from_secs(5)), async {
            tokio::task::yield_now().await;
            drop(slots.pop());
        });
        assert!(late.is_ok());
    }

    #[tokio::test]
    async fn a_refusal_halves_the_limit_at_most_once_a_second_and_honours_retry_after() {
        let clock = Clock::manual();
        let limiter = Limiter::new(clock.clone());
        for _ in 0..10 {
            limiter.refused(Some(Duration::from_secs(7)), None);
        }
        assert!((limiter.limit() - 8.0).abs() < 0.01, "{}", limiter.limit());
        let wait = limiter.enter(Duration::from_secs(3)).await.err().unwrap();
        assert!((6_500..=7_000).contains(&wait), "{wait}");
        clock.advance(Duration::from_secs(7));
        assert!(limiter.enter(Duration::ZERO).await.is_ok());
        for _ in 0..10 {
            clock.advance(Duration::from_secs(2));
            limiter.refused(None, None);
        }
        assert!((limiter.limit() - 1.0).abs() < 0.01, "never below one: {}", limiter.limit());
    }

    #[tokio::test]
    async fn p12_no_answer_pauses_a_provider_for_more_than_a_minute() {
        // Hours, a time in seconds since 1970 sent by mistake, and the largest number that the header can hold.
        for told in [7_200, 1_795_965_292, 99_999_999_999, u64::MAX] {
            let clock = Clock::manual();
            let limiter = Limiter::new(clock.clone());
            let told = Some(Duration::from_secs(told));
            assert!(limiter.refused(told, None), "the first cut is told");
            assert!(!limiter.refused(told, None), "and not each one");
            let wait = limiter.enter(Duration::ZERO).await.err().unwrap();
            assert_eq!(wait, 60_000);
            clock.advance(Duration::from_mins(1));
            assert!(limiter.enter(Duration::ZERO).await.is_ok());
            assert!(limiter.refused(told, None), "a minute later it is told again");
        }
        let limiter = Limiter::new(Clock::manual());
        assert!(!limiter.refused(Some(Duration::from_mins(1)), None), "a minute is not cut");
    }

    #[test]
    fn the_limit_grows_by_one_per_round_but_not_near_the_account_limit() {
        let clock = Clock::manual();
        let limiter = Limiter::new(clock.clone());
        for _ in 0..17 {
            limiter.taken(Some(3));
        }
        assert!((17.0..17.2).contains(&limiter.limit()), "{}", limiter.limit());
        limiter.refused(None, Some(20));
        let after = limiter.limit();
        limiter.taken(Some(19));
        assert!((limiter.limit() - after).abs() < 0.001);
        limiter.taken(Some(5));
        assert!(limiter.limit() > after);
    }

    #[tokio::test]
    async fn pauses_double_when_retry_after_is_missing_or_too_short() {
        for retry_after in [None, Some(Duration::ZERO), Some(Duration::from_millis(100))] {
            let clock = Clock::manual();
            let limiter = Limiter::new(clock.clone());
            let mut last = 0;
            for _ in 0..5 {
                // Concurrent calls.
                for _ in 0..16 {
                    limiter.refused(retry_after, None);
                }
                let wait = limiter.enter(Duration::ZERO).await.err().unwrap();
                assert!(wait > last, "{wait} after {last}");
                last = wait;
                clock.advance(Duration::from_mins(1));
            }
            assert!((7_000..=12_000).contains(&last), "{last}");
        }
    }
}
