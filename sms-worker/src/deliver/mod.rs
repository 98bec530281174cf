//! Takes `sms.requested`, sends one text through a provider and records it in the ledger.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bus::consumer::Failure;
use config::UnknownOutcome;
use domain::clock::Clock;
use domain::event::{Envelope, SmsRequested, SmsStatus, Text};
use domain::ids::AttemptId;
use domain::keys::Keys;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use ledger::{AttemptCounts, Begin, Ledger, NewMessage};
use texts::SpeechText;
use url::Url;

use self::close::too_late;
use self::end::End;
pub use self::end::PendingFinishes;
use self::judge::Next;
use crate::announce::{announce, counted};
use crate::ports::{Publish, Wanted};
use crate::providers::{Attempt, Outcome, Provider, Reply};
use crate::routing::breaker::BreakerPermit;
use crate::routing::concurrency::ConcurrencyPermit;
use crate::routing::routes::{RoutedProvider, Routes};

mod close;
mod end;
mod judge;
mod settle;

/// A text with less time left is not sent: it would arrive too late to be used (P7).
const LEAST_LIFE_MS: i64 = 10_000;
/// The longest wait for a provider inside a worker; a longer wait belongs to the broker.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this long a job makes no further call and goes back to the broker: even if its last call times out, it ends
/// within the 20 s that a drain takes (P12).
const HANDLER_MS: i64 = 8_000;
/// `sending` is published only if it lasts long enough to be seen: most providers answer sooner, and an event that
/// `sent` overtakes at once would double the messages of every text.
const SENDING_AFTER: Duration = Duration::from_millis(300);
/// Sends texts.
pub struct SendSms {
    pub keys: Arc<Keys>,
    pub ledger: Ledger,
    pub routes: Arc<Routes>,
    pub publish: Publish,
    pub wanted: Wanted,
    pub clock: Clock,
    pub unknown_outcome: UnknownOutcome,
    /// Where callbacks can reach us.
    pub public_url: Option<Url>,
    pub pending_finishes: PendingFinishes,
}

/// A text to send, and the trace (W3C `traceparent`) that led to it.
struct Job<'a> {
    message: NewMessage<'a>,
    trace: Option<&'a str>,
}

/// The providers that this delivery of the job does not use again.
#[derive(Default)]
struct Tried {
    /// The text was not taken there.
    failed: Vec<&'static str>,
    /// The text may have been taken there: another provider is better, but this one is better than none.
    doubtful: Vec<String>,
    needs_ops: bool,
}

impl SendSms {
    /// Sends the text, unless it was sent before, is no longer wanted or is too late.
    pub async fn handle(&self, event: &Envelope<SmsRequested>) -> Result<(), Failure> {
        let text = event
            .text(&self.keys.event)
            .map_err(|cause| Failure::Permanent("sealed_text", cause))?;
        let data = &event.data;
        let message = NewMessage {
            message_id: data.message_id,
            request_id: data.request_id,
            phone_number: &text.phone_number,
            country: &data.country,
            channel: data.channel,
            not_after: data.not_after,
        };
        let job = Job { message, trace: event.traceparent.as_deref() };
        if self.life_ms(&job) < LEAST_LIFE_MS {
            return self.drop_late(&job).await;
        }
        if !(self.wanted)(data.request_id, text.phone_number.clone()).await? {
            // The requester signed in already or was blocked: the status becomes `expired` without us (ruling 31).
            let now = self.clock.now();
            let moved = self.ledger.end(&job.message, Status::Expired, None, now).await?;
            return self.tell_if_sent(&job, &moved).await;
        }
        self.deliver(&job, &text, data.requested_at).await
    }

    async fn deliver(
        &self,
        job: &Job<'_>,
        text: &Text,
        requested_at: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let message = &job.message;
        let began_ms = self.clock.now_ms();
        let mut tried = Tried::default();
        loop {
            if self.life_ms(job) < LEAST_LIFE_MS {
                return self.drop_late(job).await;
            }
            if self.clock.now_ms() - began_ms > HANDLER_MS {
                return self.later(job, 1_000).await;
            }
            let (line, pass, slot) = match self.line(message, &tried).await {
                Ok(line) => line,
                Err(None) if tried.needs_ops => return self.give_up(job).await,
                Err(wait_ms) => return self.later(job, wait_ms.unwrap_or(1_000)).await,
            };
            let attempt_id = AttemptId::new(&self.clock);
            let most = match self.unknown_outcome {
                UnknownOutcome::Resend => 2,
                UnknownOutcome::Wait => 1,
            };
            let now = self.clock.now();
            let begun = self
                .ledger
                .begin(message, attempt_id, line.name(), most, &tried.doubtful, now)
                .await;
            if begun.is_err() {
                // The attempt may be committed all the same, but no call follows, and only this process knows it.
                let end = End::of(&Outcome::Unavailable("not begun"), line, now);
                self.pending_finishes.put(attempt_id, end, now);
            }
            let (number, earlier) = match begun? {
                Begin::Start { number, risked } => {
                    let refused = number.saturating_sub(1).saturating_sub(risked);
                    (number, AttemptCounts { risked, refused })
                }
                Begin::Settled(message_state) => {
                    return announce(&self.publish, &message_state, job.trace).await;
                }
                Begin::Spent => return self.end(job, Reason::Unknown).await,
                Begin::InDoubt { attempt_id, provider, started_at } => {
                    // The slot is for calls, not for this wait.
                    drop((pass, slot));
                    self.settle(attempt_id, started_at).await?;
                    tried.doubtful.push(provider);
                    continue;
                }
                // An earlier delivery of this job left an unknown outcome there.
                Begin::Elsewhere(providers) => {
                    tried.doubtful.extend(providers);
                    continue;
                }
            };
            let now = self.clock.now();
            if message.not_after.ms() - now.ms() < LEAST_LIFE_MS {
                // Waiting for a slot and for the ledger used up the remaining time.
                let end = End::of(&Outcome::Unavailable("too late to call"), line, now);
                self.finish(attempt_id, end).await?;
                // Earlier attempts decide the reason: this one made no call and was not refused.
                return self.end(job, too_late(earlier)).await;
            }
            let said = said(message.channel, &text.text);
            let attempt = Attempt {
                attempt_id,
                message_id: message.message_id,
                request_id: message.request_id,
                channel: message.channel,
                to: &text.phone_number,
                text: said.text,
                language: said.language,
                not_after: message.not_after,
                now,
                status_callback: self.callback(line, attempt_id),
                number,
                trace: job.trace,
            };
            let reply = self.call(line, &attempt, job).await;
            // The slot is for calls, not for what follows them.
            drop(slot);
            match self.judge(line, pass, attempt_id, reply).await? {
                Next::Done(moved) => {
                    counted(&moved);
                    if let (true, Status::Sent, Some(at)) =
                        (moved.changed, moved.message_state.status, requested_at)
                    {
                        let took = later(self.clock.now_ms() - at.ms()).as_secs_f64();
                        metrics::histogram!("latchkey_request_to_sent_seconds").record(took);
                    }
                    return announce(&self.publish, &moved.message_state, job.trace).await;
                }
                Next::Again => {}
                Next::Elsewhere => tried.failed.push(line.name()),
                Next::NeedsOps => {
                    tried.failed.push(line.name());
                    tried.needs_ops = true;
                }
                Next::Doubt(attempt) => {
                    if self.taken_after_all(attempt).await? {
                        let message_state = self.ledger.message_state(message.message_id).await?;
                        let message_state = message_state.ok_or_else(|| {
                            Failure::Retry(anyhow!("the ledger lost a message that was begun"))
                        })?;
                        return announce(&self.publish, &message_state, job.trace).await;
                    }
                    tried.doubtful.push(line.name().to_owned());
                }
            }
        }
    }

    /// Returns the first provider of the route that takes a call now, or else the shortest wait; `None`: all were
    /// tried.
    async fn line(
        &self,
        message: &NewMessage<'_>,
        tried: &Tried,
    ) -> Result<(&Arc<RoutedProvider>, BreakerPermit<'_>, ConcurrencyPermit<'_>), Option<i64>> {
        let route = self.routes.to(message.phone_number);
        let doubtful =
            |line: &&Arc<RoutedProvider>| tried.doubtful.iter().any(|name| name == line.name());
        let fresh = route.clone().filter(|line| !doubtful(line));
        let again = route.filter(doubtful);
        let mut shortest: Option<i64> = None;
        for line in fresh.chain(again).filter(|line| !tried.failed.contains(&line.name())) {
            let wait = match line.breaker.pass() {
                Ok(pass) => match line.limiter.enter(PATIENCE).await {
                    Ok(slot) => return Ok((line, pass, slot)),
                    Err(wait) => wait,
                },
                Err(wait) => wait,
            };
            shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
        }
        Err(shortest)
    }

    fn callback(&self, line: &RoutedProvider, attempt: AttemptId) -> Option<Url> {
        // Only Twilio's receipts can be verified: the webhook knows no other signature.
        if !matches!(line.provider, Provider::Twilio(_)) {
            return None;
        }
        let mut url = self.public_url.clone()?;
        let id = attempt.to_string();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["webhooks", "twilio", "status", &id]);
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    }

    async fn call(&self, line: &RoutedProvider, attempt: &Attempt<'_>, job: &Job<'_>) -> Reply {
        let mut call = std::pin::pin!(line.provider.send(attempt));
        if let Ok(reply) = tokio::time::timeout(SENDING_AFTER, &mut call).await {
            return reply;
        }
        let sending = SmsStatus {
            message_id: job.message.message_id,
            request_id: job.message.request_id,
            status: Status::Sending,
            reason: None,
            provider: line.name().to_owned(),
            provider_message_id: None,
            segments: None,
        };
        // Nothing depends on this event, so it may fail; the call continues meanwhile.
        let (told, reply) =
            tokio::join!((self.publish)(sending, job.trace.map(str::to_owned)), call);
        if let Err(cause) = told {
            tracing::debug!(error = format!("{cause:#}"), "cannot publish `sending`");
        }
        reply
    }

    fn life_ms(&self, job: &Job<'_>) -> i64 {
        job.message.not_after.ms() - self.clock.now_ms()
    }
}

/// Splits off the language, which only a call's text carries.
fn said(channel: Channel, text: &str) -> SpeechText<'_> {
    match channel {
        Channel::Voice => SpeechText::read(text),
        Channel::Sms => SpeechText { language: None, text },
    }
}

fn later(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
