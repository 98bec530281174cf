//! Ends a job without a call: hands it back to the broker or ends the message.

use common::bus::Delay;
use common::db::ledger::{Moved, Tries};
use common::vocabulary::{Reason, Status};
use common::worker::Failure;

use super::{Job, LEAST_LIFE_MS, SendSms, later};
use crate::announce::{announce, counted};

impl SendSms {
    /// Hands the job back to the broker, or ends it if it would return too late.
    pub(super) async fn later(&self, job: &Job<'_>, wait_ms: i64) -> Result<(), Failure> {
        // Another worker may have done the job; then it needs no provider.
        let standing = self.ledger.standing(job.message.message_id).await?;
        if let Some(standing) = standing.filter(|standing| standing.status.rank() >= 3) {
            return announce(&self.publish, &standing, job.trace).await;
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
        let tries = self.ledger.tries(job.message.message_id).await?;
        self.end(job, too_late(tries)).await
    }

    /// Ends a job for which no provider is available. If the text may have been taken all the same, the reason is
    /// unknown.
    pub(super) async fn give_up(&self, job: &Job<'_>) -> Result<(), Failure> {
        let tries = self.ledger.tries(job.message.message_id).await?;
        let reason = if tries.risked > 0 { Reason::Unknown } else { Reason::ProviderUnavailable };
        self.end(job, reason).await
    }

    pub(super) async fn end(&self, job: &Job<'_>, reason: Reason) -> Result<(), Failure> {
        let now = self.clock.now();
        let moved = self.ledger.end(&job.message, Status::Failed, Some(reason), now).await?;
        counted(&moved);
        announce(&self.publish, &moved.standing, job.trace).await
    }

    pub(super) async fn tell_if_sent(&self, job: &Job<'_>, moved: &Moved) -> Result<(), Failure> {
        counted(moved);
        if moved.standing.status == Status::Expired {
            return Ok(());
        }
        announce(&self.publish, &moved.standing, job.trace).await
    }
}

/// Returns why a text that is too late was not sent, from the results of its calls.
pub(super) const fn too_late(tries: Tries) -> Reason {
    match tries {
        Tries { risked: 1.., .. } => Reason::Unknown,
        Tries { refused: 1.., .. } => Reason::ProviderUnavailable,
        Tries { .. } => Reason::Expired,
    }
}
