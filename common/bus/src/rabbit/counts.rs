//! Counts the messages of a queue and of those that belong to it.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ErrorKind};

use super::link::{ACCESS_REFUSED, NOT_FOUND, classify, short};
use crate::topology::{Delay, Queue};
use crate::{QueueCounts, Waiting};
use domain::engine_error::EngineError;

/// Counts on a channel of its own. What this login is not shown, or what is not there, has no figure.
///
/// # Errors
/// `Away` when the broker is lost.
pub(super) async fn count(
    connection: &Connection,
    queue: Queue,
) -> Result<QueueCounts, EngineError> {
    let mut counter = Counter { connection, channel: open(connection).await? };
    let (mut ready, mut consumers) = (None, None);
    if let Some(main) = counter.of(queue.as_str()).await? {
        (ready, consumers) = (Some(main.0), Some(main.1));
    }
    let dead = counter.of(&queue.dead()).await?.map(|(messages, _)| messages);
    let mut waiting = Vec::new();
    // One answer tells for the others: no broker shows a login some of them only, but for those that are not needed.
    let lanes = Delay::ALL.into_iter().filter(|_| ready.is_some());
    for delay in lanes {
        if let Some((messages, _)) = counter.of(&queue.waiting(delay)).await? {
            waiting.push(Waiting { delay_ms: delay.ms(), messages });
        }
    }
    counter.close().await;
    Ok(QueueCounts { ready, in_hand: None, consumers, waiting, dead })
}

struct Counter<'c> {
    connection: &'c Connection,
    channel: Channel,
}

impl Counter<'_> {
    /// Messages that are ready, and consumers.
    async fn of(&mut self, name: &str) -> Result<Option<(u32, u32)>, EngineError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(short(name), passive, FieldTable::default());
        match declared.await {
            Ok(queue) => Ok(Some((queue.message_count(), queue.consumer_count()))),
            Err(error) if is_hidden(&error) => {
                // The refusal closed the channel.
                self.channel = open(self.connection).await?;
                Ok(None)
            }
            Err(error) => Err(classify(error, "count the messages of a queue")),
        }
    }

    async fn close(self) {
        if let Err(error) = self.channel.close(200, "counted".into()).await {
            tracing::debug!(%error, "close the counting channel");
        }
    }
}

fn is_hidden(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if [ACCESS_REFUSED, NOT_FOUND].contains(&error.get_id()))
}

async fn open(connection: &Connection) -> Result<Channel, EngineError> {
    connection.create_channel().await.map_err(|e| classify(e, "open a channel"))
}
