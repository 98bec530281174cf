//! A message in hand from RabbitMQ: how it is settled and how its headers are read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use super::acks::WeakAcks;
use super::command::Outgoing;
use super::link::{ENGINE, away, classify, text};
use super::publish::{MAX_NAME, Publisher};
use crate::topology::{Delay, Queue};
use crate::{Delivery, Glance, PublishError, Settlement};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;

// Our own headers.
pub(super) const TRIES: &str = "x-latchkey-tries";
pub(super) const REASON: &str = "x-latchkey-reason";
pub(super) const KIND: &str = "x-latchkey-kind";
pub(super) const FIRST_AT: &str = "x-latchkey-first-at";
pub(super) const DEAD_AT: &str = "x-latchkey-dead-at";

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A message of the broker that we hold.
pub(crate) struct AckHandle {
    pub(super) acker: Acker,
    pub(super) tag: u64,
    pub(super) acks: WeakAcks,
    /// Whether its ack is collected.
    pub(super) acked: AtomicBool,
    pub(super) publisher: Publisher,
    pub(super) queue: Queue,
}

impl AckHandle {
    pub(crate) fn is_stale(&self) -> bool {
        !self.acker.usable() || self.acked.load(Ordering::Relaxed)
    }

    pub(crate) async fn settle(
        &self,
        message: &Delivery,
        settle: Settlement<'_>,
    ) -> Result<(), EngineError> {
        match settle {
            Settlement::Ack => self.collect(),
            Settlement::Retry { delay, attempts } => {
                self.put_off(message, delay, attempts).await?;
                self.ack().await
            }
            Settlement::DeadLetter { reason, attempts } => {
                let mut headers = headers_of(message, attempts);
                headers.insert(REASON.into(), text(reason));
                headers.insert(DEAD_AT.into(), text(&Clock::system().now().to_string()));
                self.copied(message, self.queue.dead(), headers).await.map_err(not_copied)?;
                self.ack().await
            }
            Settlement::Requeue => {
                let requeue = BasicNackOptions { requeue: true, multiple: false };
                self.alone(self.acker.nack(requeue)).await
            }
        }
    }

    /// Lets the ack be sent with others. The broker answers no ack, so there is nothing to wait for.
    fn collect(&self) -> Result<(), EngineError> {
        if self.is_stale() || self.acked.swap(true, Ordering::Relaxed) {
            return Err(no_longer_ours());
        }
        if self.acks.add(self.tag) { Ok(()) } else { Err(no_longer_ours()) }
    }

    /// Acks at once: the message's copy must not come to life twice if this process dies.
    async fn ack(&self) -> Result<(), EngineError> {
        self.alone(self.acker.ack(BasicAckOptions::default())).await
    }

    async fn alone(
        &self,
        settling: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), EngineError> {
        if self.acked.load(Ordering::Relaxed) {
            return Err(no_longer_ours());
        }
        match timeout(ANSWER_TIMEOUT, settling).await {
            Ok(Ok(true)) => {
                self.acks.settled(self.tag);
                Ok(())
            }
            Ok(Ok(false)) => Err(no_longer_ours()),
            Ok(Err(error)) => Err(classify(error, "settle a message")),
            Err(_) => Err(away("settle a message: timed out")),
        }
    }

    /// Copies the message to the queue of this delay, or of the one in its place.
    async fn put_off(
        &self,
        message: &Delivery,
        delay: Delay,
        attempts: u32,
    ) -> Result<(), EngineError> {
        let to =
            |delay| self.copied(message, self.queue.waiting(delay), headers_of(message, attempts));
        let copied = match (to(delay).await, delay.in_its_place()) {
            (Err(PublishError::Unroutable), Some(other)) => to(other).await,
            (copied, _) => copied,
        };
        copied.map_err(not_copied)
    }

    /// Copies the message to the named queue, with a confirm.
    async fn copied(
        &self,
        message: &Delivery,
        to: String,
        headers: FieldTable,
    ) -> Result<(), PublishError> {
        self.publisher.publish(copy_to(to, message, headers)).await
    }
}

fn no_longer_ours() -> EngineError {
    away("the message is no longer ours")
}

fn not_copied(error: PublishError) -> EngineError {
    EngineError::away(ENGINE, anyhow::Error::new(error).context("copy a message to another queue"))
}

/// Builds a message for one queue, through the default exchange.
pub(super) fn copy_to(to: String, message: &Delivery, headers: FieldTable) -> Outgoing {
    Outgoing {
        exchange: "",
        key: to,
        kind: message.kind.clone(),
        id: message.id.clone(),
        headers,
        bytes: message.bytes.clone(),
        mandatory: true,
    }
}

/// The headers that a copy keeps.
pub(super) fn headers_of(message: &Delivery, attempts: u32) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(TRIES.into(), AMQPValue::LongLongInt(i64::from(attempts)));
    headers.insert(KIND.into(), text(&message.kind));
    headers.insert(FIRST_AT.into(), text(&message.first_at.to_string()));
    headers
}

pub(super) fn text_of(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

pub(super) fn time_of(headers: &FieldTable, name: &str) -> Option<Timestamp> {
    Timestamp::parse(&text_of(headers, name)?)
}

pub(super) fn number(headers: &FieldTable, name: &str) -> Option<i64> {
    match headers.inner().get(name)? {
        AMQPValue::LongLongInt(n) => Some(*n),
        AMQPValue::LongInt(n) => Some(i64::from(*n)),
        AMQPValue::LongUInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortShortUInt(n) => Some(i64::from(*n)),
        _ => None,
    }
}

pub(super) fn attempts_of(headers: &FieldTable) -> u32 {
    number(headers, TRIES).and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(0)
}

/// The routing key is the type, unless the message came through a retry queue: then it is the queue's name.
pub(super) fn kind_of(headers: &FieldTable, key: &str, queue: Queue, bytes: &[u8]) -> String {
    let kind = text_of(headers, KIND).or_else(|| {
        let is_key = key != queue.as_str() && key != queue.dead();
        if is_key { Some(key.to_owned()) } else { Glance::at(bytes).kind }
    });
    // A copy of the message must be able to carry it.
    kind.filter(|kind| kind.len() <= MAX_NAME).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_the_type_that_the_message_was_published_with() {
        let mut message = Delivery::loose("otp.requested.v1", "e1", "{}");
        message.attempts = 2;
        let headers = headers_of(&message, 3);
        assert_eq!(kind_of(&headers, "otp-worker", Queue::OtpWorker, b""), "otp.requested.v1");
        assert_eq!(attempts_of(&headers), 3);
        assert_eq!(time_of(&headers, FIRST_AT), Some(message.first_at));
    }

    #[test]
    fn a_message_without_our_headers_is_known_by_its_routing_key_or_its_body() {
        let (none, queue) = (FieldTable::default(), Queue::SmsWorker);
        assert_eq!(kind_of(&none, "sms.requested.v1", queue, b""), "sms.requested.v1");
        let body = br#"{"type":"sms.receipt.v1"}"#;
        assert_eq!(kind_of(&none, "sms-worker", queue, body), "sms.receipt.v1");
        assert_eq!(kind_of(&none, "sms-worker", queue, b"?"), "unknown");
        let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(256));
        assert_eq!(kind_of(&none, "sms-worker", queue, long.as_bytes()), "unknown");
        assert_eq!(attempts_of(&none), 0);
    }
}
