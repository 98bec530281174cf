//! RabbitMQ behind the bus.

mod acks;
mod command;
mod confirm;
mod consume;
mod counts;
mod dead_letters;
mod declare;
mod link;
mod publish;
mod settle;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lapin::types::FieldTable;
use secrecy::SecretString;

use self::command::Outgoing;
pub(super) use self::consume::Consumer;
use self::link::{Frames, Link};
use self::publish::Publisher;
pub(super) use self::settle::AckHandle;
use super::topology::{EXCHANGE, Queue};
use super::{PublishError, QueueCounts};
use domain::engine_error::EngineError;

const COUNT_WITHIN: Duration = Duration::from_secs(1);
/// Kept, because it is on the way of every code request. A process installs its recorder before it has a bus.
static CONFIRM_TIMES: LazyLock<metrics::Histogram> = LazyLock::new(
    || metrics::histogram!("latchkey_engine_seconds", "engine" => "rabbitmq", "operation" => "publish"),
);

/// RabbitMQ of one process. Publishing and each consumer use separate connections: one soft error can close one.
#[derive(Clone)]
pub(super) struct Rabbit {
    link: Arc<Link>,
    publisher: Publisher,
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
        let begun = Instant::now();
        let published = self.publisher.publish(outgoing).await;
        CONFIRM_TIMES.record(begun.elapsed());
        published
    }

    pub(super) async fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Consumer, EngineError> {
        Consumer::start(self.link.clone(), self.publisher.clone(), queue, prefetch).await
    }

    /// By a connection of its own: a refusal must not close one that works.
    pub(super) async fn counts(&self, queue: Queue) -> Result<QueueCounts, EngineError> {
        let connection = self.link.connect("counting", Frames::Ours).await?;
        let counted = tokio::time::timeout(COUNT_WITHIN, counts::count(&connection, queue)).await;
        counted.map_err(|_| link::away("count the messages of a queue: timed out"))?
    }

    pub(super) fn is_dead(&self) -> bool {
        self.publisher.is_dead()
    }

    pub(super) async fn ready(&self) -> Result<(), EngineError> {
        self.publisher.ready().await
    }
}
