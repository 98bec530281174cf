//! The outbox: events that a database transaction wrote, published once it is committed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use accounts::{Outbox, OutboxEntry, OutboxEvent, Publisher, Settled};
use anyhow::{Context as _, anyhow};
use bus::PublishError;
use domain::ids::EventId;
use service::connections::Connections;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most entries that are published together, of up to three events each: confirms arrive together, and the bus takes
/// as many at once.
const BATCH: u32 = 200;
/// The most batches until the first entry is looked at again: an entry that was committed late stands before those that
/// were read.
const BATCHES: u32 = 50;
/// No client waits for these events to the millisecond; slow polling makes batches, which cost the database less.
const EVERY: Duration = Duration::from_millis(500);
const WHEN_AWAY: Duration = Duration::from_secs(2);

/// Publishes the outbox until `stop`, at each poll or as soon as `filled` is notified. Any number of gateways may run
/// this: they take turns, and what one published and did not delete is published again.
pub(crate) async fn run(engines: Connections, filled: Arc<Notify>, stop: CancellationToken) {
    let me = Publisher::new(engines.clock.now());
    let mut drain = Drain { engines, me, published: BTreeSet::new() };
    while !stop.is_cancelled() {
        let pause = match drain.once(&stop).await {
            Ok(true) => continue,
            Ok(false) => EVERY,
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

struct Drain {
    engines: Connections,
    me: Publisher,
    /// Entries that the broker has and that could not be deleted yet: they are not published again.
    published: BTreeSet<i64>,
}

/// What became of the entries of a batch.
#[derive(Default)]
struct Outcome {
    done: Vec<i64>,
    rest: Vec<(i64, Vec<OutboxEvent>)>,
    /// The first failure; of one that leaves it open whether the broker has an event, the first of those.
    failure: Option<anyhow::Error>,
    /// Whether a failure is the broker's, not the event's: then the next events would fail as well.
    away: bool,
    /// Whether the broker may have an event that is published again.
    unclear: bool,
}

impl Drain {
    /// Publishes what waits, from the first entry on. Returns whether more may wait.
    ///
    /// # Errors
    /// If an engine is away, or the broker refused an event. All events that it takes are published nevertheless.
    async fn once(&mut self, stop: &CancellationToken) -> anyhow::Result<bool> {
        let (mut behind, mut refused) = (0, None);
        let (mut more, mut whole) = (true, true);
        for batch in 1..=BATCHES {
            let outbox = Outbox::new(&self.engines.sql);
            let entries = outbox.take(self.me, behind, BATCH, self.engines.clock.now()).await?;
            let Some(last) = entries.last() else {
                more = false;
                break;
            };
            behind = last.id;
            let outcome = self.publish(&entries).await;
            more = entries.len() >= BATCH as usize && !outcome.away;
            let goes_on = more && batch < BATCHES && !stop.is_cancelled();
            let settled = Settled { done: &outcome.done, rest: &outcome.rest, more: goes_on };
            self.published.extend(&outcome.done);
            whole &= outbox.settle(self.me, settled).await?;
            match outcome.failure {
                Some(error) if outcome.away => return Err(error),
                failure => refused = refused.or(failure),
            }
            if !goes_on {
                break;
            }
        }
        if whole {
            self.published.clear();
        }
        more |= drain_former(&self.engines).await?;
        refused.map_or(Ok(more), Err)
    }

    /// Publishes the events of these entries in their order, and awaits what becomes of each.
    async fn publish(&self, entries: &[OutboxEntry]) -> Outcome {
        let waiting = |entry: &&OutboxEntry| !self.published.contains(&entry.id);
        let events = entries.iter().filter(waiting).filter_map(|entry| entry.events.as_ref());
        let published = events.flatten().map(|event| publish(&self.engines, event));
        // All are handed over at the first poll, in their order, and the bus keeps it. Tokio's budget would put some off
        // until the others are handed over.
        let published = tokio::task::unconstrained(futures::future::join_all(published));
        let mut published = published.await.into_iter();
        let mut outcome = Outcome::default();
        for entry in entries {
            let Some(events) = &entry.events else {
                let unreadable = || anyhow!("entry {} of the outbox cannot be read", entry.id);
                outcome.failure.get_or_insert_with(unreadable);
                continue;
            };
            if !waiting(&entry) {
                outcome.done.push(entry.id);
                continue;
            }
            let mut rest = Vec::new();
            for (event, published) in events.iter().zip(published.by_ref()) {
                if let Err(error) = published {
                    rest.push(event.clone());
                    outcome.failed(error);
                }
            }
            if rest.is_empty() {
                outcome.done.push(entry.id);
            } else if rest.len() < events.len() {
                outcome.rest.push((entry.id, rest));
            }
        }
        outcome
    }
}

impl Outcome {
    fn failed(&mut self, error: PublishError) {
        let is_unclear = matches!(error, PublishError::Unknown(_));
        let tells_more = self.failure.is_none() || (is_unclear && !self.unclear);
        self.away |= is_unclear || matches!(error, PublishError::Away(_));
        self.unclear |= is_unclear;
        if tells_more {
            self.failure = Some(anyhow::Error::from(error).context("publish from the outbox"));
        }
    }
}

async fn publish(engines: &Connections, event: &OutboxEvent) -> Result<(), PublishError> {
    engines
        .bus
        .publish_raw(&event.kind, &event.id.to_string(), event.body.clone().into(), event.addressed)
        .await
}

/// Publishes one batch of events that gateways of the former version wrote. Returns whether more may wait.
async fn drain_former(engines: &Connections) -> anyhow::Result<bool> {
    let outbox = Outbox::new(&engines.sql);
    let batch = outbox.former_take(BATCH, engines.clock.now()).await?;
    if batch.is_empty() {
        return Ok(false);
    }
    let more = batch.len() >= BATCH as usize;
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
    outbox.former_done(&done, engines.clock.now()).await?;
    outbox.former_release(&left).await?;
    failure.map_or(Ok(more), Err).context("publish from the former outbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_first_of_what_may_come_twice() {
        let away = || PublishError::Away(anyhow!("not connected"));
        let unclear = || PublishError::Unknown(anyhow!("no confirm"));
        let told = |errors: Vec<PublishError>| {
            let mut outcome = Outcome::default();
            for error in errors {
                outcome.failed(error);
            }
            format!("{:#}", outcome.failure.unwrap())
        };
        assert!(told(vec![PublishError::Refused, away()]).contains("refused"));
        for errors in [vec![away(), unclear(), away()], vec![unclear(), PublishError::Refused]] {
            assert!(told(errors).contains("unknown whether the broker took the event"));
        }
    }
}
