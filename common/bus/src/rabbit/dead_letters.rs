//! Dead letters on RabbitMQ. They are fetched one by one on a separate connection, so that unsettled ones return to the
//! queue when it closes, however the command ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation, Connection};

use super::Rabbit;
use super::command::Outgoing;
use super::confirm::publish;
use super::link::{ENGINE, Frames, OwnConnection, away, classify, short};
use super::settle::{
    DEAD_AT, FIRST_AT, REASON, attempts_of, copy_to, headers_of, kind_of, text_of, time_of,
};
use crate::dead_letters::{DeadDetail, DeadLetter, OnEach, Selection, redacted};
use crate::topology::{Queue, REPLAY_EXCHANGE};
use crate::{Delivery, name_for};
use domain::engine_error::EngineError;

/// The longest wait for one answer of the broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Rabbit {
    pub(crate) async fn dead_details(
        &self,
        queue: Queue,
        limit: usize,
    ) -> Result<Vec<DeadDetail>, EngineError> {
        let mut dead_letter_queue = DeadLetterQueue::open(self, queue).await?;
        let mut letters = Vec::new();
        while letters.len() < limit
            && let Some(delivery) = dead_letter_queue.next().await?
        {
            letters.push(dead_letter_queue.detail(&delivery));
        }
        dead_letter_queue.close().await;
        letters.sort_by_key(|detail| detail.letter.dead_at);
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
            if dead_letter_queue.letter(&delivery).id == id {
                found = Some(dead_letter_queue.detail(&delivery));
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
        on_each: OnEach<'_>,
    ) -> Result<u64, EngineError> {
        self.empty(queue, pick, true, on_each).await
    }

    pub(crate) async fn dead_drop(
        &self,
        queue: Queue,
        pick: &Selection,
        on_each: OnEach<'_>,
    ) -> Result<u64, EngineError> {
        self.empty(queue, pick, false, on_each).await
    }

    async fn empty(
        &self,
        queue: Queue,
        pick: &Selection,
        replay: bool,
        on_each: OnEach<'_>,
    ) -> Result<u64, EngineError> {
        let mut dead_letter_queue = DeadLetterQueue::open(self, queue).await?;
        let (mut taken, mut back) = (0, None);
        while let Some(delivery) = dead_letter_queue.next().await? {
            let letter = dead_letter_queue.letter(&delivery);
            if !pick.takes(&letter) {
                continue;
            }
            if replay {
                let back = match &mut back {
                    Some(back) => back,
                    None => back.insert(WayBack::open(dead_letter_queue.connection.clone()).await?),
                };
                back.take(queue, &letter, &delivery).await?;
            }
            let acked =
                within(delivery.acker.ack(BasicAckOptions::default()), "remove a dead letter");
            if !acked.await? {
                return Err(away("the broker was lost before a dead letter was removed"));
            }
            taken += 1;
            if on_each(&letter).is_break() || matches!(pick, Selection::One(_)) {
                break;
            }
        }
        dead_letter_queue.close().await;
        Ok(taken)
    }
}

/// Publishes dead letters to their own queue only: other queues bound for their type got their copy when it was published.
/// The channel is its own, because a refusal closes it.
struct WayBack {
    connection: Arc<OwnConnection>,
    channel: Channel,
    exchange: &'static str,
}

impl WayBack {
    async fn open(connection: Arc<OwnConnection>) -> Result<Self, EngineError> {
        let channel = Self::channel(&connection).await?;
        Ok(Self { connection, channel, exchange: REPLAY_EXCHANGE })
    }

    async fn channel(connection: &Connection) -> Result<Channel, EngineError> {
        let channel = within(connection.create_channel(), "open a channel").await?;
        within(channel.confirm_select(ConfirmSelectOptions::default()), "enable confirms").await?;
        Ok(channel)
    }

    /// Returns once the copy is confirmed.
    async fn take(
        &mut self,
        queue: Queue,
        letter: &DeadLetter,
        delivery: &AmqpDelivery,
    ) -> Result<(), EngineError> {
        let mut message = Delivery::loose(&letter.kind, &letter.id, delivery.data.clone());
        message.first_at = letter.first_at.unwrap_or(message.first_at);
        let copy = copy_to(queue.as_str().to_owned(), &message, headers_of(&message, 0));
        let copy = Outgoing { exchange: self.exchange, ..copy };
        let error = match self.put(&copy).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if self.exchange.is_empty() || !self.connection.status().connected() {
            return Err(error);
        }
        // The exchange is not there, or leads nowhere: no worker of this release has declared it, or this login may not use
        // it. An operator's own login reaches the queue directly.
        self.exchange = "";
        self.channel = Self::channel(&self.connection).await?;
        self.put(&Outgoing { exchange: "", ..copy }).await
    }

    async fn put(&self, copy: &Outgoing) -> Result<(), EngineError> {
        let sent = within(publish(&self.channel, copy), "replay a dead letter").await?;
        match within(sent, "confirm a replayed dead letter").await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(away("no queue takes a replayed dead letter")),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(away("the broker refused a replayed dead letter"))
            }
        }
    }
}

async fn within<T>(
    answer: impl Future<Output = lapin::Result<T>>,
    what: &'static str,
) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| classify(error, what)),
        Err(_) => Err(EngineError::away(ENGINE, anyhow::anyhow!("{what}: no answer"))),
    }
}

/// The dead letters that were in a queue when it was opened, each returned once.
struct DeadLetterQueue {
    connection: Arc<OwnConnection>,
    channel: Channel,
    queue: Queue,
    left: u32,
}

impl DeadLetterQueue {
    async fn open(rabbit: &Rabbit, queue: Queue) -> Result<Self, EngineError> {
        let connection = rabbit.link.connect("dead letters", Frames::Anybodys).await?;
        let channel = within(connection.create_channel(), "open a channel").await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(short(&queue.dead()), passive, FieldTable::default());
        let left = within(declared, "count dead letters").await?.message_count();
        Ok(Self { connection: Arc::new(connection), channel, queue, left })
    }

    async fn next(&mut self) -> Result<Option<AmqpDelivery>, EngineError> {
        // No more than there were at the start: a letter that is dead-lettered again at once would loop forever.
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let got = self.channel.basic_get(short(&self.queue.dead()), BasicGetOptions::default());
        let got = within(got, "get a dead letter").await?;
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

    fn detail(&self, delivery: &AmqpDelivery) -> DeadDetail {
        let headers = printed(delivery.properties.headers().as_ref());
        DeadDetail { letter: self.letter(delivery), headers, body: redacted(&delivery.data) }
    }

    /// Closing returns the unsettled letters; waiting for it lets the next command see them.
    async fn close(self) {
        let closed = self.connection.close(200, "done".into());
        if let Err(error) = within(closed, "close the connection for dead letters").await {
            tracing::debug!(%error, "dead letters return later");
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
