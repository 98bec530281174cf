//! The message bus: events published with a confirm, and queues consumed with settling of our own.
//!
//! [`Bus`] is RabbitMQ or, embedded, this process's memory; both obey one contract (`tests/bus_contract.rs`). What a
//! message's failures mean stands above it, in [`crate::consumer`]: the bus carries a count of tries and waits as told.

pub mod consumer;
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

pub use self::dead_letters::{DeadDetail, DeadLetter, Selection};
pub use self::topology::{DELIVERY_LIMIT, Delay, EXCHANGE, MAX_LENGTH, Queue};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::{Envelope, Event};
use domain::timestamp::Timestamp;

/// A publish is confirmed within this time or it is not a success (design, section 5).
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// No queue is bound for an event that one of ours must take. Surely not taken.
    #[error("no queue takes this event")]
    Unroutable,
    /// The queue is full, or the event is larger than any may be. Surely not taken.
    #[error("the broker refused the event")]
    Refused,
    /// The broker cannot be reached or takes nothing now. Surely not taken.
    #[error("the broker is away: {0:#}")]
    Away(anyhow::Error),
    /// Sent, and no answer came: it may have been taken.
    #[error("it is not known whether the broker took the event: {0:#}")]
    Unknown(anyhow::Error),
}

/// Whether a consumer is attached to its queue, or why not.
pub type Attached = Result<(), String>;

impl Bus {
    /// Connects to RabbitMQ and declares the topology. `role` names the process to the broker.
    ///
    /// A broker that is away is no error: the connection is tried again for ever, and until then [`Bus::publish`] fails
    /// at once and [`Bus::ready`] says so.
    ///
    /// # Errors
    /// `Broken` when no waiting can help: the URL, the credentials, or a queue that was declared otherwise (named).
    pub async fn connect_rabbit(
        url: &SecretString,
        role: &'static str,
    ) -> Result<Self, EngineError> {
        Ok(Self(Engine::Rabbit(rabbit::Rabbit::connect(url, role).await?)))
    }

    /// A bus in this process's memory. What is in it is gone with the process.
    pub fn memory(clock: Clock) -> Self {
        Self(Engine::Memory(memory::Memory::new(clock)))
    }

    /// Publishes an event. `Ok` means that it is in every queue bound for it, on disk and replicated where the engine
    /// does so. Takes [`PUBLISH_TIMEOUT`] at most; a caller that goes away in the middle disturbs nobody.
    pub async fn publish<E: Event>(&self, envelope: &Envelope<E>) -> Result<(), PublishError> {
        let bytes = envelope.encode().map_err(|error| {
            tracing::error!(error = format!("{error:#}"), kind = E::TYPE, "encode an event");
            PublishError::Refused
        })?;
        self.publish_raw(E::TYPE, &envelope.id.to_string(), bytes.into(), E::ADDRESSED).await
    }

    /// As [`Bus::publish`], for an event that was encoded before: the outbox's.
    pub async fn publish_raw(
        &self,
        kind: &str,
        id: &str,
        bytes: Bytes,
        addressed: bool,
    ) -> Result<(), PublishError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.publish(kind, id, bytes, addressed).await,
            Engine::Memory(memory) => memory.publish(kind, id, &bytes, addressed),
        }
    }

    /// Starts to consume a queue, with at most `prefetch` messages in hand. The consumer attaches itself again, for
    /// ever, whenever it loses the broker.
    ///
    /// # Errors
    /// As [`Bus::connect_rabbit`].
    pub async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Consumer, EngineError> {
        Ok(Consumer(match &self.0 {
            Engine::Rabbit(rabbit) => Source::Rabbit(rabbit.consume(queue, prefetch).await?),
            Engine::Memory(memory) => Source::Memory(memory.consume(queue, prefetch)),
        }))
    }

    /// Whether an event could be published now: asks the broker, for 1 s at most.
    pub async fn ready(&self) -> Result<(), EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.ready().await,
            Engine::Memory(_) => Ok(()),
        }
    }

    /// Whether publishing has ended for good: only a new process publishes again.
    pub fn is_dead(&self) -> bool {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.is_dead(),
            Engine::Memory(_) => false,
        }
    }

    /// The first `limit` dead letters of a queue. Those that another command is looking at are not among them.
    pub async fn dead_list(
        &self,
        queue: Queue,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_list(queue, limit).await,
            Engine::Memory(memory) => Ok(memory.dead_list(queue, limit)),
        }
    }

    /// One dead letter: its headers, and its envelope without what is sealed.
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

    /// Puts dead letters back into their queue, with no tries counted; tells how many. One is taken away only when its
    /// copy is confirmed.
    pub async fn dead_replay(&self, queue: Queue, pick: &Selection) -> Result<u64, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_replay(queue, pick).await,
            Engine::Memory(memory) => Ok(memory.dead_replay(queue, pick)),
        }
    }

    /// Throws dead letters away; tells how many.
    pub async fn dead_drop(&self, queue: Queue, pick: &Selection) -> Result<u64, EngineError> {
        match &self.0 {
            Engine::Rabbit(rabbit) => rabbit.dead_drop(queue, pick).await,
            Engine::Memory(memory) => Ok(memory.dead_drop(queue, pick)),
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

/// A consumer of one queue. Dropped, it gives back whatever was not settled.
pub struct Consumer(Source);

enum Source {
    Rabbit(rabbit::Consumer),
    Memory(memory::Consumer),
}

impl Consumer {
    /// The next message; `None` only after [`Consumer::cancel`]. A call that is dropped loses no message.
    pub async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Source::Rabbit(consumer) => consumer.next().await,
            Source::Memory(consumer) => consumer.next().await,
        }
    }

    /// Takes no more messages, and returns those that were fetched and not yet given out. Messages in hand can still be
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

    /// Whether the queue is really being consumed, as it changes.
    pub fn attached(&self) -> watch::Receiver<Attached> {
        match &self.0 {
            Source::Rabbit(consumer) => consumer.attached(),
            Source::Memory(consumer) => consumer.attached(),
        }
    }

    /// How many dead letters the queue has, as of at most ten seconds ago.
    pub fn dead_letters(&self) -> u32 {
        match &self.0 {
            Source::Rabbit(consumer) => consumer.dead_letters(),
            Source::Memory(consumer) => consumer.dead_letters(),
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
    /// Whether it was in somebody's hands before and came back unsettled: its holder may have died of it.
    pub suspect: bool,
    /// When a worker first saw it.
    pub first_at: Timestamp,
    held: AckHandle,
    /// Read at the first question: a waiting message is asked every second.
    event_time: OnceLock<Option<Timestamp>>,
}

enum AckHandle {
    Rabbit(rabbit::AckHandle),
    Memory(memory::AckHandle),
    Nobody,
}

/// What becomes of a message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement<'a> {
    /// It is done with.
    Done,
    /// It comes again after the delay, with this count of tries.
    Later { delay: Delay, attempts: u32 },
    /// It is set aside for an operator.
    Dead { reason: &'a str, attempts: u32 },
    /// It was not begun: anybody may take it at once.
    Back,
}

impl Delivery {
    /// A message that no bus holds, for driving a handler by hand. Settling it does nothing.
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

    /// Settles it. A copy to a waiting queue or to the dead letters is confirmed before the original is let go.
    ///
    /// # Errors
    /// `Away` when the copy was not confirmed, or when the message is no longer ours: then it comes again.
    pub async fn settle(&self, settle: Settlement<'_>) -> Result<(), EngineError> {
        match &self.held {
            AckHandle::Rabbit(held) => held.settle(self, settle).await,
            AckHandle::Memory(held) => held.settle(settle),
            AckHandle::Nobody => Ok(()),
        }
    }

    /// Whether the bus has taken it back, and it comes again by itself: to handle it now would be to handle it twice.
    pub fn is_stale(&self) -> bool {
        match &self.held {
            AckHandle::Rabbit(held) => held.is_stale(),
            AckHandle::Memory(held) => held.is_stale(),
            AckHandle::Nobody => false,
        }
    }

    /// The type without its version: `otp.requested` of `otp.requested.v1`.
    pub fn family(&self) -> &str {
        self.kind.rsplit_once(".v").map_or(self.kind.as_str(), |(family, _)| family)
    }

    /// When it happened, by its envelope.
    pub fn event_time(&self) -> Option<Timestamp> {
        *self.event_time.get_or_init(|| Glance::at(&self.bytes).time)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .field("suspect", &self.suspect)
            .finish_non_exhaustive()
    }
}

/// What a broken envelope may still tell.
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

/// A name for a message that has none, the same each time: operators and the count of crashes need one.
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
