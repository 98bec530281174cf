//! Messages on a quorum queue: published with a confirm, delivered, and acked one by one.

use std::collections::VecDeque;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    PublisherConfirm,
};
use tokio::sync::Mutex;

const QUEUE: &str = "bare";
/// About the size of a text's job.
const BODY: [u8; 700] = [b'x'; 700];
const PREFETCH: u16 = 256;
const PERSISTENT: u8 = 2;

pub struct Broker {
    publishing: Channel,
    consumer: Mutex<Consumer>,
    /// They carry the channels.
    _connections: [Connection; 2],
}

impl Broker {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let open = async || Connection::connect(url, ConnectionProperties::default()).await;
        let (out, back) = (open().await?, open().await?);
        let publishing = out.create_channel().await?;
        publishing.confirm_select(ConfirmSelectOptions::default()).await?;
        let consuming = back.create_channel().await?;
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        consuming.queue_declare(QUEUE.into(), durable, quorum).await?;
        consuming.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = consuming
            .basic_consume(QUEUE.into(), "".into(), options, FieldTable::default())
            .await?;
        Ok(Self { publishing, consumer: Mutex::new(consumer), _connections: [out, back] })
    }

    /// Publishes this many, `at_once` of them unconfirmed, and acks each delivery.
    pub async fn pass(&self, count: usize, at_once: usize) -> anyhow::Result<()> {
        tokio::try_join!(self.publish(count, at_once), self.take(count)).map(|_| ())
    }

    async fn publish(&self, count: usize, at_once: usize) -> anyhow::Result<()> {
        let mut unconfirmed: VecDeque<PublisherConfirm> = VecDeque::new();
        for _ in 0..count {
            if unconfirmed.len() == at_once {
                confirmed(unconfirmed.pop_front()).await?;
            }
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let publishing =
                self.publishing.basic_publish("".into(), QUEUE.into(), options, &BODY, properties);
            unconfirmed.push_back(publishing.await.context("publish")?);
        }
        while !unconfirmed.is_empty() {
            confirmed(unconfirmed.pop_front()).await?;
        }
        Ok(())
    }

    async fn take(&self, count: usize) -> anyhow::Result<()> {
        let mut consumer = self.consumer.lock().await;
        for _ in 0..count {
            let delivery = consumer.next().await.context("the consumer ended")??;
            delivery.acker.ack(BasicAckOptions::default()).await.context("ack")?;
        }
        Ok(())
    }
}

async fn confirmed(oldest: Option<PublisherConfirm>) -> anyhow::Result<()> {
    if let Some(oldest) = oldest {
        let confirmation = oldest.await.context("confirm")?;
        ensure!(matches!(confirmation, Confirmation::Ack(None)), "not acked: {confirmation:?}");
    }
    Ok(())
}
