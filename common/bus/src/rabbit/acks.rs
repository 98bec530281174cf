//! Acks that are sent together: nobody waits for one, and each frame costs both sides a wake-up.
//!
//! Acks are collected for up to [`LINGER`], or until a quarter of the prefetch count waits. One frame acks all up to the
//! first message that is still in hand; those behind it have a frame each. If the process dies before, the broker
//! redelivers what was finished, as it always may (contract, section 5).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::Notify;
use tokio::time::timeout;

const LINGER: Duration = Duration::from_millis(100);
/// No more are collected: what waits here is handled twice if the process dies.
const MOST: usize = 16;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The acks of one channel. Clones share them.
#[derive(Clone)]
pub(super) struct Acks(Arc<Shared>);

struct Shared {
    channel: Channel,
    enough: usize,
    tags: Mutex<Tags>,
    /// Held while frames are sent: who waits for a flush waits for those of another, too.
    sending: tokio::sync::Mutex<()>,
    /// The first one waits.
    begun: Notify,
    /// Enough wait.
    full: Notify,
}

impl Acks {
    pub(super) fn of(channel: &Channel, prefetch: u16) -> Self {
        Self(Arc::new(Shared {
            channel: channel.clone(),
            enough: (usize::from(prefetch) / 4).clamp(1, MOST),
            tags: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
            begun: Notify::new(),
            full: Notify::new(),
        }))
    }

    /// For a message in hand.
    pub(super) fn weak(&self) -> WeakAcks {
        WeakAcks(Arc::downgrade(&self.0))
    }

    /// Sends what is collected, again and again. Ends with its channel.
    pub(super) async fn run(self) {
        while self.0.channel.status().connected() {
            self.0.begun.notified().await;
            // An ack that was sent meanwhile may have left a notice: then this round ends early.
            drop(timeout(LINGER, self.0.full.notified()).await);
            self.flush().await;
        }
    }

    /// Sends what is collected. If that fails the channel is lost, and the broker redelivers.
    pub(super) async fn flush(&self) {
        let _sending = self.0.sending.lock().await;
        let frames = self.tags().take();
        for Frame { tag, multiple } in frames {
            let sending = self.0.channel.basic_ack(tag, BasicAckOptions { multiple });
            if let Ok(Err(error)) = timeout(ANSWER_TIMEOUT, sending).await {
                tracing::debug!(error = %error, "acks not sent, the messages will be redelivered");
                return;
            }
        }
    }

    fn tags(&self) -> MutexGuard<'_, Tags> {
        self.0.tags()
    }
}

impl Shared {
    fn tags(&self) -> MutexGuard<'_, Tags> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The acks of a channel, for the messages in hand: these must not keep a channel open that was given up.
pub(super) struct WeakAcks(Weak<Shared>);

impl WeakAcks {
    /// Collects the ack of this delivery tag; `false` if the channel is gone.
    pub(super) fn add(&self, tag: u64) -> bool {
        let Some(acks) = self.0.upgrade() else { return false };
        let waiting = acks.tags().add(tag);
        if waiting == 1 {
            acks.begun.notify_one();
        }
        if waiting >= acks.enough {
            acks.full.notify_one();
        }
        true
    }

    /// Notes that a delivery was settled by a frame of its own.
    pub(super) fn settled(&self, tag: u64) {
        if let Some(acks) = self.0.upgrade() {
            acks.tags().settled(tag);
        }
    }
}

/// The delivery tags of a channel, which the broker counts from 1.
#[derive(Default)]
struct Tags {
    /// All up to this one are settled.
    settled_to: u64,
    /// The settled ones behind, and whether their ack is still to be sent.
    behind: BTreeMap<u64, bool>,
    waiting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    tag: u64,
    /// Whether it settles all before it, too.
    multiple: bool,
}

impl Tags {
    /// Returns how many wait now.
    fn add(&mut self, tag: u64) -> usize {
        if self.behind.insert(tag, true).is_none() {
            self.waiting += 1;
        }
        self.waiting
    }

    fn settled(&mut self, tag: u64) {
        self.behind.insert(tag, false);
    }

    /// The frames that ack all that wait.
    fn take(&mut self) -> Vec<Frame> {
        let (mut last, mut acks) = (None, 0);
        while let Some(waits) = self.behind.remove(&(self.settled_to + 1)) {
            self.settled_to += 1;
            if waits {
                // The broker knows a tag no more that was settled by a frame of its own.
                last = Some(self.settled_to);
                acks += 1;
            }
        }
        self.waiting = 0;
        let together = last.map(|tag| Frame { tag, multiple: acks > 1 });
        let alone = self.behind.iter_mut().filter_map(|(tag, waits)| {
            std::mem::take(waits).then_some(Frame { tag: *tag, multiple: false })
        });
        together.into_iter().chain(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(tags: &mut Tags) -> Vec<(u64, bool)> {
        tags.take().into_iter().map(|frame| (frame.tag, frame.multiple)).collect()
    }

    #[test]
    fn p1_one_frame_acks_up_to_the_first_message_in_hand_and_no_further() {
        let mut tags = Tags::default();
        for tag in [2, 1, 3, 5, 7] {
            tags.add(tag);
        }
        assert_eq!(frames(&mut tags), [(3, true), (5, false), (7, false)]);
        assert_eq!(frames(&mut tags), []);
        tags.add(4);
        assert_eq!(frames(&mut tags), [(4, false)], "5 was acked before");
        tags.add(6);
        tags.add(8);
        assert_eq!(frames(&mut tags), [(8, true)], "7 was acked before");
        assert_eq!((tags.settled_to, tags.behind.len()), (8, 0));
    }

    #[test]
    fn a_message_settled_by_a_frame_of_its_own_is_passed_over_and_never_named() {
        let mut tags = Tags::default();
        tags.add(1);
        tags.settled(2);
        tags.settled(3);
        assert_eq!(frames(&mut tags), [(1, false)]);
        tags.settled(4);
        tags.add(5);
        tags.add(6);
        tags.settled(7);
        assert_eq!(frames(&mut tags), [(6, true)]);
        assert_eq!(tags.settled_to, 7);
    }
}
