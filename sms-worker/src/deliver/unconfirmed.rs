//! Attempts without a recorded result: records it, waits for it, or counts the text as one that may have been taken.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::consumer::Failure;
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use ledger::{AttemptState, Finish};

use super::{SendSms, wait};
use crate::providers::client;

/// How long to wait for a receipt that settles an unknown outcome.
const RECEIPT_WAIT: Duration = Duration::from_secs(3);
const RECEIPT_LOOK: Duration = Duration::from_millis(200);
/// By then a call is over: its time-out plus a margin. A younger attempt without a result may still have a worker.
const DOUBT: Duration = client::LIMIT.saturating_add(RECEIPT_WAIT);

impl SendSms {
    /// Ends an attempt without a result, from this or another worker: waits while the result can still come, then
    /// treats it as one that may have been accepted.
    pub(super) async fn resolve(
        &self,
        attempt_id: AttemptId,
        started_at: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(finish) = self.pending_finishes.get(attempt_id) {
            self.finish(attempt_id, finish).await?;
            return Ok(());
        }
        let doubt_ms = i64::try_from(DOUBT.as_millis()).unwrap_or(i64::MAX);
        let left_ms = |now: i64| {
            // A start in the future means that a host's clock is wrong. Treat the attempt as young: a second text costs
            // more than a wait.
            doubt_ms - (now - started_at.ms()).max(0)
        };
        let until_ms = self.clock.now_ms() + i64::try_from(RECEIPT_WAIT.as_millis()).unwrap_or(0);
        loop {
            if self.ledger.attempt_state(attempt_id).await? != Some(AttemptState::Begun) {
                return Ok(());
            }
            let now = self.clock.now_ms();
            if left_ms(now) <= 0 {
                break;
            }
            if now >= until_ms {
                // Short steps: a long one would use up most of the 60 s that a broken worker may cost (P1).
                return Err(Failure::Later(wait(left_ms(now).min(5_000))));
            }
            tokio::time::sleep(RECEIPT_LOOK).await;
        }
        self.ledger.give_up_on(attempt_id, self.clock.now()).await?;
        Ok(())
    }

    /// Whether a receipt shows, within three seconds, that the text was taken.
    pub(super) async fn is_taken_after_all(&self, attempt_id: AttemptId) -> Result<bool, Failure> {
        let looks = RECEIPT_WAIT.as_millis() / RECEIPT_LOOK.as_millis();
        for look in 0..=looks {
            if self.ledger.attempt_state(attempt_id).await? == Some(AttemptState::Accepted) {
                return Ok(true);
            }
            if look < looks {
                tokio::time::sleep(RECEIPT_LOOK).await;
            }
        }
        Ok(false)
    }
}

/// No text is usable for longer, so no job comes back later.
const KEPT_MS: i64 = 60 * 60 * 1000;
/// From this many entries on, abandoned ones are dropped.
const MANY: usize = 1_000;

/// Results that could not be recorded while the ledger was away, and attempts that may be begun there although no call
/// follows. If the job comes back to this process, the outcome is known here and no second text is sent.
#[derive(Default)]
pub(super) struct PendingFinishes(Mutex<HashMap<AttemptId, (Finish, Timestamp)>>);

impl PendingFinishes {
    pub fn put(&self, attempt: AttemptId, finish: Finish, now: Timestamp) {
        let mut finishes = self.lock();
        if finishes.len() >= MANY {
            finishes.retain(|_, (_, at)| now.ms() - at.ms() < KEPT_MS);
        }
        finishes.insert(attempt, (finish, now));
    }

    fn get(&self, attempt: AttemptId) -> Option<Finish> {
        self.lock().get(&attempt).map(|(finish, _)| finish.clone())
    }

    pub fn take(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, (Finish, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;

    #[test]
    fn abandoned_results_do_not_fill_the_memory() {
        let clock = Clock::manual();
        let finish = Finish::of(AttemptState::Unavailable);
        let pending_finishes = PendingFinishes::default();
        for _ in 0..MANY {
            pending_finishes.put(AttemptId::new(&clock), finish.clone(), clock.now());
        }
        let young = AttemptId::new(&clock);
        pending_finishes.put(young, finish.clone(), clock.now().plus_secs(1));
        assert_eq!(pending_finishes.lock().len(), MANY + 1);
        let last = AttemptId::new(&clock);
        pending_finishes.put(last, finish, clock.now().plus_ms(KEPT_MS));
        assert_eq!(pending_finishes.lock().len(), 2);
        assert!(pending_finishes.get(young).is_some() && pending_finishes.get(last).is_some());
    }
}
