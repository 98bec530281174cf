//! The last step: what the provider answered, for its breaker and limiter, for the ledger and for the job.

use std::time::Duration;

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;
use ledger::{AttemptState, Finish, Transition};

use super::plan::{Permit, Tried};
use super::reserve::Reservation;
use super::unconfirmed::RECEIPT_WAIT;
use super::{Exit, SendSms};
use crate::providers::{Outcome, Reply};
use crate::routing::breaker::{BreakerPermit, ProviderHealth};
use crate::routing::routes::RoutedProvider;

/// How often, and how far apart, recording the result of a call is retried.
const FINISH_TRIES: u32 = 5;
const FINISH_APART: Duration = Duration::from_millis(300);

impl SendSms {
    /// Records the outcome. Without an [`Exit`], another call may follow, and `tried` says where not.
    pub(super) async fn record(
        &self,
        reservation: Reservation<'_>,
        reply: Reply,
        tried: &mut Tried,
    ) -> Result<(), Exit> {
        let Reservation { permit: Permit { provider, breaker, slot }, attempt_id, .. } =
            reservation;
        // The slot is for calls, not for what follows them.
        drop(slot);
        inform(provider, breaker, &reply);
        report(provider, attempt_id, &reply.outcome);
        let finish = finish_of(&reply.outcome, provider, self.clock.now());
        let moved = self.finish(attempt_id, finish).await?;
        match reply.outcome {
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Filtered { .. } => {
                let moved = moved.ok_or_else(|| lost("an attempt"))?;
                return Err(Exit::Settled(Box::new(moved)));
            }
            // The provider's limiter knows when it takes more.
            Outcome::Throttled { .. } => {}
            Outcome::Unavailable(_) => tried.failed.push(provider.name()),
            Outcome::RejectedUntilOps { .. } => {
                tried.failed.push(provider.name());
                tried.needs_ops = true;
            }
            Outcome::Unknown(_) => return Err(unknown(moved)),
        }
        Ok(())
    }

    /// Records a result, with retries: the call was made, and losing it could mean a second text.
    pub(super) async fn finish(
        &self,
        attempt_id: AttemptId,
        finish: Finish,
    ) -> Result<Option<Transition>, Failure> {
        self.pending_finishes.put(attempt_id, finish.clone(), self.clock.now());
        let mut tries = 1;
        loop {
            match self.ledger.finish(attempt_id, &finish, self.clock.now()).await {
                Ok(moved) => {
                    self.pending_finishes.take(attempt_id);
                    return Ok(moved);
                }
                Err(error) if error.is_away() && tries < FINISH_TRIES => {
                    tries += 1;
                    tokio::time::sleep(FINISH_APART).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Tells the provider's breaker and limiter what the call showed.
fn inform(provider: &RoutedProvider, breaker: BreakerPermit<'_>, reply: &Reply) {
    breaker.judge(match &reply.outcome {
        Outcome::Unavailable(_) | Outcome::Unknown(_) => ProviderHealth::Fails,
        Outcome::RejectedUntilOps { whole_account: true, .. } => ProviderHealth::Refuses,
        _ => ProviderHealth::Works,
    });
    match &reply.outcome {
        Outcome::Throttled { retry_after } => throttled(provider, *retry_after, reply.in_use),
        Outcome::Accepted { .. } => provider.limiter.taken(reply.in_use),
        _ => {}
    }
}

fn throttled(provider: &RoutedProvider, retry_after: Option<Duration>, in_use: Option<u32>) {
    if provider.limiter.refused(retry_after, in_use) {
        tracing::warn!(
            provider = provider.name(),
            asked_secs = retry_after.unwrap_or_default().as_secs(),
            "the provider asked for a very long wait; it is called again after a minute"
        );
    }
}

/// Logs what an operator should know.
fn report(provider: &RoutedProvider, attempt_id: AttemptId, outcome: &Outcome) {
    let provider = provider.name();
    match outcome {
        Outcome::Unavailable(why) => tracing::warn!(provider, why, "provider unavailable"),
        Outcome::RejectedUntilOps { provider_code, .. } => tracing::error!(
            provider,
            code = provider_code.as_deref().unwrap_or_default(),
            "provider refuses until an operator acts"
        ),
        Outcome::Unknown(why) => {
            tracing::warn!(provider, why, attempt.id = %attempt_id, "outcome of a text unknown");
        }
        _ => {}
    }
}

/// The outcome as the ledger records it.
fn finish_of(outcome: &Outcome, provider: &RoutedProvider, now: Timestamp) -> Finish {
    match outcome {
        Outcome::Accepted { provider_message_id, segments } => Finish {
            provider_message_id: provider_message_id.clone(),
            segments: *segments,
            status: Some((Status::Sent, None)),
            follow_up_at: provider_message_id.as_ref().and_then(|_| {
                let after = provider.provider.asked_after()?;
                Some(now.plus_ms(i64::try_from(after.as_millis()).ok()?))
            }),
            ..Finish::of(AttemptState::Accepted)
        },
        Outcome::Throttled { .. } => Finish::of(AttemptState::Throttled),
        Outcome::Unavailable(_) => Finish::of(AttemptState::Unavailable),
        Outcome::Rejected { reason, provider_code } => Finish {
            provider_code: provider_code.clone(),
            status: Some((Status::Failed, Some(*reason))),
            ..Finish::of(AttemptState::Rejected)
        },
        Outcome::Filtered { reason, provider_code } => Finish {
            provider_code: provider_code.clone(),
            status: Some((Status::Failed, Some(*reason))),
            ..Finish::of(AttemptState::Filtered)
        },
        Outcome::RejectedUntilOps { provider_code, .. } => {
            Finish { provider_code: provider_code.clone(), ..Finish::of(AttemptState::Rejected) }
        }
        Outcome::Unknown(_) => Finish::of(AttemptState::Unknown),
    }
}

/// What follows an unknown outcome: the broker keeps the job while a receipt can still settle it, so that it holds no
/// place here. The ledger knows what came meanwhile.
fn unknown(moved: Option<Transition>) -> Exit {
    match moved {
        // The receipt came before the answer.
        Some(moved) if moved.message_state.status.rank() >= Status::Sent.rank() => {
            Exit::Settled(Box::new(moved))
        }
        _ => Exit::Failed(Failure::Later(RECEIPT_WAIT)),
    }
}

fn lost(what: &str) -> Failure {
    Failure::Retry(anyhow!("the ledger lost {what} that was begun"))
}
