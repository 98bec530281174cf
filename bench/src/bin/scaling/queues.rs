//! How many messages wait in a queue, asked of the queue itself: what `rabbitmqctl list_queues` prints is up to five
//! seconds old, and costs half a second of processor time.

use anyhow::Context as _;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};

pub struct Queues {
    channel: Channel,
    /// It carries the channel.
    _connection: Connection,
}

impl Queues {
    pub async fn of(amqp_url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await;
        let connection = connection.context("connect to RabbitMQ")?;
        let channel = connection.create_channel().await.context("open a channel")?;
        Ok(Self { channel, _connection: connection })
    }

    /// Messages that no consumer has in hand.
    pub async fn ready(&self, queue: &str) -> anyhow::Result<usize> {
        let only_look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), only_look, FieldTable::default());
        let declared = declared.await.with_context(|| format!("look at {queue}"))?;
        Ok(usize::try_from(declared.message_count())?)
    }
}
