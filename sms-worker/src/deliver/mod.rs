//! Takes `sms.requested`, sends one text through a provider and records it in the ledger.
//!
//! A delivery of a job is a loop over four steps: [`plan`] picks a provider, [`reserve`] commits the attempt to the
//! ledger, [`call`] hands the text over, and [`record`] writes down what the provider answered. Each step may end the
//! loop with an [`Exit`].

use std::sync::Arc;
use std::time::Duration;

use bus::consumer::Failure;
use config::UnknownOutcome;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::{Envelope, SmsRequested, Text};
use domain::keys::Keys;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use ledger::{Ledger, MessageState, NewMessage, Transition};
use service::blocklist::Blocklist;
use service::delivery::{Connections, DeliveryStore};
use url::Url;

use self::plan::Tried;
use self::unconfirmed::PendingFinishes;
use crate::announce::{Announcer, counted};
use crate::routing::routes::Routes;

mod call;
mod plan;
mod record;
mod reserve;
mod unconfirmed;

/// A text with less time left is not sent: it would arrive too late to be used (P7).
const LEAST_LIFE_MS: i64 = 10_000;

/// Sends texts.
pub struct SendSms {
    keys: Arc<Keys>,
    ledger: Ledger,
    routes: Arc<Routes>,
    announcer: Announcer,
    store: DeliveryStore,
    blocks: Blocklist,
    clock: Clock,
    unknown_outcome: UnknownOutcome,
    /// Where callbacks can reach us.
    public_url: Option<Url>,
    pending_finishes: PendingFinishes,
}

/// A text to send, and the trace (W3C `traceparent`) that led to it.
struct Job<'a> {
    message: NewMessage<'a>,
    text: &'a str,
    requested_at: Option<Timestamp>,
    trace: Option<&'a str>,
    /// When this delivery of the job began.
    began_ms: i64,
}

/// Why the loop of a job ends.
enum Exit {
    /// The message was accepted, now or before, or has its final state.
    Settled(Box<Transition>),
    /// No call follows, and the message fails for this reason.
    GiveUp(Reason),
    /// The broker keeps the job.
    Failed(Failure),
}

impl SendSms {
    /// `public_url`: where receipts can reach the gateway. `None`: providers are not told to send any.
    pub fn new(
        engines: &Connections,
        announcer: Announcer,
        routes: Arc<Routes>,
        blocks: Blocklist,
        unknown_outcome: UnknownOutcome,
        public_url: Option<Url>,
    ) -> Self {
        Self {
            keys: Arc::clone(&engines.keys),
            ledger: Ledger::new(&engines.sql),
            routes,
            announcer,
            store: engines.store.clone(),
            blocks,
            clock: engines.clock.clone(),
            unknown_outcome,
            public_url,
            pending_finishes: PendingFinishes::default(),
        }
    }

    /// Sends the text, unless it was sent before, is no longer wanted or is too late.
    pub async fn handle(&self, event: &Envelope<SmsRequested>) -> Result<(), Failure> {
        if is_for_nobody(&event.data) {
            return Ok(());
        }
        let text =
            event.text(&self.keys).map_err(|cause| Failure::Permanent("sealed_text", cause))?;
        let job = self.job(event, &text);
        let moved = if self.is_late(&job) || self.is_wanted(&job.message).await? {
            self.deliver(&job).await?
        } else {
            self.ledger.end(&job.message, Status::Expired, None, self.clock.now()).await?
        };
        self.announce(&job, &moved).await
    }

    async fn deliver(&self, job: &Job<'_>) -> Result<Transition, Failure> {
        let mut tried = Tried::default();
        let exit = loop {
            if let Err(exit) = self.try_once(job, &mut tried).await {
                break exit;
            }
        };
        match exit {
            Exit::Settled(moved) => Ok(*moved),
            Exit::GiveUp(reason) => {
                let (failed, now) = (Status::Failed, self.clock.now());
                Ok(self.ledger.end(&job.message, failed, Some(reason), now).await?)
            }
            Exit::Failed(failure) => Err(failure),
        }
    }

    async fn try_once(&self, job: &Job<'_>, tried: &mut Tried) -> Result<(), Exit> {
        let permit = self.plan(job, tried).await?;
        let Some(reservation) = self.reserve(job, permit, tried).await? else { return Ok(()) };
        let reply = self.call(job, &reservation).await;
        self.record(reservation, reply, tried).await
    }

    /// The one place that counts and publishes how a job ended.
    async fn announce(&self, job: &Job<'_>, moved: &Transition) -> Result<(), Failure> {
        counted(moved);
        match (moved.message_state.status, moved.changed, job.requested_at) {
            // The requester signed in already or was blocked: the status becomes `expired` without us (ruling 31).
            (Status::Expired, ..) => return Ok(()),
            (Status::Sent, true, Some(requested_at)) => {
                let took = wait(self.clock.now_ms() - requested_at.ms()).as_secs_f64();
                metrics::histogram!("latchkey_request_to_sent_seconds").record(took);
            }
            _ => {}
        }
        self.announcer.announce(&moved.message_state, job.trace).await
    }

    fn job<'a>(&self, event: &'a Envelope<SmsRequested>, text: &'a Text) -> Job<'a> {
        let data = &event.data;
        let message = NewMessage {
            message_id: data.message_id,
            request_id: data.request_id,
            phone_number: &text.phone_number,
            of_deleted: text.of_deleted,
            country: &data.country,
            channel: data.channel,
            not_after: data.not_after,
        };
        Job {
            message,
            text: &text.text,
            requested_at: data.requested_at,
            trace: event.traceparent.as_deref(),
            began_ms: self.clock.now_ms(),
        }
    }

    /// Whether a text is still wanted: not if its code was used or its phone was blocked while it waited (ruling 31).
    async fn is_wanted(&self, message: &NewMessage<'_>) -> Result<bool, EngineError> {
        let (phone, now) = (message.phone_number, self.clock.now());
        if self.blocks.covers(phone, message.country, None, now).is_some() {
            return Ok(false);
        }
        match message.request_id {
            Some(request) => self.store.is_wanted(request).await,
            // A notice, which no client requested.
            None => Ok(true),
        }
    }

    fn life_ms(&self, job: &Job<'_>) -> i64 {
        job.message.not_after.ms() - self.clock.now_ms()
    }

    fn is_late(&self, job: &Job<'_>) -> bool {
        self.life_ms(job) < LEAST_LIFE_MS
    }
}

/// Whether a text was over when it was requested: otp-worker publishes such texts for unknown phones in silent mode
/// (contract, ruling 46). They leave nothing behind.
fn is_for_nobody(requested: &SmsRequested) -> bool {
    requested.requested_at.is_some_and(|at| requested.not_after <= at)
}

impl Exit {
    /// For a message whose state another call or a receipt settled.
    fn settled(message_state: MessageState) -> Self {
        Self::Settled(Box::new(Transition { changed: false, message_state }))
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<EngineError> for Exit {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.into())
    }
}

fn wait(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
