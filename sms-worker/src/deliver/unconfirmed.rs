//! Attempts without a recorded result, or with an unknown one: records it, or counts the text as one that may have been
//! taken. What has to wait for that waits in the broker: a place in this worker is for calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::consumer::Failure;
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use ledger::Finish;

use super::{SendSms, wait};
use crate::providers::client;

/// How long a receipt may settle an unknown outcome, before another call is made.
pub(super) const RECEIPT_WAIT: Duration = Duration::from_secs(3);
/// By then a call is over: its time-out plus the wait for a receipt. A younger attempt without a result may still have a
/// worker.
const DOUBT: Duration = client::LIMIT.saturating_add(RECEIPT_WAIT);
/// The first and the longest wait for another worker's result. A longer step would use up most of the 60 s that a broken
/// worker may cost (P1).
const STEP_MS: (i64, i64) = (1_000, 5_000);

impl SendSms {
    /// Ends an attempt without a result, from this or another worker: once none can come any more, it is one that may
    /// have been accepted.
    ///
    /// # Errors
    /// [`Failure::Later`] while the result can still come: the job waits in the broker for as long as the attempt is old.
    /// Most calls are over by then.
    pub(super) async fn resolve(
        &self,
        attempt_id: AttemptId,
        started_at: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(finish) = self.pending_finishes.get(attempt_id) {
            self.finish(attempt_id, finish).await?;
            return Ok(());
        }
        // A start in the future means that a host's clock is wrong. Treat the attempt as young: a second text costs more
        // than a wait.
        let age_ms = (self.clock.now_ms() - started_at.ms()).max(0);
        let left_ms = whole_ms(DOUBT) - age_ms;
        if left_ms > 0 {
            let (first, longest) = STEP_MS;
            return Err(Failure::Later(wait(age_ms.clamp(first, longest).min(left_ms))));
        }
        let ended_at = started_at.plus_ms(whole_ms(client::LIMIT));
        Ok(self.ledger.give_up_on(attempt_id, ended_at).await?)
    }

    /// What to do with a job whose last call ended at this time without a clear answer: the broker keeps it while a
    /// receipt can still settle that call.
    pub(super) fn unsettled(&self, ended_at: Timestamp) -> Failure {
        let left_ms = ended_at.ms() + receipt_wait_ms() - self.clock.now_ms();
        Failure::Later(wait(left_ms.min(receipt_wait_ms())))
    }
}

pub(super) fn receipt_wait_ms() -> i64 {
    whole_ms(RECEIPT_WAIT)
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
    use ledger::AttemptState;

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
