//! Applies the outcome of a call to its provider, the ledger and the job.

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::ids::AttemptId;
use ledger::Transition;

use super::SendSms;
use super::end::End;
use crate::providers::{Outcome, Reply};
use crate::routing::breaker::{BreakerPermit, ProviderHealth};
use crate::routing::routes::RoutedProvider;

/// What to do after a call.
pub(super) enum Next {
    /// The message was accepted or has its final state.
    Done(Box<Transition>),
    /// Try again: the provider's limiter knows when it takes more.
    Again,
    /// Try another provider.
    Elsewhere,
    /// The outcome is unknown: the text may have been taken.
    Doubt(AttemptId),
    /// Only an operator can help this provider.
    NeedsOps,
}

impl SendSms {
    /// Applies an outcome to the provider, the ledger and the job.
    pub(super) async fn judge(
        &self,
        line: &RoutedProvider,
        pass: BreakerPermit<'_>,
        attempt_id: AttemptId,
        reply: Reply,
    ) -> Result<Next, Failure> {
        let Reply { outcome, in_use } = reply;
        pass.judge(match &outcome {
            Outcome::Unavailable(_) | Outcome::Unknown(_) => ProviderHealth::Fails,
            Outcome::RejectedUntilOps { whole_account: true, .. } => ProviderHealth::Refuses,
            _ => ProviderHealth::Works,
        });
        match &outcome {
            Outcome::Throttled { retry_after } => line.limiter.refused(*retry_after, in_use),
            Outcome::Accepted { .. } => line.limiter.taken(in_use),
            _ => {}
        }
        let end = End::of(&outcome, line, self.clock.now());
        match outcome {
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Filtered { .. } => {
                let moved = self.finish(attempt_id, end).await?;
                let moved = moved.ok_or_else(|| {
                    Failure::Retry(anyhow!("the ledger lost an attempt that was begun"))
                })?;
                Ok(Next::Done(Box::new(moved)))
            }
            Outcome::Throttled { .. } => {
                self.finish(attempt_id, end).await?;
                Ok(Next::Again)
            }
            Outcome::Unavailable(why) => {
                tracing::warn!(provider = line.name(), why, "provider unavailable");
                self.finish(attempt_id, end).await?;
                Ok(Next::Elsewhere)
            }
            Outcome::RejectedUntilOps { provider_code, .. } => {
                tracing::error!(
                    provider = line.name(),
                    code = provider_code.as_deref().unwrap_or_default(),
                    "provider refuses until an operator acts"
                );
                self.finish(attempt_id, end).await?;
                Ok(Next::NeedsOps)
            }
            Outcome::Unknown(why) => {
                tracing::warn!(provider = line.name(), why, attempt.id = %attempt_id, "outcome of a text unknown");
                self.finish(attempt_id, end).await?;
                Ok(Next::Doubt(attempt_id))
            }
        }
    }
}
