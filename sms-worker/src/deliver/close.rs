//! How a job leaves without a call: back to the broker, or to its end.

use bus::Delay;
use bus::consumer::Failure;
use domain::vocabulary::{Reason, Status};
use ledger::{AttemptCounts, Transition};

use super::{Job, LEAST_LIFE_MS, SendSms, later};
use crate::announce::{announce, counted};

impl SendSms {
    /// Back to the broker, unless it would come too late from there.
    pub(super) async fn later(&self, job: &Job<'_>, wait_ms: i64) -> Result<(), Failure> {
        // The job may have been done by another worker; then no provider is needed for it.
        let message_state = self.ledger.message_state(job.message.message_id).await?;
        if let Some(message_state) =
            message_state.filter(|message_state| message_state.status.rank() >= 3)
        {
            return announce(&self.publish, &message_state, job.trace).await;
        }
        let usable_ms = self.life_ms(job) - LEAST_LIFE_MS;
        // The broker's waits are few, and it rounds up: one that outlasts the text would be its end.
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

    /// No provider is to be had for it. Of a text that may have been taken all the same, nobody can say so.
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

/// Why a text that comes too late was not sent, by what its calls came to.
pub(super) const fn too_late(attempt_counts: AttemptCounts) -> Reason {
    match attempt_counts {
        AttemptCounts { risked: 1.., .. } => Reason::Unknown,
        AttemptCounts { refused: 1.., .. } => Reason::ProviderUnavailable,
        AttemptCounts { .. } => Reason::Expired,
    }
}
