//! Declares the topology.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use tokio::time::timeout;

use super::link::{away, classify, short, text};
use crate::topology::{DELIVERY_LIMIT, Delay, EXCHANGE, MAX_LENGTH, Queue};
use domain::engine_error::EngineError;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Declares the exchange and all queues and bindings. Harmless if they already exist.
///
/// # Errors
/// `Broken`, naming the queue, when it was declared with other arguments.
pub(super) async fn declare(connection: &Connection) -> Result<(), EngineError> {
    let declaring = async {
        // A separate channel: a mismatch closes it.
        let channel =
            connection.create_channel().await.map_err(|e| classify(e, "open a channel"))?;
        declare_on(&channel).await?;
        if let Err(error) = channel.close(200, "declared".into()).await {
            tracing::debug!(%error, "close the declaring channel");
        }
        Ok(())
    };
    timeout(TIMEOUT, declaring).await.map_err(|_| away("declare the topology: timed out"))?
}

async fn declare_on(channel: &Channel) -> Result<(), EngineError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .map_err(|e| classify(e, "declare the exchange latchkey"))?;
    for declaration in declarations() {
        let name = &declaration.name;
        channel
            .queue_declare(
                short(name),
                QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() },
                declaration.arguments,
            )
            .await
            .map_err(|e| classify(e, &format!("declare the queue {name}")))?;
        for binding in declaration.bindings {
            channel
                .queue_bind(
                    short(name),
                    EXCHANGE.into(),
                    short(binding),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(|e| classify(e, &format!("bind the queue {name} to {binding}")))?;
        }
    }
    Ok(())
}

/// A queue declaration.
struct Declaration {
    name: String,
    arguments: FieldTable,
    bindings: &'static [&'static str],
}

/// Everything that each process declares at start. A dead-letter queue comes before the queue that uses it.
fn declarations() -> Vec<Declaration> {
    let mut all = Vec::new();
    for queue in Queue::ALL {
        all.push(Declaration { name: queue.dead(), arguments: common_arguments(), bindings: &[] });
        all.push(Declaration {
            name: queue.as_str().to_owned(),
            arguments: dead_lettering_to(&queue.dead()),
            bindings: queue.bindings(),
        });
        for delay in Delay::ALL {
            let mut arguments = dead_lettering_to(queue.as_str());
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(delay.ms()));
            all.push(Declaration { name: queue.waiting(delay), arguments, bindings: &[] });
        }
    }
    all
}

fn common_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_LENGTH));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

/// Dead-letters through the default exchange, whose routing key is a queue name; `at-least-once` loses no message.
fn dead_lettering_to(queue: &str) -> FieldTable {
    let mut arguments = common_arguments();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_named_as_in_the_contract() {
        let mut names: Vec<String> = declarations().into_iter().map(|d| d.name).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "otp-worker",
                "otp-worker.dead",
                "otp-worker.retry.1000",
                "otp-worker.retry.30000",
                "otp-worker.retry.5000",
                "sms-worker",
                "sms-worker.dead",
                "sms-worker.retry.1000",
                "sms-worker.retry.30000",
                "sms-worker.retry.5000",
            ]
        );
    }

    #[test]
    fn no_queue_leaves_a_limit_to_the_brokers_default() {
        for declared in declarations() {
            let arguments = declared.arguments.inner();
            for needed in ["x-queue-type", "x-delivery-limit", "x-max-length", "x-overflow"] {
                assert!(arguments.contains_key(needed), "{} lacks {needed}", declared.name);
            }
            let buries = arguments.contains_key("x-dead-letter-strategy");
            let is_grave = Queue::ALL.iter().any(|queue| queue.dead() == declared.name);
            assert_eq!(buries, !is_grave, "{}", declared.name);
        }
    }
}
