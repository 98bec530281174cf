//! The second step: the ledger commits that a call is about to be made. Without that, no provider is called (P2).

use config::UnknownOutcome;
use domain::engine_error::EngineError;
use domain::ids::AttemptId;
use domain::vocabulary::Reason;
use ledger::{AttemptCounts, AttemptState, Begin, Finish, Risk};

use super::plan::{Permit, Tried, too_late};
use super::unconfirmed::receipt_wait_ms;
use super::{Exit, Job, SendSms};
use crate::routing::routes::RoutedProvider;

/// A committed attempt, whose call may be made.
pub(super) struct Reservation<'a> {
    pub permit: Permit<'a>,
    pub attempt_id: AttemptId,
    /// The number of this call for the message, from 1.
    pub number: u32,
}

impl SendSms {
    /// `None`: an earlier attempt speaks against this provider. `tried` knows it now.
    pub(super) async fn reserve<'a>(
        &'a self,
        job: &Job<'_>,
        permit: Permit<'a>,
        tried: &mut Tried,
    ) -> Result<Option<Reservation<'a>>, Exit> {
        let own = AttemptId::new(&self.clock);
        match self.begin(job, own, permit.provider, &tried.doubtful).await? {
            Begin::Start { number, risked } if self.is_late(job) => {
                // Waiting for a slot and for the ledger used up the remaining time.
                self.finish(own, Finish::of(AttemptState::Unavailable)).await?;
                // Earlier attempts decide the reason: this one made no call and was not refused.
                let refused = number.saturating_sub(1).saturating_sub(risked);
                Err(Exit::GiveUp(too_late(AttemptCounts { risked, refused })))
            }
            Begin::Start { number, .. } => {
                Ok(Some(Reservation { permit, attempt_id: own, number }))
            }
            Begin::Settled(message_state) => Err(Exit::settled(message_state)),
            Begin::Exhausted => Err(Exit::GiveUp(Reason::Unknown)),
            Begin::Unsettled { ended_at } => Err(self.unsettled(ended_at).into()),
            Begin::Unconfirmed { attempt_id, provider, started_at } => {
                // The slot is for calls, not for the ledger.
                drop(permit);
                self.resolve(attempt_id, started_at).await?;
                tried.doubtful.push(provider);
                Ok(None)
            }
            // An earlier delivery of this job left an unknown outcome there.
            Begin::Elsewhere(providers) => {
                tried.doubtful.extend(providers);
                Ok(None)
            }
        }
    }

    async fn begin(
        &self,
        job: &Job<'_>,
        attempt_id: AttemptId,
        provider: &RoutedProvider,
        doubtful: &[String],
    ) -> Result<Begin, EngineError> {
        let most = match self.unknown_outcome {
            UnknownOutcome::Resend => 2,
            UnknownOutcome::Wait => 1,
        };
        let (name, now) = (provider.name(), self.clock.now());
        let unsettled_since = now.plus_ms(-receipt_wait_ms());
        let risk = Risk { most, doubtful, unsettled_since };
        let begun = self.ledger.begin(&job.message, attempt_id, name, risk, now).await;
        if begun.is_err() {
            // The attempt may be committed all the same, but no call follows, and only this process knows it.
            self.pending_finishes.put(attempt_id, Finish::of(AttemptState::Unavailable), now);
        }
        begun
    }
}
