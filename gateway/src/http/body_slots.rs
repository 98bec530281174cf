//! How many bodies may be waited for: each holds a socket, two tasks and what has arrived of it (contract, ruling 45).
//!
//! Where all slots are taken, the body that has waited longest makes room. An honest body follows its head within
//! moments, so those that wait for seconds are mostly an attacker's, from however many addresses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::http::address_counts::AddressCounts;
use crate::http::client_ip::ClientIp;
use crate::http::connection_limits::Limits;
use crate::http::error::AlreadyLogged;
use crate::http::rare_line::RareLine;

/// The bodies of this process that are waited for. Clones share their count; each request carries one.
#[derive(Clone, Debug)]
pub(crate) struct BodySlots {
    most: usize,
    most_of_one: usize,
    waiting: Arc<Mutex<Waiting>>,
}

type BodyId = u64;

/// Whose body is waited for, and how to tell it that it is no longer.
#[derive(Debug)]
struct WaitedFor {
    client: ClientIp,
    end: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The one that has waited longest first.
    all: BTreeMap<BodyId, WaitedFor>,
    by: AddressCounts,
    /// The last number given to a body.
    last: BodyId,
    warning: RareLine,
}

/// A waiting body's slot, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct BodySlot {
    id: BodyId,
    end: Arc<Notify>,
    slots: BodySlots,
}

impl BodySlots {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (most, most_of_one) = (limits.waiting_bodies(), limits.waiting_bodies_of_one());
        Self { most, most_of_one, waiting: Arc::default() }
    }

    /// Takes a slot for one more body of this client. Where all are in use, the body that has waited longest gives its
    /// own up.
    ///
    /// # Errors
    /// If all slots of this client, or of a network around it, are in use.
    pub(crate) fn enter(&self, client: ClientIp) -> Result<BodySlot, AlreadyLogged> {
        let mut waiting = self.lock();
        if waiting.by.enter(client, self.most_of_one).is_err() {
            waiting.refused(client);
            return Err(AlreadyLogged("too many bodies of this client are waited for"));
        }
        if waiting.all.len() >= self.most {
            waiting.end_the_longest();
        }
        waiting.last += 1;
        let (id, end) = (waiting.last, Arc::<Notify>::default());
        waiting.all.insert(id, WaitedFor { client, end: end.clone() });
        Ok(BodySlot { id, end, slots: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.lock().all.len()
    }
}

impl Waiting {
    /// It is counted no longer, although its task may still have to hear of it.
    fn end_the_longest(&mut self) {
        let Some((_, longest)) = self.all.pop_first() else { return };
        self.by.leave(longest.client);
        longest.end.notify_one();
        self.refused(longest.client);
    }

    fn leave(&mut self, id: BodyId) {
        if let Some(body) = self.all.remove(&id) {
            self.by.leave(body.client);
        }
    }

    fn refused(&mut self, client: ClientIp) {
        metrics::counter!("latchkey_bodies_refused_total").increment(1);
        if self.warning.is_due() {
            tracing::warn!(
                address = %client.cut(),
                waiting = self.all.len(),
                "a body is not waited for: its address or this process waits for as many as it may"
            );
        }
    }
}

impl BodySlot {
    /// Completes when the body must make room for another.
    pub(crate) async fn must_end(&self) {
        self.end.notified().await;
    }
}

impl Drop for BodySlot {
    fn drop(&mut self) {
        self.slots.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn slots(connections: usize, of_one: usize) -> BodySlots {
        BodySlots::new(&Limits::of(2 * connections, of_one))
    }

    fn taken(slots: &BodySlots, ips: impl Iterator<Item = String>) -> Vec<BodySlot> {
        ips.filter_map(|ip| slots.enter(ClientIp::new(ip.parse().unwrap())).ok()).collect()
    }

    /// Whether it was told to make room. The word is heard once.
    fn is_ended(slot: &BodySlot) -> bool {
        slot.must_end().now_or_never().is_some()
    }

    #[test]
    fn f06_one_client_and_one_network_cannot_take_all_slots() {
        let slots = slots(320, 100);
        let same = |ip: &str| std::iter::repeat_n(ip.to_owned(), 200);
        let mut held = taken(&slots, same("192.0.2.1"));
        assert_eq!(held.len(), 10, "an address");
        held.extend(taken(&slots, (2..200).map(|n| format!("192.0.2.{n}"))));
        assert_eq!(held.len(), 50, "a /24");
        held.extend(taken(&slots, (0..200).map(|n| format!("2001:db8:0:{:x}::1", n << 8))));
        assert_eq!(held.len(), 150, "a /48");
        held.extend(taken(&slots, same("198.51.100.1")));
        assert_eq!((held.len(), slots.taken()), (160, 160), "another one has the rest");
        assert!(held.iter().all(|slot| !is_ended(slot)), "nobody made room for any of them");
        drop(held);
        assert!(slots.lock().by.is_empty());
        assert_eq!(taken(&slots, same("192.0.2.1")).len(), 10, "what ended is free");
    }

    #[test]
    fn f06_the_body_that_has_waited_longest_makes_room_for_the_next() {
        let slots = slots(320, 100);
        let networks = (0..32).map(|n| format!("198.51.{n}.1"));
        let mut held = taken(&slots, networks.flat_map(|ip| std::iter::repeat_n(ip, 5)));
        assert_eq!((held.len(), slots.taken()), (160, 160));
        let others = taken(&slots, (0..3).map(|n| format!("192.0.2.{n}")));
        assert_eq!((others.len(), slots.taken()), (3, 160));
        assert!(held[..3].iter().all(is_ended), "the longest waiting ones");
        assert!(!held[3..].iter().chain(&others).any(is_ended), "and no others");
        // A slot that was given up is free once, and its address may take another.
        held.drain(..3);
        assert_eq!(slots.taken(), 160);
        held.extend(taken(&slots, std::iter::repeat_n("198.51.0.1".to_owned(), 9)));
        assert_eq!((held.len(), slots.taken()), (157 + 9, 160));
        drop((held, others));
        assert!(slots.lock().by.is_empty() && slots.taken() == 0);
    }

    #[test]
    fn f06_an_address_with_its_share_ends_nobody_elses_body() {
        let slots = slots(320, 100);
        let networks = (0..32).map(|n| format!("198.51.{n}.1"));
        let mut held = taken(&slots, networks.flat_map(|ip| std::iter::repeat_n(ip, 4)));
        held.extend(taken(&slots, std::iter::repeat_n("192.0.2.1".to_owned(), 99)));
        held.extend(taken(&slots, std::iter::repeat_n("203.0.113.1".to_owned(), 99)));
        held.extend(taken(&slots, std::iter::repeat_n("203.0.114.1".to_owned(), 99)));
        held.extend(taken(
            &slots,
            ["203.0.115.1".to_owned(), "203.0.115.1".to_owned()].into_iter(),
        ));
        assert_eq!((held.len(), slots.taken()), (160, 160));
        assert!(taken(&slots, std::iter::repeat_n("192.0.2.1".to_owned(), 9)).is_empty());
        assert!(!held.iter().any(is_ended));
    }

    #[test]
    fn f06_without_a_limit_on_one_address_it_may_take_all_slots() {
        let slots = slots(320, 0);
        let same = std::iter::repeat_n("192.0.2.1".to_owned(), 200);
        let held = taken(&slots, same);
        assert_eq!((held.len(), slots.taken()), (200, 160));
        assert_eq!(held.iter().filter(|slot| is_ended(slot)).count(), 40, "for its own next ones");
    }
}
