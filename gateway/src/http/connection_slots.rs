//! Who may hold a connection: how many there are, how many of one address, and which one makes room for another
//! (contract, ruling 45).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::http::address_counts::AddressCounts;
use crate::http::client_ip::{ClientIp, TrustedProxies};
use crate::http::connection_limits::Limits;
use crate::http::rare_line::RareLine;

/// The slots for connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    all: usize,
    of_one: usize,
    proxies: Arc<TrustedProxies>,
    free: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
}

type SlotId = u64;
type IdleId = u64;

/// An idle connection, and how to tell it to close.
#[derive(Debug)]
struct Waiting {
    slot: SlotId,
    close: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Held {
    of: AddressCounts,
    /// The addresses of the connections that are counted.
    counted: HashMap<SlotId, ClientIp>,
    /// The connections between two requests, the longest idle first.
    idle: BTreeMap<IdleId, Waiting>,
    /// Those of them that are counted, by the ranges that count them.
    idle_of: HashMap<String, BTreeSet<IdleId>>,
    /// The last number given to a connection, or to the beginning of an idle time.
    last: u64,
    warning: RareLine,
}

impl Slots {
    pub(crate) fn new(limits: &Limits, proxies: TrustedProxies) -> Self {
        Self {
            all: limits.connections,
            of_one: limits.connections_of_one,
            proxies: Arc::new(proxies),
            free: Arc::new(Semaphore::new(limits.connections)),
            held: Arc::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a free slot. From three quarters on, each new connection closes one that is idle.
    pub(crate) async fn free(&self) -> OwnedSemaphorePermit {
        if self.free.available_permits() <= self.all / 4 {
            self.held().close_the_longest_idle(None);
        }
        self.free.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A free slot, if there is one.
    pub(crate) fn free_now(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Takes the slot for a connection from this address. Where the address, or a network around it, holds as many as
    /// it may, its longest idle one is closed for it; `None` if none is idle. A trusted proxy may hold any number: they
    /// are its clients'.
    pub(crate) fn enter(&self, peer: IpAddr, permit: OwnedSemaphorePermit) -> Option<Slot> {
        let counted = (!self.proxies.trusts(peer)).then(|| ClientIp::new(peer));
        let id = self.held().enter(counted, self.of_one);
        if id.is_none() {
            metrics::counter!("latchkey_connections_refused_total").increment(1);
            self.warn_of(ClientIp::new(peer));
        }
        Some(Slot { slots: self.clone(), id: id?, _permit: permit })
    }
}

impl Slots {
    /// An operator who forgot to name a proxy must learn why its clients are refused.
    fn warn_of(&self, peer: ClientIp) {
        if self.held().warning.is_due() {
            tracing::warn!(
                address = %peer.cut(),
                most = self.of_one,
                "an address holds as many connections as it may; if it is a proxy, list it in LATCHKEY_TRUSTED_PROXIES"
            );
        }
    }
}

impl Held {
    fn enter(&mut self, counted: Option<ClientIp>, most: usize) -> Option<SlotId> {
        self.last += 1;
        if let Some(ip) = counted {
            if let Err(full) = self.of.enter(ip, most) {
                self.close_the_longest_idle(Some(&full));
                self.of.enter(ip, most).ok()?;
            }
            self.counted.insert(self.last, ip);
        }
        Some(self.last)
    }

    /// Closes the longest idle connection, of this range if one is given. It is counted no longer.
    fn close_the_longest_idle(&mut self, of: Option<&str>) {
        let longest = match of {
            Some(range) => self.idle_of.get(range).and_then(BTreeSet::first).copied(),
            None => self.idle.keys().next().copied(),
        };
        if let Some(waiting) = longest.and_then(|id| self.end_idle(id)) {
            self.leave(waiting.slot);
            waiting.close.notify_one();
        }
    }

    fn begin_idle(&mut self, slot: SlotId, close: Arc<Notify>) -> IdleId {
        self.last += 1;
        for range in self.ranges_of(slot) {
            self.idle_of.entry(range).or_default().insert(self.last);
        }
        self.idle.insert(self.last, Waiting { slot, close });
        self.last
    }

    /// `None` if the connection was told to close before.
    fn end_idle(&mut self, id: IdleId) -> Option<Waiting> {
        let waiting = self.idle.remove(&id)?;
        for range in self.ranges_of(waiting.slot) {
            if let Some(ids) = self.idle_of.get_mut(&range) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.idle_of.remove(&range);
                }
            }
        }
        Some(waiting)
    }

    fn ranges_of(&self, slot: SlotId) -> impl Iterator<Item = String> + use<> {
        let ranges = self.counted.get(&slot).map(|ip| ip.limit_ranges());
        ranges.into_iter().flatten().map(|(range, _)| range)
    }

    fn leave(&mut self, slot: SlotId) {
        if let Some(ip) = self.counted.remove(&slot) {
            self.of.leave(ip);
        }
    }
}

/// A connection's slot, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    id: SlotId,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Marks the connection as idle for as long as the result lives.
    pub(crate) fn idle(&self) -> Idle {
        let close = Arc::<Notify>::default();
        let mut held = self.slots.held();
        let id = held.begin_idle(self.id, close.clone());
        // Others may wait for this very slot.
        if self.slots.free.available_permits() == 0 {
            held.close_the_longest_idle(None);
        }
        drop(held);
        Idle { slots: self.slots.clone(), id, close }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.held().leave(self.id);
    }
}

/// The mark of an idle connection.
#[derive(Debug)]
pub(crate) struct Idle {
    slots: Slots,
    id: u64,
    close: Arc<Notify>,
}

impl Idle {
    /// Completes when the connection must make room for another.
    pub(crate) async fn must_close(&self) {
        self.close.notified().await;
    }

    /// Ends the idle time. `false` if the connection must close although its next request has begun: another one has
    /// its place.
    pub(crate) fn resume(self) -> bool {
        self.slots.held().end_idle(self.id).is_some()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.slots.held().end_idle(self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn slots(connections: usize, connections_of_one: usize) -> Slots {
        let limits = Limits { connections, connections_of_one, ..Limits::default() };
        let nets = vec!["10.0.0.0/8".parse().unwrap()];
        Slots::new(&limits, TrustedProxies::new(nets, config::ClientIpHeader::XForwardedFor))
    }

    async fn entered(slots: &Slots, ip: &str) -> Option<Slot> {
        slots.enter(ip.parse().unwrap(), slots.free().await)
    }

    #[tokio::test]
    async fn f06_one_address_holds_its_share_and_a_trusted_proxy_any_number() {
        let slots = slots(100, 3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(entered(&slots, "192.0.2.1").await.unwrap());
        }
        assert!(entered(&slots, "192.0.2.1").await.is_none());
        assert!(entered(&slots, "::ffff:192.0.2.1").await.is_none());
        assert!(entered(&slots, "192.0.2.2").await.is_some());
        held.pop();
        assert!(entered(&slots, "192.0.2.1").await.is_some(), "a closed connection frees its slot");
        for _ in 0..50 {
            held.push(entered(&slots, "10.0.0.1").await.unwrap());
        }
    }

    #[tokio::test]
    async fn f06_an_addresss_own_longest_idle_connection_makes_room_for_its_next() {
        let slots = slots(100, 3);
        let mut held = Vec::new();
        for n in [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5] {
            held.push(entered(&slots, &format!("192.0.2.{n}")).await.unwrap());
        }
        let other = entered(&slots, "192.0.3.1").await.unwrap();
        let (others, proxys) = (other.idle(), entered(&slots, "10.0.0.1").await.unwrap());
        let (second, first, proxys) = (held[1].idle(), held[0].idle(), proxys.idle());
        held.push(entered(&slots, "192.0.2.1").await.expect("an idle one makes room"));
        assert!(second.must_close().now_or_never().is_some(), "the longest idle one");
        assert!(!second.resume(), "also if its next request has just begun");
        assert!(first.must_close().now_or_never().is_none());
        // Its slot may be free before or after its end: it was given up once.
        drop(held.remove(1));
        assert!(first.resume());
        assert!(entered(&slots, "192.0.2.1").await.is_none(), "all three are busy");
        // The network around the addresses is full next, and the idle ones in it make room.
        held.push(entered(&slots, "192.0.2.5").await.unwrap());
        assert!(entered(&slots, "192.0.2.9").await.is_none());
        let idle = held[5].idle();
        held.push(entered(&slots, "192.0.2.9").await.expect("its network's idle one makes room"));
        assert!(!idle.resume() && others.resume() && proxys.resume());
        drop((held, other));
        let left = slots.held();
        assert!(left.of.is_empty() && left.counted.is_empty());
        assert!(left.idle.is_empty() && left.idle_of.is_empty());
    }

    #[tokio::test]
    async fn f06_from_three_quarters_on_the_longest_idle_connection_makes_room() {
        let slots = slots(8, 8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(entered(&slots, "192.0.2.1").await.unwrap());
        }
        let (first, second) = (held[0].idle(), held[1].idle());
        assert!(first.must_close().now_or_never().is_none(), "nobody needs the slot yet");
        held.push(entered(&slots, "192.0.2.2").await.unwrap());
        assert!(first.must_close().now_or_never().is_some());
        assert!(second.must_close().now_or_never().is_none());
        // A connection with a request in progress is not idle.
        drop(second);
        held.push(entered(&slots, "192.0.2.2").await.unwrap());
        // All slots are taken: the next connection to become idle makes room for who waits.
        let mut waits = std::pin::pin!(slots.free());
        assert!(waits.as_mut().now_or_never().is_none());
        let last = held.pop().unwrap();
        let idle = last.idle();
        assert!(idle.must_close().now_or_never().is_some());
        drop((idle, last));
        assert!(waits.now_or_never().is_some());
    }
}
