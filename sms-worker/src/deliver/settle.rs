//! Attempts whose end is not written: writing it, waiting for it, giving it up.

use std::time::Duration;

use bus::consumer::Failure;
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use ledger::{AttemptState, Transition};

use super::end::End;
use super::{SendSms, later};
use crate::providers::client;

/// How long a receipt is waited for that says what an answer did not.
const RECEIPT_WAIT: Duration = Duration::from_secs(3);
const RECEIPT_LOOK: Duration = Duration::from_millis(200);
/// A call is surely over after this: its time-out, and some for what is around it. A younger attempt without an end may
/// still have a worker at it.
const DOUBT: Duration = client::LIMIT.saturating_add(RECEIPT_WAIT);
/// How often the end of a call that was made is tried to be written down, and how far apart.
const FINISH_TRIES: u32 = 5;
const FINISH_APART: Duration = Duration::from_millis(300);

impl SendSms {
    /// Writes an end down, and insists: the call was made, and forgetting it could mean a second text.
    pub(super) async fn finish(
        &self,
        attempt_id: AttemptId,
        end: End,
    ) -> Result<Option<Transition>, Failure> {
        self.pending_finishes.put(attempt_id, end.clone(), self.clock.now());
        let mut attempt_counts = 1;
        loop {
            match self.ledger.finish(attempt_id, &end.finish(), self.clock.now()).await {
                Ok(moved) => {
                    self.pending_finishes.take(attempt_id);
                    return Ok(moved);
                }
                Err(error) if error.is_away() && attempt_counts < FINISH_TRIES => {
                    attempt_counts += 1;
                    tokio::time::sleep(FINISH_APART).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// An attempt without an end, of this or another worker: waits for its end while that can still come, then takes it
    /// for one that may have been accepted.
    pub(super) async fn settle(
        &self,
        attempt_id: AttemptId,
        started_at: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(end) = self.pending_finishes.get(attempt_id) {
            self.finish(attempt_id, end).await?;
            return Ok(());
        }
        let doubt_ms = i64::try_from(DOUBT.as_millis()).unwrap_or(i64::MAX);
        let left_ms = |now: i64| {
            // Begun in the future: a host's clock is wrong and tells nothing. Then it is young, for a second text costs
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
                // Short steps: most of the 60 s that a broken worker may cost would be lost in a long one (P1).
                return Err(Failure::Later(later(left_ms(now).min(5_000))));
            }
            tokio::time::sleep(RECEIPT_LOOK).await;
        }
        self.ledger.give_up_on(attempt_id, self.clock.now()).await?;
        Ok(())
    }

    /// Whether a receipt told, within three seconds, that the text was taken.
    pub(super) async fn taken_after_all(&self, attempt_id: AttemptId) -> Result<bool, Failure> {
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
