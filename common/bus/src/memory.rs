//! The embedded bus: queues in this process's memory that behave like RabbitMQ's.
//!
//! It carries encoded bytes, so an event that cannot be encoded fails here too. It refuses an addressed event that no
//! queue is bound for. It redelivers the messages of a lost consumer and marks them. Delays follow the [`Clock`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::counts::{QueueCounts, Waiting};
use super::dead_letters::{DeadDetail, DeadLetter, OnEach, Selection, redacted};
use super::topology::{Delay, Queue};
use super::{Attached, Delivery, PublishError, Settlement};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;

const ENGINE: &str = "the memory bus";
/// Limit for all queues together, so that a flood is refused before memory runs out: at 4 KiB each, 400 MB.
const MAX_MESSAGES: usize = 100_000;
/// Limit per queue. The oldest is dropped first: a full dead-letter queue must not stop a short-lived process.
const MAX_DEAD: usize = 10_000;
/// How often to check whether a waiting message is due: a test moves the clock without a notification.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Memory {
    state: Arc<Mutex<State>>,
    clock: Clock,
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queues: HashMap<Queue, QueueState>,
    /// Messages that are ready, waiting or in hand.
    messages: usize,
    last_tag: u64,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Message>,
    waiting: Vec<(i64, Delay, Message)>,
    in_hand: HashMap<u64, Message>,
    dead_lettered: VecDeque<Dead>,
}

#[derive(Clone)]
struct Message {
    kind: String,
    id: String,
    bytes: Bytes,
    attempts: u32,
    first_at: Option<Timestamp>,
    came_back: bool,
}

struct Dead {
    message: Message,
    reason: String,
    since: Timestamp,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), clock, news: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(
        &self,
        kind: &str,
        id: &str,
        bytes: &Bytes,
        addressed: bool,
    ) -> Result<(), PublishError> {
        let queues: Vec<Queue> = Queue::taking(kind).collect();
        if queues.is_empty() {
            return if addressed { Err(PublishError::Unroutable) } else { Ok(()) };
        }
        let mut state = self.lock();
        if state.messages + queues.len() > MAX_MESSAGES {
            return Err(PublishError::Refused);
        }
        for queue in queues {
            let (kind, id, bytes) = (kind.to_owned(), id.to_owned(), bytes.clone());
            let message =
                Message { kind, id, bytes, attempts: 0, first_at: None, came_back: false };
            state.messages += 1;
            state.queue_state(queue).ready.push_back(message);
        }
        drop(state);
        self.news.notify_waiters();
        Ok(())
    }

    pub(super) fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        Consumer {
            memory: self.clone(),
            queue,
            prefetch: usize::from(prefetch.max(1)),
            tags: Tags::default(),
            cancelled: false,
            attached: watch::Sender::new(Ok(())),
        }
    }

    pub(super) fn counts(&self, queue: Queue) -> QueueCounts {
        let now_ms = self.clock.now_ms();
        let mut state = self.lock();
        let queue_state = state.queue_state(queue);
        queue_state.wake(now_ms);
        let count = |messages: usize| u32::try_from(messages).unwrap_or(u32::MAX);
        let waiting = |delay: Delay| {
            let messages = queue_state.waiting.iter().filter(|(_, of, _)| *of == delay).count();
            Waiting { delay_ms: delay.ms(), messages: count(messages) }
        };
        QueueCounts {
            ready: Some(count(queue_state.ready.len())),
            in_hand: Some(count(queue_state.in_hand.len())),
            consumers: None,
            waiting: Delay::ALL.map(waiting).into(),
            dead: Some(count(queue_state.dead_lettered.len())),
        }
    }

    fn next_of(&self, queue: Queue, tags: &Tags, prefetch: usize) -> Option<Delivery> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue_state = state.queue_state(queue);
        queue_state.wake(now.ms());
        let mut tags = tags.lock();
        if tags.len() >= prefetch {
            return None;
        }
        let mut message = queue_state.ready.pop_front()?;
        let first_at = *message.first_at.get_or_insert(now);
        state.last_tag += 1;
        let tag = state.last_tag;
        tags.push(tag);
        state.queue_state(queue).in_hand.insert(tag, message.clone());
        let held = AckHandle { memory: self.clone(), queue, tag };
        let Message { kind, id, bytes, attempts, came_back, .. } = message;
        let held = super::AckHandle::Memory(held);
        let event_time = std::sync::OnceLock::new();
        Some(Delivery { kind, id, bytes, attempts, suspect: came_back, first_at, held, event_time })
    }

    pub(super) fn dead_details(&self, queue: Queue, limit: usize) -> Vec<DeadDetail> {
        self.lock().queue_state(queue).dead_lettered.iter().take(limit).map(Dead::detail).collect()
    }

    pub(super) fn dead_show(&self, queue: Queue, id: &str) -> Option<DeadDetail> {
        let mut state = self.lock();
        let mut letters = state.queue_state(queue).dead_lettered.iter();
        letters.find(|dead| dead.message.id == id).map(Dead::detail)
    }

    pub(super) fn dead_replay(&self, queue: Queue, pick: &Selection, on_each: OnEach<'_>) -> u64 {
        let mut state = self.lock();
        let picked = state.queue_state(queue).take_dead(pick, on_each);
        let count = picked.len();
        state.messages += count;
        for dead in picked {
            let message = Message { attempts: 0, came_back: false, ..dead.message };
            state.queue_state(queue).ready.push_back(message);
        }
        drop(state);
        self.news.notify_waiters();
        count as u64
    }

    pub(super) fn dead_drop(&self, queue: Queue, pick: &Selection, on_each: OnEach<'_>) -> u64 {
        self.lock().queue_state(queue).take_dead(pick, on_each).len() as u64
    }
}

impl State {
    fn queue_state(&mut self, queue: Queue) -> &mut QueueState {
        self.queues.entry(queue).or_default()
    }
}

impl QueueState {
    /// Moves due messages to the ready queue, the earliest first.
    fn wake(&mut self, now_ms: i64) {
        let mut due: Vec<_> = self.waiting.extract_if(.., |(at, ..)| *at <= now_ms).collect();
        due.sort_by_key(|(at, ..)| *at);
        self.ready.extend(due.into_iter().map(|(.., message)| message));
    }

    fn take_dead(&mut self, pick: &Selection, on_each: OnEach<'_>) -> Vec<Dead> {
        let (mut picked, mut kept) = (Vec::new(), VecDeque::new());
        let mut flow = ControlFlow::Continue(());
        for dead in self.dead_lettered.drain(..) {
            let letter = dead.letter();
            if flow.is_continue() && pick.takes(&letter) {
                flow = on_each(&letter);
                picked.push(dead);
            } else {
                kept.push_back(dead);
            }
        }
        self.dead_lettered = kept;
        picked
    }
}

impl Dead {
    fn letter(&self) -> DeadLetter {
        DeadLetter {
            id: self.message.id.clone(),
            kind: self.message.kind.clone(),
            reason: self.reason.clone(),
            attempts: self.message.attempts,
            first_at: self.message.first_at,
            dead_at: Some(self.since),
            bytes: self.message.bytes.len(),
        }
    }

    fn detail(&self) -> DeadDetail {
        let headers = BTreeMap::from([
            ("x-latchkey-reason".to_owned(), self.reason.clone()),
            ("x-latchkey-tries".to_owned(), self.message.attempts.to_string()),
        ]);
        DeadDetail { letter: self.letter(), headers, body: redacted(&self.message.bytes) }
    }
}

/// The messages that one consumer has in hand.
#[derive(Clone, Default)]
struct Tags(Arc<Mutex<Vec<u64>>>);

impl Tags {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Consumer {
    memory: Memory,
    queue: Queue,
    prefetch: usize,
    tags: Tags,
    cancelled: bool,
    /// Never changes: memory is always available.
    attached: watch::Sender<Attached>,
}

impl Consumer {
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            let news = self.memory.news.clone();
            let news = news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.cancelled {
                return None;
            }
            self.forget_settled();
            if let Some(message) = self.memory.next_of(self.queue, &self.tags, self.prefetch) {
                return Some(message);
            }
            tokio::select! { () = news => {}, () = tokio::time::sleep(LOOK_EVERY) => {} }
        }
    }

    fn forget_settled(&self) {
        let mut state = self.memory.lock();
        let in_hand = &state.queue_state(self.queue).in_hand;
        self.tags.lock().retain(|tag| in_hand.contains_key(tag));
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    pub(super) fn attached(&self) -> watch::Receiver<Attached> {
        self.attached.subscribe()
    }

    pub(super) fn counts(&self) -> QueueCounts {
        self.memory.counts(self.queue)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.memory.lock();
        let queue_state = state.queue_state(self.queue);
        for tag in self.tags.lock().drain(..).rev() {
            if let Some(message) = queue_state.in_hand.remove(&tag) {
                queue_state.ready.push_front(Message { came_back: true, ..message });
            }
        }
        drop(state);
        self.memory.news.notify_waiters();
    }
}

/// A message of the memory bus that a consumer holds.
pub(super) struct AckHandle {
    memory: Memory,
    queue: Queue,
    tag: u64,
}

impl AckHandle {
    pub(super) fn is_stale(&self) -> bool {
        !self.memory.lock().queue_state(self.queue).in_hand.contains_key(&self.tag)
    }

    pub(super) fn settle(&self, settle: Settlement<'_>) -> Result<(), EngineError> {
        let now = self.memory.clock.now();
        let mut state = self.memory.lock();
        let queue_state = state.queue_state(self.queue);
        let Some(message) = queue_state.in_hand.remove(&self.tag) else {
            return Err(EngineError::away(ENGINE, anyhow!("the message is no longer ours")));
        };
        match settle {
            Settlement::Ack => state.messages -= 1,
            Settlement::Retry { delay, attempts } => {
                let message = Message { attempts, came_back: false, ..message };
                queue_state.waiting.push((now.ms() + delay.ms(), delay, message));
            }
            Settlement::DeadLetter { reason, attempts } => {
                let message = Message { attempts, ..message };
                queue_state.dead_lettered.push_back(Dead {
                    message,
                    reason: reason.to_owned(),
                    since: now,
                });
                if queue_state.dead_lettered.len() > MAX_DEAD {
                    queue_state.dead_lettered.pop_front();
                    tracing::warn!(queue = %self.queue, "dead-letter queue full: oldest dead letter dropped");
                }
                state.messages -= 1;
            }
            Settlement::Requeue => {
                queue_state.ready.push_front(Message { came_back: true, ..message });
            }
        }
        drop(state);
        self.memory.news.notify_waiters();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_refuses_and_a_settled_message_makes_room() {
        let bus = Memory::new(Clock::manual());
        let publish = || bus.publish("otp.requested.v1", "e", &Bytes::new(), true);
        for _ in 0..MAX_MESSAGES {
            publish().unwrap();
        }
        assert!(matches!(publish(), Err(PublishError::Refused)));
        let tags = Tags::default();
        let message = bus.next_of(Queue::OtpWorker, &tags, 1).unwrap();
        let super::super::AckHandle::Memory(held) = &message.held else {
            panic!("not from the memory bus")
        };
        held.settle(Settlement::Ack).unwrap();
        publish().unwrap();
    }

    #[test]
    fn the_prefetch_count_bounds_what_is_in_hand() {
        let bus = Memory::new(Clock::manual());
        for _ in 0..3 {
            bus.publish("otp.requested.v1", "e", &Bytes::new(), true).unwrap();
        }
        let tags = Tags::default();
        let first = bus.next_of(Queue::OtpWorker, &tags, 1);
        assert!(first.is_some());
        assert!(bus.next_of(Queue::OtpWorker, &tags, 1).is_none());
    }
}
