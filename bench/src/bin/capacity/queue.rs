//! What quorum queues carry: messages published with a confirm, delivered and acked, through one queue and through two.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::ring::Servers;
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// About the size of a text's job.
const BODY: [u8; 700] = [b'x'; 700];
const MESSAGES: usize = 60_000;
/// For all queues together, so that the clients are as busy either way.
const PUBLISHERS: usize = 4;
const UNCONFIRMED: usize = 128;
const PREFETCH: u16 = 256;
/// Acks are collected, as workers do.
const ACK_EVERY: usize = 32;
const PERSISTENT: u8 = 2;
/// The rounds alternate; the median counts.
const ROUNDS: usize = 3;

/// Messages a second, and CPU seconds of RabbitMQ for 1,000, through one queue and two.
pub async fn measure(engines: &Servers) -> anyhow::Result<Value> {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(round(engines, 1).await?);
        two.push(round(engines, 2).await?);
    }
    Ok(json!({ "one": middle(one), "two": middle(two), "messages": MESSAGES }))
}

fn middle(mut rounds: Vec<(f64, f64)>) -> Value {
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (rate, cpu) = rounds[rounds.len() / 2];
    json!({ "rate": rate.round(), "cpu": (cpu * 1_000.0).round() / 1_000.0 })
}

async fn round(engines: &Servers, queues: usize) -> anyhow::Result<(f64, f64)> {
    eprintln!("{MESSAGES} messages through {queues} queues");
    let url = engines.places().await.amqp_url;
    let connection = open(&url).await?;
    let channel = connection.create_channel().await?;
    for queue in 0..queues {
        declare(&channel, &name(queue)).await?;
    }
    let rabbit = || engines.parts()[2].1.cpu_secs();
    let (before, start) = (rabbit(), Instant::now());
    let mut running = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        running.spawn(publish(url.clone(), name(publisher % queues), MESSAGES / PUBLISHERS));
    }
    for queue in 0..queues {
        running.spawn(take(url.clone(), name(queue), MESSAGES / queues));
    }
    while let Some(ended) = running.join_next().await {
        ended.context("a task failed")??;
    }
    let took: Duration = start.elapsed();
    let thousands = f64::from(u32::try_from(MESSAGES)?) / 1_000.0;
    Ok((thousands * 1_000.0 / took.as_secs_f64(), (rabbit() - before) / thousands))
}

fn name(queue: usize) -> String {
    format!("measured-{queue}")
}

async fn open(url: &str) -> anyhow::Result<Connection> {
    let connection = Connection::connect(url, ConnectionProperties::default());
    connection.await.context("connect to RabbitMQ")
}

async fn declare(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, quorum).await.map(drop).context("declare")
}

async fn publish(url: String, queue: String, count: usize) -> anyhow::Result<()> {
    let connection = open(&url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut unconfirmed: VecDeque<PublisherConfirm> = VecDeque::new();
    for number in 0..count + UNCONFIRMED {
        if number >= UNCONFIRMED.min(count)
            && let Some(oldest) = unconfirmed.pop_front()
        {
            let confirmation = oldest.await.context("confirm")?;
            ensure!(matches!(confirmation, Confirmation::Ack(None)), "not acked: {confirmation:?}");
        }
        if number < count {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let sending =
                channel.basic_publish("".into(), queue.as_str().into(), options, &BODY, properties);
            unconfirmed.push_back(sending.await.context("publish")?);
        }
    }
    Ok(())
}

async fn take(url: String, queue: String, count: usize) -> anyhow::Result<()> {
    let connection = open(&url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "".into(), options, none).await?;
    for number in 1..=count {
        let delivery = consumer.next().await.context("the consumer ended")??;
        if number % ACK_EVERY == 0 || number == count {
            delivery.acker.ack(BasicAckOptions { multiple: true }).await.context("ack")?;
        }
    }
    Ok(())
}
