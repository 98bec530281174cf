//! Who may hold a connection: how many there are, how many of one address, and which one makes room for another
//! (contract, ruling 45).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::http::address_counts::AddressCounts;
use crate::http::client_ip::{ClientIp, TrustedProxies};
use crate::http::connection_limits::Limits;

const WARN_EVERY: Duration = Duration::from_mins(1);

/// The slots for connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    all: usize,
    of_one: usize,
    proxies: Arc<TrustedProxies>,
    free: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    of: AddressCounts,
    /// The connections between two requests, the longest idle first.
    idle: BTreeMap<u64, Arc<Notify>>,
    /// How many times a connection became idle.
    idled: u64,
    /// When a refused address was last logged.
    warned: Option<Instant>,
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
            self.held().close_one_idle();
        }
        self.free.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Takes the slot for a connection from this address; `None` if the address holds as many as it may. A trusted
    /// proxy may hold any number: they are its clients'.
    pub(crate) fn enter(&self, peer: IpAddr, permit: OwnedSemaphorePermit) -> Option<Slot> {
        let counted = (!self.proxies.trusts(peer)).then(|| ClientIp::new(peer));
        if let Some(peer) = counted
            && !self.held().of.enter(peer, self.of_one)
        {
            metrics::counter!("latchkey_connections_refused_total").increment(1);
            self.warn_of(peer);
            return None;
        }
        Some(Slot { slots: self.clone(), counted, _permit: permit })
    }
}

impl Slots {
    /// One line a minute: an operator who forgot to name a proxy must learn why its clients are refused.
    fn warn_of(&self, peer: ClientIp) {
        let mut held = self.held();
        if held.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            held.warned = Some(Instant::now());
            drop(held);
            tracing::warn!(
                address = %peer.cut(),
                most = self.of_one,
                "an address holds as many connections as it may; if it is a proxy, list it in LATCHKEY_TRUSTED_PROXIES"
            );
        }
    }
}

impl Held {
    fn close_one_idle(&mut self) {
        if let Some((_, close)) = self.idle.pop_first() {
            close.notify_one();
        }
    }
}

/// A connection's slot, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    /// The address, if it was counted.
    counted: Option<ClientIp>,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Marks the connection as idle for as long as the result lives.
    pub(crate) fn idle(&self) -> Idle {
        let close = Arc::<Notify>::default();
        let mut held = self.slots.held();
        let id = held.idled;
        held.idled += 1;
        held.idle.insert(id, close.clone());
        // Others may wait for this very slot.
        if self.slots.free.available_permits() == 0 {
            held.close_one_idle();
        }
        drop(held);
        Idle { slots: self.slots.clone(), id, close }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(ip) = self.counted {
            self.slots.held().of.leave(ip);
        }
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
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.slots.held().idle.remove(&self.id);
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
