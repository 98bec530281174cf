//! How many event streams may be open: each holds a socket and a task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ids::RequestId;

/// Maximum in total: half of the server's connections, so that waiting streams never shut out sign-ins.
const MOST: usize = 5_000;
/// Maximum for one request: a device has one or two, and a client that opens more must not use up all slots.
const MOST_OF_ONE: usize = 8;

/// The open streams of this process. Clones share their count.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<RequestId, usize>,
}

/// A stream's slot, free again when it is dropped.
pub(crate) struct StreamPermit {
    request: RequestId,
    streams: Streams,
}

impl Streams {
    /// Takes a slot for one more stream of this request; `None` if all slots, or all of this request's, are in use.
    pub fn enter(&self, request: RequestId) -> Option<StreamPermit> {
        let mut open = self.lock();
        let of_one = open.of.get(&request).copied().unwrap_or_default();
        if open.all >= MOST || of_one >= MOST_OF_ONE {
            return None;
        }
        open.all += 1;
        open.of.insert(request, of_one + 1);
        Some(StreamPermit { request, streams: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.all -= 1;
        if let Some(of_one) = open.of.get_mut(&self.request) {
            *of_one -= 1;
            if *of_one == 0 {
                open.of.remove(&self.request);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;

    #[test]
    fn one_request_cannot_take_all_slots() {
        let (streams, clock) = (Streams::default(), Clock::manual());
        let one = RequestId::new(&clock);
        let places: Vec<_> = std::iter::from_fn(|| streams.enter(one)).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        assert!(streams.enter(RequestId::new(&clock)).is_some());
        drop(places);
        assert!(streams.enter(one).is_some(), "an ended stream frees its slot");
    }

    #[test]
    fn there_is_a_limit_over_all_requests() {
        let (streams, clock) = (Streams::default(), Clock::manual());
        let places: Vec<_> = std::iter::from_fn(|| streams.enter(RequestId::new(&clock))).collect();
        assert_eq!(places.len(), MOST);
        drop(places);
        assert!(streams.lock().of.is_empty());
    }
}
