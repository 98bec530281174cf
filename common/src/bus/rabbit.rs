//! RabbitMQ: connecting, and the topology. Publishing, consuming and dead letters have a file each beside this one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::rabbit_publish::{Outgoing, Publisher};
use super::topology::{Argument, EXCHANGE, Queue, declarations};
use super::{PublishError, rabbit_consume};
use crate::engine_error::EngineError;
use crate::rng;

pub(super) const ENGINE: &str = "RabbitMQ";
/// Seconds. A peer that went without a word is noticed within two of them.
const HEARTBEAT_SECS: u16 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const DECLARE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to connect: lapin's own recovery reaches 60 s and gives up, which was 35 s of needless outage.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A process's RabbitMQ. Publishing and each consumer have connections of their own: one soft error can take a connection.
#[derive(Clone)]
pub(super) struct Rabbit {
    pub(super) link: Arc<Link>,
    pub(super) publisher: Publisher,
}

impl Rabbit {
    pub(super) async fn connect(
        url: &SecretString,
        role: &'static str,
    ) -> Result<Self, EngineError> {
        let link = Arc::new(Link::parse(url, role)?);
        let publisher = Publisher::start(link.clone()).await?;
        Ok(Self { link, publisher })
    }

    pub(super) async fn publish(
        &self,
        kind: &str,
        id: &str,
        bytes: Bytes,
        addressed: bool,
    ) -> Result<(), PublishError> {
        let outgoing = Outgoing {
            exchange: EXCHANGE,
            key: kind.to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            headers: FieldTable::default(),
            bytes,
            mandatory: addressed,
        };
        self.publisher.publish(outgoing).await
    }

    pub(super) async fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> Result<rabbit_consume::Consumer, EngineError> {
        rabbit_consume::Consumer::start(self.clone(), queue, prefetch).await
    }

    pub(super) async fn ready(&self) -> Result<(), EngineError> {
        self.publisher.ready().await
    }
}

/// Where the broker is. Prints nothing: it holds the password.
pub(super) struct Link {
    uri: AMQPUri,
    role: &'static str,
}

impl Link {
    fn parse(url: &SecretString, role: &'static str) -> Result<Self, EngineError> {
        // The parser's own message could repeat the URL with its password.
        let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| {
            EngineError::broken(
                ENGINE,
                anyhow::anyhow!("AMQP_URL is not an amqp:// or amqps:// URL"),
            )
        })?;
        uri.query.heartbeat = Some(HEARTBEAT_SECS);
        Ok(Self { uri, role })
    }

    /// A connection of its own, without lapin's recovery: what was in flight must fail, not be sent again unseen.
    pub(super) async fn connect(&self, purpose: &str) -> Result<Connection, EngineError> {
        let name = format!("latchkey {} {purpose}", self.role);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(done) => done.map_err(|error| classify(error, "connect to the broker")),
            Err(_) => {
                Err(EngineError::away(ENGINE, anyhow::anyhow!("connect to the broker: timed out")))
            }
        }
    }
}

/// Waits between attempts to connect: from half a second, doubling to three, each spread so that processes that lost the
/// broker together do not come back together.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(0.75 + rng::fraction() * 0.25)).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
    }
}

/// What lapin's error means. Access refused and declared otherwise are the only ones that waiting cannot help.
pub(super) fn classify(error: lapin::Error, what: &str) -> EngineError {
    const ACCESS_REFUSED: u16 = 403;
    const PRECONDITION_FAILED: u16 = 406;
    let broken = matches!(error.kind(), ErrorKind::ProtocolError(e)
        if [ACCESS_REFUSED, PRECONDITION_FAILED].contains(&e.get_id()));
    let cause = anyhow::Error::new(error).context(what.to_owned());
    if broken { EngineError::broken(ENGINE, cause) } else { EngineError::away(ENGINE, cause) }
}

/// Declares the exchange and all queues and bindings. Harmless where they are there already.
///
/// # Errors
/// `Broken`, naming the queue, when it was declared otherwise.
pub(super) async fn declare(connection: &Connection) -> Result<(), EngineError> {
    let declaring = async {
        // A channel of its own: a mismatch closes it.
        let channel =
            connection.create_channel().await.map_err(|e| classify(e, "open a channel"))?;
        declare_on(&channel).await?;
        if let Err(error) = channel.close(200, "declared".into()).await {
            tracing::debug!(%error, "close the declaring channel");
        }
        Ok(())
    };
    match timeout(DECLARE_TIMEOUT, declaring).await {
        Ok(done) => done,
        Err(_) => {
            Err(EngineError::away(ENGINE, anyhow::anyhow!("declare the topology: timed out")))
        }
    }
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
                table(&declaration.arguments),
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

fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    table
}

/// Our own names are far below the 255 bytes that AMQP allows.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::from(text)
}

/// Closes politely in the background. A peer that does not answer is left to the heartbeat.
pub(super) fn close_later(connection: Connection) {
    tokio::spawn(async move {
        let closing = connection.close(200, "done".into());
        if !matches!(timeout(CONNECT_TIMEOUT, closing).await, Ok(Ok(()))) {
            tracing::debug!("a connection to the broker was not closed in order");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_wrong_url_is_told_without_its_password() {
        let url = SecretString::from("http://latchkey:hunter2hunter2@broker");
        let error = Link::parse(&url, "test").err().expect("not a broker's URL");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("AMQP_URL"), "{error}");
    }
}
