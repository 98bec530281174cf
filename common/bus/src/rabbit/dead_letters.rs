//! Dead letters on RabbitMQ. They are fetched one by one on a separate connection, so that unsettled ones return to the
//! queue when it closes, however the command ends.

use std::collections::BTreeMap;

use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};

use super::Rabbit;
use super::link::{ENGINE, Frames, away, classify, short};
use super::settle::{
    DEAD_AT, FIRST_AT, REASON, attempts_of, copy_to, headers_of, kind_of, text_of, time_of,
};
use crate::dead_letters::{DeadDetail, DeadLetter, Selection, redacted};
use crate::topology::Queue;
use crate::{Delivery, name_for};
use domain::engine_error::EngineError;

impl Rabbit {
    pub(crate) async fn dead_list(
        &self,
        queue: Queue,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        let mut dead_letter_queue = DeadLetterQueue::open(self, queue).await?;
        let mut letters = Vec::new();
        while letters.len() < limit
            && let Some(delivery) = dead_letter_queue.next().await?
        {
            letters.push(dead_letter_queue.letter(&delivery));
        }
        dead_letter_queue.close().await;
        letters.sort_by_key(|letter| letter.dead_at);
        Ok(letters)
    }

    pub(crate) async fn dead_show(
        &self,
        queue: Queue,
        id: &str,
    ) -> Result<Option<DeadDetail>, EngineError> {
        let mut dead_letter_queue = DeadLetterQueue::open(self, queue).await?;
        let mut found = None;
        while let Some(delivery) = dead_letter_queue.next().await? {
            let letter = dead_letter_queue.letter(&delivery);
            if letter.id == id {
                let headers = printed(delivery.properties.headers().as_ref());
                found = Some(DeadDetail { letter, headers, body: redacted(&delivery.data) });
                break;
            }
        }
        dead_letter_queue.close().await;
        Ok(found)
    }

    pub(crate) async fn dead_replay(
        &self,
        queue: Queue,
        pick: &Selection,
        on_each: &(dyn Fn() + Sync),
    ) -> Result<u64, EngineError> {
        self.empty(queue, pick, true, on_each).await
    }

    pub(crate) async fn dead_drop(
        &self,
        queue: Queue,
        pick: &Selection,
        on_each: &(dyn Fn() + Sync),
    ) -> Result<u64, EngineError> {
        self.empty(queue, pick, false, on_each).await
    }

    async fn empty(
        &self,
        queue: Queue,
        pick: &Selection,
        replay: bool,
        on_each: &(dyn Fn() + Sync),
    ) -> Result<u64, EngineError> {
        let mut dead_letter_queue = DeadLetterQueue::open(self, queue).await?;
        let mut taken = 0;
        while let Some(delivery) = dead_letter_queue.next().await? {
            let letter = dead_letter_queue.letter(&delivery);
            if !pick.takes(&letter.id) {
                continue;
            }
            if replay {
                self.replay(queue, letter, &delivery).await?;
            }
            let acked = delivery.acker.ack(BasicAckOptions::default()).await;
            if !acked.map_err(|e| classify(e, "remove a dead letter"))? {
                return Err(away("the broker was lost before a dead letter was removed"));
            }
            taken += 1;
            on_each();
            if matches!(pick, Selection::One(_)) {
                break;
            }
        }
        dead_letter_queue.close().await;
        Ok(taken)
    }

    /// Sends it to its own queue only: other queues bound for its type got their copy when it was published.
    async fn replay(
        &self,
        queue: Queue,
        letter: DeadLetter,
        delivery: &AmqpDelivery,
    ) -> Result<(), EngineError> {
        let mut message = Delivery::loose(&letter.kind, &letter.id, delivery.data.clone());
        message.first_at = letter.first_at.unwrap_or(message.first_at);
        let copy = copy_to(queue.as_str().to_owned(), &message, headers_of(&message, 0));
        self.publisher.publish(copy).await.map_err(|error| {
            EngineError::away(ENGINE, anyhow::Error::new(error).context("replay a dead letter"))
        })
    }
}

/// The dead letters that were in a queue when it was opened, each returned once.
struct DeadLetterQueue {
    connection: Connection,
    channel: Channel,
    queue: Queue,
    left: u32,
}

impl DeadLetterQueue {
    async fn open(rabbit: &Rabbit, queue: Queue) -> Result<Self, EngineError> {
        let connection = rabbit.link.connect("dead letters", Frames::Anybodys).await?;
        let open = || connection.create_channel();
        let channel = open().await.map_err(|e| classify(e, "open a channel"))?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(short(&queue.dead()), passive, FieldTable::default());
        let left = declared.await.map_err(|e| classify(e, "count dead letters"))?.message_count();
        Ok(Self { connection, channel, queue, left })
    }

    async fn next(&mut self) -> Result<Option<AmqpDelivery>, EngineError> {
        // No more than there were at the start: a letter that is dead-lettered again at once would loop forever.
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let got = self.channel.basic_get(short(&self.queue.dead()), BasicGetOptions::default());
        let got = got.await.map_err(|e| classify(e, "get a dead letter"))?;
        Ok(got.map(|message| message.delivery))
    }

    fn letter(&self, delivery: &AmqpDelivery) -> DeadLetter {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        // The broker's own reason, for a message that it dead-lettered by itself.
        let reason =
            text_of(&headers, REASON).or_else(|| text_of(&headers, "x-first-death-reason"));
        DeadLetter {
            id: id.filter(|id| !id.is_empty()).unwrap_or_else(|| name_for(&delivery.data)),
            kind: kind_of(&headers, delivery.routing_key.as_str(), self.queue, &delivery.data),
            reason: reason.unwrap_or_else(|| "unknown".to_owned()),
            attempts: attempts_of(&headers),
            first_at: time_of(&headers, FIRST_AT),
            dead_at: time_of(&headers, DEAD_AT),
            bytes: delivery.data.len(),
        }
    }

    /// Closing returns the unsettled letters; waiting for it lets the next command see them.
    async fn close(self) {
        if let Err(error) = self.connection.close(200, "done".into()).await {
            tracing::debug!(%error, "close the connection for dead letters");
        }
    }
}

/// Headers with plain values, as text. Tables and lists are the broker's own history and are omitted.
fn printed(headers: Option<&FieldTable>) -> BTreeMap<String, String> {
    let plain = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::LongLongInt(number) => Some(number.to_string()),
        AMQPValue::LongInt(number) => Some(number.to_string()),
        AMQPValue::Boolean(yes) => Some(yes.to_string()),
        _ => None,
    };
    let pairs = headers.into_iter().flat_map(FieldTable::inner);
    pairs.filter_map(|(name, value)| Some((name.to_string(), plain(value)?))).collect()
}
