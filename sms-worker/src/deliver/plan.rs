//! The first step: which provider to call, or why there is none to call.

use std::time::Duration;

use bus::Delay;
use bus::consumer::Failure;
use domain::engine_error::EngineError;
use domain::vocabulary::{Reason, Status};
use ledger::{AttemptCounts, NewMessage};

use super::{Exit, Job, LEAST_LIFE_MS, SendSms, wait};
use crate::routing::breaker::BreakerPermit;
use crate::routing::concurrency::ConcurrencyPermit;
use crate::routing::routes::RoutedProvider;

/// The longest wait for a provider inside a worker; a longer wait belongs to the broker.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a text waits before it looks again whether a provider that staff shut is open: they may open it at any time.
const SHUT_WAIT_MS: i64 = 5_000;
/// After this long a job makes no further call and goes back to the broker: even if its last call times out, it ends
/// within the 20 s that a drain takes (P12).
const HANDLER_MS: i64 = 8_000;

/// The providers that this delivery of the job does not use again.
#[derive(Default)]
pub(super) struct Tried {
    /// The text was not taken there.
    pub failed: Vec<&'static str>,
    /// The text may have been taken there: another provider is better, but this one is better than none.
    pub doubtful: Vec<String>,
    /// Only an operator can help one of them.
    pub needs_ops: bool,
}

/// A provider that takes one call now.
pub(super) struct Permit<'a> {
    pub provider: &'a RoutedProvider,
    pub breaker: BreakerPermit<'a>,
    pub slot: ConcurrencyPermit<'a>,
}

impl SendSms {
    pub(super) async fn plan(&self, job: &Job<'_>, tried: &Tried) -> Result<Permit<'_>, Exit> {
        let message_id = job.message.message_id;
        if self.is_late(job) {
            return Err(Exit::GiveUp(too_late(self.ledger.attempt_counts(message_id).await?)));
        }
        if self.clock.now_ms() - job.began_ms > HANDLER_MS {
            return Err(self.later(job, 1_000).await?);
        }
        match self.free_provider(&job.message, tried).await {
            Ok(permit) => Ok(permit),
            Err(None) if tried.needs_ops => Err(self.no_provider(job).await?),
            Err(wait_ms) => Err(self.later(job, wait_ms.unwrap_or(1_000)).await?),
        }
    }

    /// Returns the first provider of the route that takes a call now, or else the shortest wait; `None`: all were
    /// tried.
    async fn free_provider(
        &self,
        message: &NewMessage<'_>,
        tried: &Tried,
    ) -> Result<Permit<'_>, Option<i64>> {
        let route = self.routes.to(message.phone_number);
        let doubtful =
            |provider: &&RoutedProvider| tried.doubtful.iter().any(|name| name == provider.name());
        let fresh = route.clone().filter(|provider| !doubtful(provider));
        let again = route.filter(doubtful);
        let mut shortest: Option<i64> = None;
        let now = self.clock.now();
        for provider in fresh.chain(again).filter(|one| !tried.failed.contains(&one.name())) {
            let wait = if self.blocks.shut_until(provider.name(), now).is_some() {
                SHUT_WAIT_MS
            } else {
                match provider.breaker.pass() {
                    Ok(breaker) => match provider.limiter.enter(PATIENCE).await {
                        Ok(slot) => return Ok(Permit { provider, breaker, slot }),
                        Err(wait) => wait,
                    },
                    Err(wait) => wait,
                }
            };
            shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
        }
        Err(shortest)
    }

    /// Hands the job back to the broker, or ends it if it would return too late.
    async fn later(&self, job: &Job<'_>, wait_ms: i64) -> Result<Exit, EngineError> {
        // Another worker may have done the job; then it needs no provider.
        if let Some(message_state) = self.ledger.message_state(job.message.message_id).await?
            && message_state.status.rank() >= Status::Sent.rank()
        {
            return Ok(Exit::settled(message_state));
        }
        let usable_ms = self.life_ms(job) - LEAST_LIFE_MS;
        // The broker has few delays and rounds up: a delay longer than the text's remaining time would end it.
        match Delay::ALL.map(Delay::ms).into_iter().rfind(|ms| ms + 500 <= usable_ms) {
            Some(longest) => Ok(Exit::Failed(Failure::Later(wait(wait_ms.min(longest))))),
            None => self.no_provider(job).await,
        }
    }

    /// Ends a job for which no provider is available. If the text may have been taken all the same, the reason is
    /// unknown.
    async fn no_provider(&self, job: &Job<'_>) -> Result<Exit, EngineError> {
        let attempt_counts = self.ledger.attempt_counts(job.message.message_id).await?;
        Ok(Exit::GiveUp(match attempt_counts.risked {
            0 => Reason::ProviderUnavailable,
            1.. => Reason::Unknown,
        }))
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
