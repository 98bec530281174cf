//! Whose password is hashed next: the slots in which hashes run and the places in which callers wait, shared out among
//! networks and known devices (contract, ruling 44).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// An address may hold one in this many of the waiting places, and a range around it so many times that as it counts.
const ADDRESS: usize = 8;
/// No range may hold more than one in this many of the slots, nor of the places. Half of the slots is enough for an
/// office or a carrier behind one /24: two cores still hash 33 of its passwords a second.
const NETWORK: usize = 2;
/// One in this many of the places is kept for known devices.
const KEPT: usize = 4;
/// The known devices of one person may hold one in this many of the places among the kept ones.
const PERSON: usize = 32;

/// Who wants a password hashed or checked.
#[derive(Clone)]
pub struct Requester {
    /// The ranges in which the client's address counts, narrowest first, and how many times the share of an address each
    /// may hold.
    pub ranges: Vec<(String, u64)>,
    /// If the client is a known device: one name for all known devices of its owner.
    pub known: Option<String>,
}

impl Requester {
    fn network(&self) -> &str {
        self.ranges.last().map_or("", |(range, _)| range)
    }

    /// Who takes turns with the others: a network, or a person.
    fn party(&self) -> &str {
        self.known.as_deref().unwrap_or(self.network())
    }
}

/// Slots and places. Clones share them.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

struct State {
    slots: usize,
    places: usize,
    /// The network of each hash that runs, but for the one in the kept slot.
    running: Vec<String>,
    /// Whether a hash runs in the slot that is kept for known devices.
    kept_runs: bool,
    /// In the order of their turns.
    waiting: Vec<Waiter>,
    /// The latest round of which a waiter began.
    round: u64,
    arrivals: u64,
}

struct Waiter {
    number: u64,
    requester: Requester,
    is_in_kept: bool,
    /// Each party has one waiter in a round, so that a long queue of one puts off no other.
    round: u64,
    begins: oneshot::Sender<Slot>,
}

#[derive(Clone)]
enum Taken {
    /// One of the slots for anybody, by this network.
    Anybodys(String),
    Kept,
}

/// A slot, held until it is dropped.
pub(crate) struct Slot {
    turns: Turns,
    taken: Taken,
}

/// A place, held until it is dropped.
pub(crate) struct Waiting {
    turns: Turns,
    number: u64,
    begun: oneshot::Receiver<Slot>,
}

pub(crate) enum Turn {
    Now(Slot),
    Later(Waiting),
}

impl Turns {
    /// So many `slots` for anybody, one more for known devices, and so many `places`.
    pub fn new(slots: usize, places: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            slots,
            places,
            running: Vec::new(),
            kept_runs: false,
            waiting: Vec::new(),
            round: 0,
            arrivals: 0,
        })))
    }

    /// A slot, within this time; `None` if it does not come, or if there is no place to wait.
    pub async fn slot(&self, requester: Requester, within: Duration) -> Option<Slot> {
        match self.ask(requester)? {
            Turn::Now(slot) => Some(slot),
            Turn::Later(mut waiting) => timeout(within, &mut waiting.begun).await.ok()?.ok(),
        }
    }

    /// A slot or a place; `None` if the requester may have neither.
    pub fn ask(&self, requester: Requester) -> Option<Turn> {
        let mut state = self.state();
        // Nobody who waits is passed: a slot that is free for one of them was given away when it became free.
        if let Some(taken) = state.free_slot(&requester) {
            state.occupy(&taken);
            return Some(Turn::Now(Slot { turns: self.clone(), taken }));
        }
        let is_in_kept = state.free_place(&requester)?;
        let (begins, begun) = oneshot::channel();
        let number = state.enter(requester, is_in_kept, begins);
        Some(Turn::Later(Waiting { turns: self.clone(), number, begun }))
    }

    fn leave(&self, taken: &Taken) {
        let mut state = self.state();
        state.vacate(taken);
        let next = std::iter::from_fn(|| state.next());
        let begun: Vec<_> =
            next.map(|(begins, taken)| (begins, Slot { turns: self.clone(), taken })).collect();
        // Unlocked first: the slot of a waiter that went away comes back to here.
        drop(state);
        for (begins, slot) in begun {
            drop(begins.send(slot));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn are_all_free(&self) -> bool {
        let state = self.state();
        state.running.is_empty() && !state.kept_runs && state.waiting.is_empty()
    }
}

impl State {
    /// A known device has what anybody has, and the kept slot when that is taken.
    fn free_slot(&self, requester: &Requester) -> Option<Taken> {
        let network = requester.network();
        let own = self.running.iter().filter(|running| *running == network).count();
        if self.running.len() < self.slots && own < self.slots.div_ceil(NETWORK) {
            return Some(Taken::Anybodys(network.to_owned()));
        }
        (requester.known.is_some() && !self.kept_runs).then_some(Taken::Kept)
    }

    fn occupy(&mut self, taken: &Taken) {
        match taken {
            Taken::Anybodys(network) => self.running.push(network.clone()),
            Taken::Kept => self.kept_runs = true,
        }
    }

    fn vacate(&mut self, taken: &Taken) {
        match taken {
            Taken::Anybodys(network) => {
                if let Some(at) = self.running.iter().position(|running| running == network) {
                    self.running.swap_remove(at);
                }
            }
            Taken::Kept => self.kept_runs = false,
        }
    }

    /// Whether the place that the requester may have is a kept one; `None` if it may have none.
    fn free_place(&self, requester: &Requester) -> Option<bool> {
        let kept = self.places / KEPT;
        let waiting = |is_in_kept| self.waiting.iter().filter(move |w| w.is_in_kept == is_in_kept);
        let (address, network) = (self.places.div_ceil(ADDRESS), self.places.div_ceil(NETWORK));
        let has_room = |(range, times): &(String, u64)| {
            let times = usize::try_from(*times).unwrap_or(usize::MAX);
            let is_in_range = |w: &&Waiter| w.requester.ranges.iter().any(|(own, _)| own == range);
            waiting(false).filter(is_in_range).count() < address.saturating_mul(times).min(network)
        };
        if waiting(false).count() < self.places - kept && requester.ranges.iter().all(has_room) {
            return Some(false);
        }
        let person = requester.known.as_ref()?;
        let own = waiting(true).filter(|w| w.requester.known.as_ref() == Some(person)).count();
        let has_room = waiting(true).count() < kept && own < self.places.div_ceil(PERSON);
        has_room.then_some(true)
    }

    fn enter(
        &mut self,
        requester: Requester,
        is_in_kept: bool,
        begins: oneshot::Sender<Slot>,
    ) -> u64 {
        let number = self.arrivals;
        self.arrivals += 1;
        let own = self.waiting.iter().filter(|w| w.requester.party() == requester.party());
        let round = own.map(|w| w.round + 1).max().unwrap_or_default().max(self.round);
        let at = self.waiting.partition_point(|w| w.round <= round);
        self.waiting.insert(at, Waiter { number, requester, is_in_kept, round, begins });
        number
    }

    /// The first waiter in turn that may have a free slot, which it takes.
    fn next(&mut self) -> Option<(oneshot::Sender<Slot>, Taken)> {
        let mut turns = self.waiting.iter().enumerate();
        let (at, taken) = turns.find_map(|(at, w)| Some((at, self.free_slot(&w.requester)?)))?;
        let waiter = self.waiting.remove(at);
        self.round = self.round.max(waiter.round);
        self.occupy(&taken);
        Some((waiter.begins, taken))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.turns.leave(&self.taken);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turns.state().waiting.retain(|w| w.number != self.number);
    }
}

/// Shows no address.
impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
