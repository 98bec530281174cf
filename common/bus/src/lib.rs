//! The message bus: events are published with a confirm, and each consumed message is settled explicitly.
//!
//! Owns the topology, publisher confirms, dead letters and the consume loop. Must never know what a message means or
//! who handles it. [`Bus`] is RabbitMQ or, embedded, this process's memory; both obey one contract
//! (`tests/contract/bus`). [`crate::consumer`] decides what a failure means: the bus only carries the attempt count and
//! applies the given delay.

pub mod consumer;
mod counts;
pub mod dead_letters;
mod memory;
mod rabbit;
mod topology;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::watch;

pub use self::counts::{QueueCounts, Waiting};
pub use self::dead_letters::{DeadDetail, DeadLetter, OnEach, Selection};
pub use self::topology::{DELIVERY_LIMIT, Delay, EXCHANGE, MAX_LENGTH, Queue, REPLAY_EXCHANGE};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::{DecodeError, Envelope, Event};
use domain::ids::EventId;
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use traces::Span;

/// A publish is confirmed within this time, or it has failed (contract, section 5).
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// The names of the engines in spans: the first is that of the semantic conventions, which have none for the second.
const RABBIT: &str = "rabbitmq";
const MEMORY: &str = "memory";

/// The bus. Clones share its connections.
#[derive(Clone)]
pub struct Bus(Engine);

#[derive(Clone)]
enum Engine {
    Rabbit(rabbit::Rabbit),
    Memory(memory::Memory),
}

/// Why an event is not known to be in its queue.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound for an event that one of our queues must take. Not taken.
    #[error("no queue is bound for this event")]
    Unroutable,
    /// The queue is full, or the event exceeds the size limit. Not taken.
    #[error("the broker refused the event")]
    Refused,
    /// The broker cannot be reached or is not accepting messages. Not taken.
    #[error("the broker is unavailable: {0:#}")]
    Away(anyhow::Error),
    /// Sent without an answer: it may have been taken.
    #[error("unknown whether the broker took the event: {0:#}")]
    Unknown(anyhow::Error),
}

impl PublishError {
    /// The error in one word, for spans.
    const fn word(&self) -> &'static str {
        match self {
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::Away(_) => "away",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Whether a consumer is attached to its queue, or why not.
pub type Attached = Result<(), String>;

impl Bus {
    /// Connects to RabbitMQ and declares the topology. `role` names the process to the broker.
    ///
    /// An unavailable broker is not an error: the bus retries the connection forever. Until it succeeds,
    /// [`Bus::publish`] fails at once and [`Bus::ready`] reports the reason.
    ///
    /// # Errors
    /// `Broken` when waiting cannot help: a bad URL, bad credentials, or a queue (named) declared with other arguments.
    pub async fn connect_rabbit(
        url: &SecretString,
        role: &'static str,
    ) -> Result<Self, EngineError> {
        Ok(Self(Engine::Rabbit(rabbit::Rabbit::connect(url, role).await?)))
    }

    /// Creates a bus in this process's memory. Its messages are lost when the process ends.
    pub fn memory(clock: Clock) -> Self {
        Self(Engine::Memory(memory::Memory::new(clock)))
    }

    /// Publishes an event. `Ok` means that it is in every queue bound for it, on disk and replicated where the engine
    /// does so. Takes [`PUBLISH_TIMEOUT`] at most; dropping the call midway is safe.
    ///
    /// While its trace is recorded, the event carries the span of its publishing, which its consumer continues.
    pub async fn publish<E: Event>(&self, envelope: &Envelope<E>) -> Result<(), PublishError> {
        let id = envelope.id.to_string();
        let trace = envelope.traceparent.as_deref().and_then(TraceContext::from_header);
        let span = traces::publishing(self.system(), E::TYPE, &id, trace);
        let bytes = match span.context() {
            Some(step) => envelope.encode_as(&step),
            None => envelope.encode(),
        };
        let bytes = bytes.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), kind = E::TYPE, "encode an event");
            PublishError::Refused
        })?;
        self.publish_in(&span, E::TYPE, &id, bytes.into(), E::ADDRESSED).await
    }

    /// Like [`Bus::publish`], for an event that is already encoded: those of the outbox. Its consumer continues the trace
    /// that it was encoded with.
    pub async fn publish_raw(
        &self,
        kind: &str,
        id: &str,
        bytes: Bytes,
        addressed: bool,
    ) -> Result<(), PublishError> {
        let trace = if traces::is_on() { trace_of(&bytes) } else { None };
        let span = traces::publishing(self.system(), kind, id, trace);
        self.publish_in(&span, kind, id, bytes, addressed).await
    }

    async fn publish_in(
        &self,
        span: &Span,
        kind: &str,
        id: &str,
        bytes: Bytes,
        addressed: bool,
    ) -> Result<(), PublishError> {
        let published = match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.publish(kind, id, bytes, addressed).await,
            Engine::Memory(memory) => memory.publish(kind, id, &bytes, addressed),
        };
        if let Err(error) = &published {
            span.fail(error.word());
        }
        published
    }

    /// The engine's name in spans.
    const fn system(&self) -> &'static str {
        match self.0 {
            Engine::Rabbit(_) => RABBIT,
            Engine::Memory(_) => MEMORY,
        }
    }

    /// Starts to consume a queue, with at most `prefetch` messages in hand. The consumer reattaches, forever, whenever
    /// it loses the broker.
    ///
    /// # Errors
    /// Same as [`Bus::connect_rabbit`].
    pub async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Consumer, EngineError> {
        Ok(Consumer(match &self.0 {
            Engine::Rabbit(rabbit) => Source::Rabbit(rabbit.consume(queue, prefetch).await?),
            Engine::Memory(memory) => Source::Memory(memory.consume(queue, prefetch)),
        }))
    }

    /// Checks whether an event could be published now: one round trip to the broker, 1 s at most.
    pub async fn ready(&self) -> Result<(), EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.ready().await,
            Engine::Memory(_) => Ok(()),
        }
    }

    /// Whether publishing has ended for good: only a new process can publish again.
    pub fn is_dead(&self) -> bool {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.is_dead(),
            Engine::Memory(_) => false,
        }
    }

    /// How many messages a queue has now: each figure as far as the engine tells it to this login.
    ///
    /// # Errors
    /// `Away` when the broker cannot be reached.
    pub async fn counts(&self, queue: Queue) -> Result<QueueCounts, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.counts(queue).await,
            Engine::Memory(memory) => Ok(memory.counts(queue)),
        }
    }

    /// Returns the first `limit` dead letters of a queue, without those that another command is reading.
    ///
    /// # Errors
    /// `Away` when the broker cannot be reached; `Broken` when this login may not read them.
    pub async fn dead_list(
        &self,
        queue: Queue,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        let letters = self.dead_details(queue, limit).await?;
        Ok(letters.into_iter().map(|detail| detail.letter).collect())
    }

    /// Like [`Bus::dead_list`], each with the details that may be shown.
    pub async fn dead_details(
        &self,
        queue: Queue,
        limit: usize,
    ) -> Result<Vec<DeadDetail>, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_details(queue, limit).await,
            Engine::Memory(memory) => Ok(memory.dead_details(queue, limit)),
        }
    }

    /// Returns one dead letter: its headers, and its envelope without the sealed parts.
    pub async fn dead_show(
        &self,
        queue: Queue,
        id: &str,
    ) -> Result<Option<DeadDetail>, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_show(queue, id).await,
            Engine::Memory(memory) => Ok(memory.dead_show(queue, id)),
        }
    }

    /// Puts dead letters back into their queue with the attempt count reset, until `on_each`, which is called after each, ends
    /// it; returns how many. Each is removed only once its copy is confirmed: if the broker is lost in between, it is
    /// there twice, and never lost.
    ///
    /// # Errors
    /// `Away` when the broker cannot be reached or was lost; `Broken` when this login may not do it. `on_each` was told what
    /// was done before.
    pub async fn dead_replay(
        &self,
        queue: Queue,
        pick: &Selection,
        on_each: OnEach<'_>,
    ) -> Result<u64, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_replay(queue, pick, on_each).await,
            Engine::Memory(memory) => Ok(memory.dead_replay(queue, pick, on_each)),
        }
    }

    /// Deletes dead letters, until `on_each`, which is called after each, ends it; returns how many.
    ///
    /// # Errors
    /// Same as [`Bus::dead_replay`].
    pub async fn dead_drop(
        &self,
        queue: Queue,
        pick: &Selection,
        on_each: OnEach<'_>,
    ) -> Result<u64, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_drop(queue, pick, on_each).await,
            Engine::Memory(memory) => Ok(memory.dead_drop(queue, pick, on_each)),
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Engine::Rabbit(_) => "Bus(RabbitMQ)",
            Engine::Memory(_) => "Bus(memory)",
        })
    }
}

/// A consumer of one queue. Dropping it returns all unsettled messages to the queue.
pub struct Consumer(Source);

enum Source {
    Rabbit(rabbit::Consumer),
    Memory(memory::Consumer),
}

impl Consumer {
    /// Returns the next message; `None` only after [`Consumer::cancel`]. Dropping the call loses no message.
    pub async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Source::Rabbit(consumer) => consumer.next().await,
            Source::Memory(consumer) => consumer.next().await,
        }
    }

    /// Stops taking messages, and returns those that were fetched but not yet handed out. Messages in hand can still be
    /// settled.
    pub async fn cancel(&mut self) -> Vec<Delivery> {
        match &mut self.0 {
            Source::Rabbit(consumer) => consumer.cancel().await,
            Source::Memory(consumer) => {
                consumer.cancel();
                Vec::new()
            }
        }
    }

    /// Sends the acks that wait to be sent with others. At the end of a process: without it, the broker redelivers what
    /// was finished last.
    pub async fn flush(&self) {
        match &self.0 {
            Source::Rabbit(consumer) => consumer.flush().await,
            Source::Memory(_) => {}
        }
    }

    /// Watches whether the queue is really being consumed.
    pub fn attached(&self) -> watch::Receiver<Attached> {
        match &self.0 {
            Source::Rabbit(consumer) => consumer.attached(),
            Source::Memory(consumer) => consumer.attached(),
        }
    }

    /// How many messages the queue has, at most ten seconds old.
    pub fn counts(&self) -> QueueCounts {
        match &self.0 {
            Source::Rabbit(consumer) => consumer.counts(),
            Source::Memory(consumer) => consumer.counts(),
        }
    }
}

/// A message in hand.
pub struct Delivery {
    /// The type it was published with.
    pub kind: String,
    pub id: String,
    pub bytes: Bytes,
    /// Failures counted so far.
    pub attempts: u32,
    /// Whether an earlier consumer held it and did not settle it: it may have crashed that process.
    pub suspect: bool,
    /// When a worker first saw it.
    pub first_at: Timestamp,
    held: AckHandle,
    /// Parsed on first use: it is read every second while the message waits.
    event_time: OnceLock<Option<Timestamp>>,
}

enum AckHandle {
    Rabbit(rabbit::AckHandle),
    Memory(memory::AckHandle),
    Nobody,
}

/// How to settle a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement<'a> {
    /// It is finished.
    Ack,
    /// It is redelivered after the delay, with this attempt count.
    Retry { delay: Delay, attempts: u32 },
    /// It is dead-lettered for an operator.
    DeadLetter { reason: &'a str, attempts: u32 },
    /// It was not started: any consumer may take it at once.
    Requeue,
}

impl Delivery {
    /// Creates a message outside any bus, to call a handler directly. Settling it has no effect.
    pub fn loose(kind: &str, id: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            bytes: bytes.into(),
            attempts: 0,
            suspect: false,
            first_at: Timestamp::from_ms(0),
            held: AckHandle::Nobody,
            event_time: OnceLock::new(),
        }
    }

    /// Settles the message. A copy to a retry queue or the dead-letter queue is confirmed before the original is acked.
    /// A plain ack may be collected for up to 100 ms and sent with others.
    ///
    /// # Errors
    /// `Away` when the copy was not confirmed, or when the message is no longer ours: the bus then redelivers it.
    pub async fn settle(&self, settle: Settlement<'_>) -> Result<(), EngineError> {
        match &self.held {
            AckHandle::Rabbit(held) => held.settle(self, settle).await,
            AckHandle::Memory(held) => held.settle(settle),
            AckHandle::Nobody => Ok(()),
        }
    }

    /// Whether the bus has taken the message back and will redeliver it: handling it now would handle it twice.
    pub fn is_stale(&self) -> bool {
        match &self.held {
            AckHandle::Rabbit(held) => held.is_stale(),
            AckHandle::Memory(held) => held.is_stale(),
            AckHandle::Nobody => false,
        }
    }

    /// Decodes the message if it is an `E`, of any version. `None`: it is of another type.
    ///
    /// # Errors
    /// When it is of another version, or unreadable.
    pub fn event<E: Event>(&self) -> Result<Option<Envelope<E>>, DecodeError> {
        let is_one = family(&self.kind) == family(E::TYPE);
        is_one.then(|| Envelope::decode(&self.bytes)).transpose()
    }

    /// A span for the work on this message, in the trace that its envelope names. Not recorded for a message outside any
    /// bus.
    pub(crate) fn processing(&self, queue: Queue) -> Span {
        let system = match self.held {
            AckHandle::Rabbit(_) => RABBIT,
            AckHandle::Memory(_) => MEMORY,
            AckHandle::Nobody => return Span::unrecorded(),
        };
        if !traces::is_on() {
            return Span::unrecorded();
        }
        // Whoever may write to the broker chooses type and id: only what our own events have goes into a span.
        let kind = if queue.knows(&self.kind) { &self.kind } else { "unknown" };
        let id = Some(self.id.as_str()).filter(|id| id.parse::<EventId>().is_ok());
        traces::processing(system, queue.as_str(), kind, id, trace_of(&self.bytes))
    }

    /// When the event happened, according to its envelope.
    pub fn event_time(&self) -> Option<Timestamp> {
        *self.event_time.get_or_init(|| Glance::at(&self.bytes).time)
    }
}

/// The type without its version: `otp.requested` of `otp.requested.v1`.
fn family(kind: &str) -> &str {
    kind.rsplit_once(".v").map_or(kind, |(family, _)| family)
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .field("suspect", &self.suspect)
            .finish_non_exhaustive()
    }
}

/// The fields that may still be readable in a broken envelope.
#[derive(Default, Deserialize)]
struct Glance {
    #[serde(default)]
    id: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    time: Option<Timestamp>,
}

impl Glance {
    fn at(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

/// The trace that an encoded event names.
fn trace_of(bytes: &[u8]) -> Option<TraceContext> {
    #[derive(Deserialize)]
    struct Traced {
        #[serde(default)]
        traceparent: Option<String>,
    }
    let Traced { traceparent } = serde_json::from_slice(bytes).ok()?;
    TraceContext::from_header(&traceparent?)
}

/// A stable id for a message without one: operators and the crash counter need it.
fn name_for(bytes: &[u8]) -> String {
    if let Some(id) = Glance::at(bytes).id.filter(|id| !id.is_empty() && id.len() <= 64) {
        return id;
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("anonymous-{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_message_prints_without_its_body() {
        let message = Delivery::loose("sms.requested.v1", "m1", "+98912");
        assert!(!format!("{message:?}").contains("+98912"));
    }

    #[test]
    fn a_message_without_an_id_always_has_the_same_name() {
        assert_eq!(name_for(b""), name_for(b""));
        assert_ne!(name_for(b"a"), name_for(b"b"));
        assert_eq!(name_for(br#"{"id":"e1"}"#), "e1");
    }
}
