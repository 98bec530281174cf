//! Declares the topology.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use tokio::time::timeout;

use super::link::{away, classify, short};
use crate::topology::{Argument, EXCHANGE, declarations};
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
