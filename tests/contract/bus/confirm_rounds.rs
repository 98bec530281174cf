//! Many tasks publish good, unroutable and refused messages, and a tenth of the callers cancel: do the results that the
//! publishers got agree with the content of the queues?

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bus::{Bus, EXCHANGE, PublishError};
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::{ExposeSecret as _, SecretString};

const TASKS: usize = 32;
const EACH: usize = 150;

#[derive(Debug, Default)]
pub struct Tally {
    pub confirmed: usize,
    pub unroutable: usize,
    pub refused: usize,
    pub unknown: usize,
    pub cancelled: usize,
    /// Reported as taken but not in the queue, or the reverse, or unroutable but reported as anything else.
    pub wrong: Vec<String>,
}

/// Which queue a publish is meant for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Good,
    Nowhere,
    Full,
}

impl Aim {
    fn of(number: usize) -> Self {
        [Self::Good, Self::Nowhere, Self::Good, Self::Full, Self::Good][number % 5]
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Good => "probe.good.v1",
            Self::Nowhere => "probe.nowhere.v1",
            Self::Full => "probe.full.v1",
        }
    }
}

/// Runs one round on its own virtual host.
pub async fn round(url: &SecretString) -> Tally {
    let bus = Bus::connect_rabbit(url, "rounds").await.unwrap();
    let connection =
        Connection::connect(url.expose_secret(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, "probe-good", Aim::Good.kind(), 1_000_000).await;
    declare(&channel, "probe-full", Aim::Full.kind(), 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let bus = bus.clone();
        tasks.spawn(async move {
            let mut told = Vec::new();
            for number in 0..EACH {
                let (id, aim) = (format!("{task}-{number}"), Aim::of(task + number));
                let publish = bus.publish_raw(aim.kind(), &id, "x".repeat(300).into(), true);
                // A caller that gives up after a moment, at a different point each time.
                let patience = Duration::from_micros((number * 37 % 4_000) as u64);
                let answer = if number % 10 == 7 {
                    tokio::time::timeout(patience, publish).await.ok()
                } else {
                    Some(publish.await)
                };
                told.push((id, aim, answer));
            }
            told
        });
    }
    let told: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    // Once a later publish is confirmed, every earlier one is complete: the owner keeps their order.
    bus.publish_raw(Aim::Good.kind(), "last", "x".into(), true).await.unwrap();
    let mut taken = empty(&channel, "probe-good").await;
    taken.extend(empty(&channel, "probe-full").await);
    connection.close(200, "done".into()).await.unwrap();
    judge(&told, &taken)
}

type Told = (String, Aim, Option<Result<(), PublishError>>);

fn judge(told: &[Told], taken: &HashMap<String, usize>) -> Tally {
    let mut tally = Tally::default();
    let ids: HashSet<&str> = told.iter().map(|(id, ..)| id.as_str()).collect();
    for (id, copies) in taken {
        if *copies > 1 || (id != "last" && !ids.contains(id.as_str())) {
            tally.wrong.push(format!("{id} is in the queues {copies} times"));
        }
    }
    for (id, aim, answer) in told {
        let there = taken.contains_key(id);
        let right = match answer {
            None => {
                tally.cancelled += 1;
                true
            }
            Some(Ok(())) => {
                tally.confirmed += 1;
                there && *aim != Aim::Nowhere
            }
            Some(Err(PublishError::Unroutable)) => {
                tally.unroutable += 1;
                !there && *aim == Aim::Nowhere
            }
            Some(Err(PublishError::Refused)) => {
                tally.refused += 1;
                !there && *aim == Aim::Full
            }
            Some(Err(PublishError::Away(_))) => !there,
            Some(Err(PublishError::Unknown(_))) => {
                tally.unknown += 1;
                true
            }
        };
        if !right {
            tally
                .wrong
                .push(format!("{id} for {} got {answer:?}, in the queue: {there}", aim.kind()));
        }
    }
    tally
}

async fn declare(channel: &Channel, queue: &str, kind: &str, length: i64) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(length));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, arguments).await.unwrap();
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), EXCHANGE.into(), kind.into(), bind, none).await.unwrap();
}

/// Takes all messages from a queue and counts them by id.
pub async fn empty(channel: &Channel, queue: &str) -> HashMap<String, usize> {
    let mut ids = HashMap::new();
    let take = BasicGetOptions { no_ack: true };
    while let Some(message) = channel.basic_get(queue.into(), take).await.unwrap() {
        let id = message.delivery.properties.message_id().clone().unwrap().to_string();
        *ids.entry(id).or_default() += 1;
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_sees_a_planted_loss_a_planted_double_and_a_planted_lie() {
        let ok = || Some(Ok(()));
        let taken = HashMap::from([("kept".to_owned(), 1), ("doubled".to_owned(), 2)]);
        let told = vec![
            ("kept".to_owned(), Aim::Good, ok()),
            ("doubled".to_owned(), Aim::Good, ok()),
            ("lost".to_owned(), Aim::Good, ok()),
            ("astray".to_owned(), Aim::Nowhere, ok()),
        ];
        assert_eq!(judge(&told, &taken).wrong.len(), 3);
    }
}
