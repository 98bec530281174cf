//! RabbitMQ behind the bus.

mod acks;
mod command;
mod confirm;
mod consume;
mod dead_letters;
mod declare;
mod link;
mod publish;
mod settle;

use std::sync::Arc;

use bytes::Bytes;
use lapin::types::FieldTable;
use secrecy::SecretString;

use self::command::Outgoing;
pub(super) use self::consume::Consumer;
use self::link::Link;
use self::publish::Publisher;
pub(super) use self::settle::AckHandle;
use super::PublishError;
use super::topology::{EXCHANGE, Queue};
use domain::engine_error::EngineError;

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
        self.publisher.publish(outgoing).await
    }

    pub(super) async fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Consumer, EngineError> {
        Consumer::start(self.link.clone(), self.publisher.clone(), queue, prefetch).await
    }

    pub(super) fn is_dead(&self) -> bool {
        self.publisher.is_dead()
    }

    pub(super) async fn ready(&self) -> Result<(), EngineError> {
        self.publisher.ready().await
    }
}
