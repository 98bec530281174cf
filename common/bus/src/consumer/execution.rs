//! One message, from its start until it is settled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::{Crashes, Failure, Handler, Options};
use crate::{Delay, Delivery, Queue, Settlement};
use domain::engine_error::EngineError;

/// The failure that dead-letters a message.
const LAST_TRY: u32 = 5;
/// The start that dead-letters a suspect: the process did not survive any of the earlier ones.
const LAST_START: u32 = 5;
/// Delay before a message whose copy failed is requeued: it is redelivered at once, and the broker is in trouble.
const WAIT_BEFORE_BACK: Duration = Duration::from_secs(1);
/// The crash count is only a safety net: it must not delay the work any longer.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of handling a message.
pub(super) enum Disposition {
    /// Settled, or requeued.
    Settled,
    /// Settled to wait in the broker for its redelivery.
    PutOff(Delay),
    /// Still in hand: a dependency is unavailable.
    Away(anyhow::Error),
    /// Still in hand and not started: an earlier start of it did not end, so it must not run beside others of its kind.
    MustRunAlone,
}

pub(super) struct Execution<H> {
    pub(super) handler: Arc<H>,
    pub(super) options: Arc<Options>,
    pub(super) queue: Queue,
    pub(super) message: Arc<Delivery>,
    /// Whether no other message with an unfinished start runs beside it.
    pub(super) alone: bool,
}

/// The result of one attempt.
enum Try {
    Good,
    Away(anyhow::Error),
    Later(Duration),
    /// Counted. The word is the dead-letter reason if it was the last attempt.
    Failed(&'static str, anyhow::Error),
    Rejected(&'static str, anyhow::Error),
}

impl<H: Handler> Execution<H> {
    pub(super) async fn run(self) -> (Arc<Delivery>, Disposition) {
        let disposition = self.disposition().await;
        (self.message, disposition)
    }

    async fn disposition(&self) -> Disposition {
        let outcome = match self.count_start().await {
            Ok(true) => self.attempt().await,
            Ok(false) => return Disposition::MustRunAlone,
            Err(outcome) => outcome,
        };
        let attempts = self.message.attempts.saturating_add(1);
        match outcome {
            Try::Away(error) => {
                self.count_end().await;
                return Disposition::Away(error);
            }
            Try::Good => self.settle(Settlement::Ack).await,
            Try::Later(wait) => {
                return self.put_off(Delay::about(wait), self.message.attempts).await;
            }
            Try::Failed(reason, error) if attempts >= LAST_TRY => {
                self.dead_letter(reason, attempts, &error).await;
            }
            Try::Failed(reason, error) => {
                tracing::warn!(
                    queue = %self.queue,
                    message.id = shown(&self.message.id),
                    message.kind = shown(&self.message.kind),
                    attempts,
                    reason,
                    error = format!("{error:#}"),
                    "message will be retried"
                );
                let delay = self.options.backoff[(attempts as usize - 1).min(3)];
                return self.put_off(delay, attempts).await;
            }
            Try::Rejected(reason, error) => {
                self.dead_letter(reason, self.message.attempts, &error).await;
            }
        }
        self.count_end().await;
        Disposition::Settled
    }

    async fn put_off(&self, delay: Delay, attempts: u32) -> Disposition {
        self.settle(Settlement::Retry { delay, attempts }).await;
        self.count_end().await;
        Disposition::PutOff(delay)
    }

    async fn attempt(&self) -> Try {
        let limit = self.options.timeout;
        // A panic stops here. Only the handler's own work is left half done, and handling is idempotent.
        let span = self.message.processing(self.queue);
        let handling = span.around(timeout(limit, self.handler.handle(&self.message)));
        let outcome = match AssertUnwindSafe(handling).catch_unwind().await {
            Ok(Ok(Ok(()))) => Try::Good,
            Ok(Ok(Err(Failure::Away(error)))) => Try::Away(error),
            Ok(Ok(Err(Failure::Later(wait)))) => Try::Later(wait),
            Ok(Ok(Err(Failure::Retry(error)))) => Try::Failed("failed", error),
            Ok(Ok(Err(Failure::Permanent(reason, error)))) => Try::Rejected(reason, error),
            Ok(Err(_)) => Try::Failed("timed_out", anyhow::anyhow!("not done within {limit:?}")),
            // The panic message may hold anything, and the panic hook has already logged what is safe.
            Err(_) => Try::Failed("panicked", anyhow::anyhow!("the handler panicked")),
        };
        match &outcome {
            Try::Good | Try::Later(_) => {}
            Try::Away(_) => span.fail("away"),
            Try::Failed(reason, _) | Try::Rejected(reason, _) => span.fail(*reason),
        }
        outcome
    }

    async fn dead_letter(&self, reason: &'static str, attempts: u32, error: &anyhow::Error) {
        tracing::error!(
            queue = %self.queue,
            message.id = shown(&self.message.id),
            message.kind = shown(&self.message.kind),
            attempts,
            reason,
            error = format!("{error:#}"),
            "message dead-lettered"
        );
        self.settle(Settlement::DeadLetter { reason, attempts }).await;
    }

    /// A message that cannot be settled is redelivered. Its copy may then exist twice, which handlers tolerate.
    async fn settle(&self, settle: Settlement<'_>) {
        let Err(error) = self.message.settle(settle).await else { return };
        tracing::warn!(
            queue = %self.queue,
            message.id = shown(&self.message.id),
            error = %error,
            "message not settled, will be redelivered"
        );
        if settle != Settlement::Ack && !self.message.is_stale() {
            sleep(WAIT_BEFORE_BACK).await;
            if let Err(error) = self.message.settle(Settlement::Requeue).await {
                tracing::debug!(error = %error, "cannot requeue a message");
            }
        }
    }

    fn counted(&self) -> Option<&dyn Crashes> {
        self.options.crashes.as_deref().filter(|_| self.message.suspect)
    }

    /// Counts the start of a suspect before its work starts. False means that it must not start now and was not
    /// counted.
    async fn count_start(&self) -> Result<bool, Try> {
        let Some(crashes) = self.counted() else { return Ok(true) };
        if !self.alone && in_time(crashes.unsurvived(&self.message.id)).await?.unwrap_or(0) > 0 {
            return Ok(false);
        }
        match in_time(crashes.started(&self.message.id)).await? {
            Some(starts) if starts >= LAST_START => Err(Try::Rejected(
                "crash_loop",
                anyhow::anyhow!(
                    "{starts} starts, and the process survived none of the earlier ones"
                ),
            )),
            _ => Ok(true),
        }
    }

    async fn count_end(&self) {
        let Some(crashes) = self.counted() else { return };
        match timeout(COUNT_TIMEOUT, crashes.ended(&self.message.id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "cannot reset a suspect's starts"),
            Err(_) => tracing::warn!("cannot reset a suspect's starts: timed out"),
        }
    }
}

/// The count; `None` when its store answers with an error, which must not hold up a message.
async fn in_time(
    count: impl Future<Output = Result<u32, EngineError>>,
) -> Result<Option<u32>, Try> {
    match timeout(COUNT_TIMEOUT, count).await {
        Ok(Ok(count)) => Ok(Some(count)),
        Ok(Err(error)) if !error.is_away() => {
            tracing::error!(error = %error, "cannot count a suspect's starts");
            Ok(None)
        }
        Ok(Err(error)) => Err(Try::Away(error.into())),
        Err(_) => Err(Try::Away(anyhow::anyhow!("count a suspect's starts: timed out"))),
    }
}

/// Shortens an id or a type to one log line: a publisher may write anything into it.
fn shown(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().take(64).map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publisher_text_is_logged_short_and_on_one_line() {
        assert_eq!(shown("otp.requested.v1"), "otp.requested.v1");
        assert_eq!(shown("a\nb{}"), "a?b??");
        assert_eq!(shown(&"x".repeat(500)).len(), 64);
    }
}
