//! Ends a job without a call: hands it back to the broker or ends the message.

use bus::Delay;
use bus::consumer::Failure;
use domain::vocabulary::{Reason, Status};
use ledger::{AttemptCounts, Transition};

use super::{Job, LEAST_LIFE_MS, SendSms, later};
use crate::announce::{announce, counted};

impl SendSms {
    /// Hands the job back to the broker, or ends it if it would return too late.
    pub(super) async fn later(&self, job: &Job<'_>, wait_ms: i64) -> Result<(), Failure> {
        // Another worker may have done the job; then it needs no provider.
        let message_state = self.ledger.message_state(job.message.message_id).await?;
        if let Some(message_state) =
            message_state.filter(|message_state| message_state.status.rank() >= 3)
        {
            return announce(&self.publish, &message_state, job.trace).await;
        }
        let usable_ms = self.life_ms(job) - LEAST_LIFE_MS;
        // The broker has few delays and rounds up: a delay longer than the text's remaining time would end it.
        let waits = Delay::ALL.map(Delay::ms);
        let Some(longest) = waits.into_iter().rev().find(|ms| ms + 500 <= usable_ms) else {
            return self.give_up(job).await;
        };
        Err(Failure::Later(later(wait_ms.min(longest))))
    }

    pub(super) async fn drop_late(&self, job: &Job<'_>) -> Result<(), Failure> {
        let attempt_counts = self.ledger.attempt_counts(job.message.message_id).await?;
        self.end(job, too_late(attempt_counts)).await
    }

    /// Ends a job for which no provider is available. If the text may have been taken all the same, the reason is
    /// unknown.
    pub(super) async fn give_up(&self, job: &Job<'_>) -> Result<(), Failure> {
        let attempt_counts = self.ledger.attempt_counts(job.message.message_id).await?;
        let reason =
            if attempt_counts.risked > 0 { Reason::Unknown } else { Reason::ProviderUnavailable };
        self.end(job, reason).await
    }

    pub(super) async fn end(&self, job: &Job<'_>, reason: Reason) -> Result<(), Failure> {
        let now = self.clock.now();
        let moved = self.ledger.end(&job.message, Status::Failed, Some(reason), now).await?;
        counted(&moved);
        announce(&self.publish, &moved.message_state, job.trace).await
    }

    pub(super) async fn tell_if_sent(
        &self,
        job: &Job<'_>,
        moved: &Transition,
    ) -> Result<(), Failure> {
        counted(moved);
        if moved.message_state.status == Status::Expired {
            return Ok(());
        }
        announce(&self.publish, &moved.message_state, job.trace).await
    }
}

/// Returns why a text that is too late was not sent, from the results of its calls.
pub(super) const fn too_late(attempt_counts: AttemptCounts) -> Reason {
    match attempt_counts {
        AttemptCounts { risked: 1.., .. } => Reason::Unknown,
        AttemptCounts { refused: 1.., .. } => Reason::ProviderUnavailable,
        AttemptCounts { .. } => Reason::Expired,
    }
}
