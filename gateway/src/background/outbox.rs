//! The outbox: events that a database transaction wrote, published once it is committed.

use std::sync::Arc;
use std::time::Duration;

use accounts::{Outbox, OutboxEvent};
use bus::PublishError;
use domain::ids::EventId;
use service::connections::Connections;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const BATCH: u32 = 200;
/// No client waits for these events to the millisecond; slow polling makes batches, which cost the database less.
const EVERY: Duration = Duration::from_millis(500);
const WHEN_AWAY: Duration = Duration::from_secs(2);

/// Publishes the outbox until `stop`, at each poll or as soon as `filled` is notified. Any number of gateways may run
/// this: each takes its own rows, and rows that one took and did not finish are taken again.
pub(crate) async fn run(engines: Connections, filled: Arc<Notify>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let pause = match drain(&engines).await {
            Ok(BATCH) => continue,
            Ok(_) => EVERY,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "outbox paused");
                WHEN_AWAY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = filled.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Publishes one batch and returns how many events it took.
async fn drain(engines: &Connections) -> anyhow::Result<u32> {
    let batch = Outbox::new(&engines.sql).take(BATCH, engines.clock.now()).await?;
    let took = u32::try_from(batch.len()).unwrap_or(BATCH);
    if batch.is_empty() {
        return Ok(0);
    }
    let published =
        futures::future::join_all(batch.iter().map(|event| publish(engines, event))).await;
    let (mut done, mut left, mut failure): (Vec<EventId>, Vec<EventId>, _) =
        (Vec::new(), Vec::new(), None);
    for (event, outcome) in batch.iter().zip(published) {
        match outcome {
            Ok(()) => done.push(event.id),
            Err(error) => {
                left.push(event.id);
                failure = Some(error);
            }
        }
    }
    Outbox::new(&engines.sql).done(&done, engines.clock.now()).await?;
    Outbox::new(&engines.sql).release(&left).await?;
    failure.map_or(Ok(took), |error| {
        Err(anyhow::Error::from(error).context("publish from the outbox"))
    })
}

async fn publish(engines: &Connections, event: &OutboxEvent) -> Result<(), PublishError> {
    engines
        .bus
        .publish_raw(&event.kind, &event.id.to_string(), event.body.clone().into(), event.addressed)
        .await
}
