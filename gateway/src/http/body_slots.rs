//! How many bodies may be waited for: each holds a socket, two tasks and what has arrived of it (contract, ruling 45).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by: AddressCounts,
    warning: RareLine,
}

/// A waiting body's slot, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct BodySlot {
    client: ClientIp,
    slots: BodySlots,
}

impl BodySlots {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (most, most_of_one) = (limits.waiting_bodies(), limits.waiting_bodies_of_one());
        Self { most, most_of_one, waiting: Arc::default() }
    }

    /// Takes a slot for one more body of this client.
    ///
    /// # Errors
    /// If all slots, or all of this client's or of a network's around it, are in use.
    pub(crate) fn enter(&self, client: ClientIp) -> Result<BodySlot, AlreadyLogged> {
        let mut waiting = self.lock();
        if waiting.all >= self.most || waiting.by.enter(client, self.most_of_one).is_err() {
            waiting.refused(client);
            return Err(AlreadyLogged("too many bodies are waited for"));
        }
        waiting.all += 1;
        Ok(BodySlot { client, slots: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.lock().all
    }
}

impl Waiting {
    fn refused(&mut self, client: ClientIp) {
        metrics::counter!("latchkey_bodies_refused_total").increment(1);
        if self.warning.is_due() {
            tracing::warn!(
                address = %client.cut(),
                waiting = self.all,
                "a body is not waited for: its address or this process waits for as many as it may"
            );
        }
    }
}

impl Drop for BodySlot {
    fn drop(&mut self) {
        let mut waiting = self.slots.lock();
        waiting.all -= 1;
        waiting.by.leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(connections: usize, of_one: usize) -> BodySlots {
        BodySlots::new(&Limits::of(2 * connections, of_one))
    }

    fn taken(slots: &BodySlots, ips: impl Iterator<Item = String>) -> Vec<BodySlot> {
        ips.filter_map(|ip| slots.enter(ClientIp::new(ip.parse().unwrap())).ok()).collect()
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
        assert!(taken(&slots, same("203.0.113.1")).is_empty(), "all slots are taken");
        drop(held);
        assert!(slots.lock().by.is_empty());
        assert_eq!(taken(&slots, same("192.0.2.1")).len(), 10, "what ended is free");
    }

    #[test]
    fn f06_without_a_limit_on_one_address_it_may_take_all_slots() {
        let slots = slots(320, 0);
        let same = std::iter::repeat_n("192.0.2.1".to_owned(), 200);
        assert_eq!(taken(&slots, same).len(), 160);
    }
}
