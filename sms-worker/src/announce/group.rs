//! Statuses that are published together.
//!
//! An event through a quorum queue costs the broker and otp-worker nearly the same with one status or twelve. Those that
//! come while others await their confirm go together next, and a status waits a moment for company: its message is
//! delivered, and its client cannot tell 20 ms.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use bus::{Bus, PublishError};
use bytes::Bytes;
use domain::clock::Clock;
use domain::event::{Envelope, Event as _, MOST_STATUSES, SmsStatus, SmsStatuses};
use domain::trace_context::TraceContext;
use domain::vocabulary::Status;
use futures::future::join_all;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long a status waits for others, unless an event is full before. A client may watch a text on its way.
const LINGER: Duration = Duration::from_millis(20);
/// The same for what a receipt says after the text was sent: its client has the text, or waits for a call.
const LINGER_OF_RECEIPTS: Duration = Duration::from_millis(100);

type Published = Result<(), PublishError>;

struct Waiting {
    status: SmsStatus,
    /// When it waits no longer for others.
    due: Instant,
    reply: oneshot::Sender<Published>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Whether a task publishes; it looks for more when it is done.
    publishing: bool,
}

struct Shared {
    bus: Bus,
    clock: Clock,
    state: Mutex<State>,
    /// An event is full, or a status waits less long than those before it.
    sooner: Notify,
}

#[derive(Clone)]
pub(super) struct Group(Arc<Shared>);

impl Group {
    pub fn new(bus: Bus, clock: Clock) -> Self {
        Self(Arc::new(Shared { bus, clock, state: Mutex::default(), sooner: Notify::new() }))
    }

    /// Returns once the broker has confirmed the status, or refused it.
    pub async fn publish(&self, status: SmsStatus) -> Published {
        self.put(status).await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Adds a status to those that wait. It is published whether or not the caller waits for the answer: it is a fact.
    pub fn put(&self, status: SmsStatus) -> oneshot::Receiver<Published> {
        let (reply, answer) = oneshot::channel();
        let due = Instant::now() + linger(status.status);
        let mut state = self.0.state();
        let is_sooner = state.waiting.iter().all(|one| due < one.due);
        state.waiting.push_back(Waiting { status, due, reply });
        if is_sooner || state.waiting.len() >= MOST_STATUSES {
            self.0.sooner.notify_one();
        }
        if !std::mem::replace(&mut state.publishing, true) {
            // A separate task: a caller that goes away must not cancel the others' publish.
            tokio::spawn(publish_all(Arc::clone(&self.0)));
        }
        answer
    }
}

const fn linger(status: Status) -> Duration {
    match status {
        Status::Delivered | Status::Undelivered => LINGER_OF_RECEIPTS,
        _ => LINGER,
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an event is full or the first of the waiting must not wait longer, and takes them all. Empty: none
    /// waits, and the next caller starts a task.
    async fn next(&self) -> Vec<Waiting> {
        loop {
            let due = {
                let mut state = self.state();
                let first = state.waiting.iter().map(|one| one.due).min();
                match first {
                    Some(due) if state.waiting.len() < MOST_STATUSES && due > Instant::now() => due,
                    first => {
                        state.publishing = first.is_some();
                        return state.waiting.drain(..).collect();
                    }
                }
            };
            // Of no consequence which: the loop looks again.
            let _ = timeout_at(due, self.sooner.notified()).await;
        }
    }

    /// Puts statuses into one event, or into more if it were too large. A status that alone is too large is refused, and
    /// none of the others with it (P11).
    fn pack(&self, statuses: &[SmsStatus], events: &mut Vec<Packed>) {
        let data = SmsStatuses::of(statuses.iter().cloned());
        let envelope = Envelope::new(&self.clock, "sms-worker", led_by(statuses), data);
        match envelope.encode() {
            Ok(bytes) => {
                let id = envelope.id.to_string();
                events.push(Packed { statuses: statuses.len(), event: Some((id, bytes.into())) });
            }
            Err(_) if statuses.len() > 1 => {
                let (first, second) = statuses.split_at(statuses.len() / 2);
                self.pack(first, events);
                self.pack(second, events);
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a status does not fit into an event"
                );
                events.push(Packed { statuses: 1, event: None });
            }
        }
    }

    /// Returns the answer for each status of the event.
    async fn publish(&self, packed: Packed) -> Vec<Published> {
        let published = match packed.event {
            Some((id, bytes)) => {
                let (kind, addressed) = (SmsStatuses::TYPE, SmsStatuses::ADDRESSED);
                self.bus.publish_raw(kind, &id, bytes, addressed).await
            }
            None => Err(PublishError::Refused),
        };
        (0..packed.statuses).map(|_| again(&published)).collect()
    }
}

/// The trace of the event: the first recorded one of its statuses. The others are linked where it is handled.
fn led_by(statuses: &[SmsStatus]) -> Option<String> {
    let recorded = |trace: &&str| {
        TraceContext::from_header(trace).is_some_and(|trace| traces::is_on() && trace.is_sampled())
    };
    statuses
        .iter()
        .filter_map(|status| status.traceparent.as_deref())
        .find(recorded)
        .map(str::to_owned)
}

/// An encoded event with its id, and how many statuses it has.
struct Packed {
    statuses: usize,
    event: Option<(String, Bytes)>,
}

async fn publish_all(shared: Arc<Shared>) {
    let mut publisher = Publisher { shared: &shared, done: false };
    loop {
        let together = shared.next().await;
        if together.is_empty() {
            publisher.done = true;
            return;
        }
        let (statuses, replies): (Vec<_>, Vec<_>) =
            together.into_iter().map(|one| (one.status, one.reply)).unzip();
        let mut events = Vec::new();
        for together in statuses.chunks(MOST_STATUSES) {
            shared.pack(together, &mut events);
        }
        let published = join_all(events.into_iter().map(|packed| shared.publish(packed))).await;
        let published = published.into_iter().flatten();
        for (reply, published) in replies.into_iter().zip(published) {
            // The caller may have gone away; what was published stays published.
            drop(reply.send(published));
        }
    }
}

/// The same answer for another status of the event.
fn again(published: &Published) -> Published {
    match published {
        Ok(()) => Ok(()),
        Err(PublishError::Unroutable) => Err(PublishError::Unroutable),
        Err(PublishError::Refused) => Err(PublishError::Refused),
        Err(PublishError::Away(cause)) => Err(PublishError::Away(anyhow!("{cause:#}"))),
        Err(PublishError::Unknown(cause)) => Err(PublishError::Unknown(anyhow!("{cause:#}"))),
    }
}

fn interrupted() -> PublishError {
    PublishError::Unknown(anyhow!("the publishing was interrupted"))
}

/// Ensures that no caller waits forever if the task ends early, by a panic or with its runtime.
struct Publisher<'a> {
    shared: &'a Shared,
    done: bool,
}

impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.shared.state();
            state.waiting.clear();
            state.publishing = false;
        }
    }
}

#[cfg(test)]
mod tests;
