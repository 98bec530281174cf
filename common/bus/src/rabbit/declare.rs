//! Declares the topology.

use std::time::Duration;

use anyhow::anyhow;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::link::{ACCESS_REFUSED, ENGINE, NOT_FOUND, away, classify, short, text};
use crate::topology::{DELIVERY_LIMIT, Delay, EXCHANGE, MAX_LENGTH, Queue, REPLAY_EXCHANGE};
use domain::engine_error::EngineError;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Declares the exchange and all queues and bindings. Harmless if they already exist. What this login may not declare,
/// another service does, or the broker's definitions do (contract, ruling 54): it only has to be there.
///
/// # Errors
/// `Broken`, naming the queue, when it was declared with other arguments. `Away` while something is missing that this
/// login may not declare.
pub(super) async fn declare(connection: &Connection) -> Result<(), EngineError> {
    let declaring = async {
        // A separate channel: a mismatch closes it.
        let channel = open(connection).await?;
        let mut declarer = Declarer { connection, channel, missing: None };
        declarer.exchange().await?;
        for queue in Queue::ALL {
            declarer.queues_of(queue).await?;
        }
        declarer.way_back().await?;
        if let Err(error) = declarer.channel.close(200, "declared".into()).await {
            tracing::debug!(%error, "close the declaring channel");
        }
        // Only now: two services that wait for each other's queues must both have declared their own.
        match declarer.missing {
            None => Ok(()),
            Some(name) => Err(EngineError::away(
                ENGINE,
                anyhow!("the queue {name} is missing, and this login may not declare it"),
            )),
        }
    };
    timeout(TIMEOUT, declaring).await.map_err(|_| away("declare the topology: timed out"))?
}

async fn open(connection: &Connection) -> Result<Channel, EngineError> {
    connection.create_channel().await.map_err(|e| classify(e, "open a channel"))
}

/// As every exchange of ours is declared.
const DURABLE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};

struct Declarer<'c> {
    connection: &'c Connection,
    channel: Channel,
    /// A queue that another service has not declared yet.
    missing: Option<String>,
}

impl Declarer<'_> {
    async fn exchange(&mut self) -> Result<(), EngineError> {
        let what = "declare the exchange latchkey";
        let passive = ExchangeDeclareOptions { passive: true, ..DURABLE };
        let mut answer = self.exchange_as(EXCHANGE, ExchangeKind::Topic, DURABLE, what).await?;
        if answer != Answer::Declared {
            answer = self.exchange_as(EXCHANGE, ExchangeKind::Topic, passive, what).await?;
        }
        match answer {
            Answer::Declared | Answer::Refused => Ok(()),
            // No service may declare what all of them share, and no queue can be bound without it.
            Answer::Missing => Err(EngineError::away(
                ENGINE,
                anyhow!(
                    "the exchange {EXCHANGE} is missing, and this login may not declare it: import \
                     deploy/rabbitmq/definitions.json"
                ),
            )),
        }
    }

    async fn exchange_as(
        &mut self,
        name: &str,
        kind: ExchangeKind,
        options: ExchangeDeclareOptions,
        what: &str,
    ) -> Result<Answer, EngineError> {
        let arguments = FieldTable::default();
        let done = self.channel.exchange_declare(short(name), kind, options, arguments).await;
        self.answer(done, what).await
    }

    /// The way of dead letters back to their queues. Nothing else needs it: where the broker's definitions are those of the
    /// former release, dead letters are replayed by the command only.
    async fn way_back(&mut self) -> Result<(), EngineError> {
        let what = "declare the exchange for replays";
        self.exchange_as(REPLAY_EXCHANGE, ExchangeKind::Direct, DURABLE, what).await?;
        for queue in Queue::ALL {
            let bound = self
                .channel
                .queue_bind(
                    short(queue.as_str()),
                    REPLAY_EXCHANGE.into(),
                    short(queue.as_str()),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await;
            self.answer(bound, "bind a queue for replays").await?;
        }
        Ok(())
    }

    /// Declares a queue with the ones that belong to it. The first refusal tells for all of them.
    async fn queues_of(&mut self, queue: Queue) -> Result<(), EngineError> {
        let mut options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        for Declaration { name, arguments, bindings, needed } in declarations(queue) {
            let mut answer = self.queue_as(&name, options, &arguments).await?;
            if answer != Answer::Declared && !options.passive {
                options.passive = true;
                answer = self.queue_as(&name, options, &arguments).await?;
            }
            match answer {
                Answer::Declared => {}
                Answer::Refused => return Ok(()),
                Answer::Missing if !needed => return Ok(()),
                Answer::Missing => {
                    self.missing = Some(name);
                    return Ok(());
                }
            }
            for binding in bindings.iter().filter(|_| !options.passive) {
                let (queue, arguments) = (short(&name), FieldTable::default());
                self.channel
                    .queue_bind(
                        queue,
                        EXCHANGE.into(),
                        short(binding),
                        QueueBindOptions::default(),
                        arguments,
                    )
                    .await
                    .map_err(|e| classify(e, &format!("bind the queue {name} to {binding}")))?;
            }
        }
        Ok(())
    }

    async fn queue_as(
        &mut self,
        name: &str,
        options: QueueDeclareOptions,
        arguments: &FieldTable,
    ) -> Result<Answer, EngineError> {
        let done = self.channel.queue_declare(short(name), options, arguments.clone()).await;
        self.answer(done, &format!("declare the queue {name}")).await
    }

    async fn answer<T>(
        &mut self,
        done: lapin::Result<T>,
        what: &str,
    ) -> Result<Answer, EngineError> {
        let Err(error) = done else { return Ok(Answer::Declared) };
        let answer = Answer::of(&error).ok_or_else(|| classify(error, what))?;
        // Either closes the channel.
        self.channel = open(self.connection).await?;
        Ok(answer)
    }
}

/// What the broker says to a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Declared,
    /// This login may not declare it. Where it was only looked for, nothing is known of it: since 4.2.6 RabbitMQ shows a
    /// queue or exchange only to a login with a right to it. Whoever owns it declares it, and an event that no queue
    /// takes is an error for its publisher.
    Refused,
    Missing,
}

impl Answer {
    fn of(error: &lapin::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ProtocolError(error) if error.get_id() == ACCESS_REFUSED => {
                Some(Self::Refused)
            }
            ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND => Some(Self::Missing),
            _ => None,
        }
    }
}

/// A queue declaration.
struct Declaration {
    name: String,
    arguments: FieldTable,
    bindings: &'static [&'static str],
    /// Whether nothing works without it.
    needed: bool,
}

/// What each process declares at start for one of our queues. A dead-letter queue comes before the queue that uses it,
/// and what is not needed comes last: the declarations end where a login may go no further.
fn declarations(queue: Queue) -> Vec<Declaration> {
    let dead = Declaration {
        name: queue.dead(),
        arguments: common_arguments(),
        bindings: &[],
        needed: true,
    };
    let main = Declaration {
        name: queue.as_str().to_owned(),
        arguments: dead_lettering_to(&queue.dead()),
        bindings: queue.bindings(),
        needed: true,
    };
    let waiting = Delay::ALL.map(|delay| {
        let mut arguments = dead_lettering_to(queue.as_str());
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(delay.ms()));
        let needed = delay.in_its_place().is_none();
        Declaration { name: queue.waiting(delay), arguments, bindings: &[], needed }
    });
    let (needed, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|one| one.needed);
    [dead, main].into_iter().chain(needed).chain(others).collect()
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
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn queues_are_named_as_in_the_contract() {
        let mut names: Vec<String> =
            Queue::ALL.into_iter().flat_map(declarations).map(|d| d.name).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "otp-worker",
                "otp-worker.dead",
                "otp-worker.retry.1000",
                "otp-worker.retry.3000",
                "otp-worker.retry.30000",
                "otp-worker.retry.5000",
                "sms-worker",
                "sms-worker.dead",
                "sms-worker.retry.1000",
                "sms-worker.retry.3000",
                "sms-worker.retry.30000",
                "sms-worker.retry.5000",
            ]
        );
    }

    #[test]
    fn f25_a_queue_that_is_not_shown_is_not_taken_for_missing() {
        let of = |id| {
            let error = AMQPError::from_id(id, "as the test requires".into()).unwrap();
            Answer::of(&ErrorKind::ProtocolError(error).into())
        };
        assert_eq!(of(403), Some(Answer::Refused));
        assert_eq!(of(404), Some(Answer::Missing));
        assert_eq!(of(406), None, "declared with other arguments");
    }

    #[test]
    fn no_queue_leaves_a_limit_to_the_brokers_default() {
        for declared in Queue::ALL.into_iter().flat_map(declarations) {
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
