//! How many event streams may be open: each holds a socket and a task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ids::RequestId;

use crate::http::address_counts::AddressCounts;
use crate::http::client_ip::ClientIp;
use crate::http::rare_line::RareLine;

/// Maximum for one request: a device has one or two, and a client that opens more must not use up all slots.
const MOST_OF_ONE: usize = 8;
/// Maximum for one client's address (contract, ruling 45), so that no client uses them up with many requests.
const MOST_OF_AN_ADDRESS: usize = 20;

/// The open streams of this process. Clones share their count.
#[derive(Clone)]
pub(crate) struct Streams {
    most: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<RequestId, usize>,
    by: AddressCounts,
    warning: RareLine,
}

/// A stream's slot, free again when it is dropped.
pub(crate) struct StreamPermit {
    request: RequestId,
    client: ClientIp,
    streams: Streams,
}

impl Streams {
    /// `most` is the maximum in total.
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Takes a slot for one more stream of this request by this client; `None` if all slots, all of this request's or
    /// all of this client's are in use.
    pub fn enter(&self, request: RequestId, client: ClientIp) -> Option<StreamPermit> {
        let mut open = self.lock();
        let of_one = open.of.get(&request).copied().unwrap_or_default();
        let has_room = open.all < self.most && of_one < MOST_OF_ONE;
        if !has_room || open.by.enter(client, MOST_OF_AN_ADDRESS).is_err() {
            open.refused(client);
            return None;
        }
        open.all += 1;
        open.of.insert(request, of_one + 1);
        Some(StreamPermit { request, client, streams: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn refused(&mut self, client: ClientIp) {
        metrics::counter!("latchkey_event_streams_refused_total").increment(1);
        if self.warning.is_due() {
            tracing::warn!(
                address = %client.cut(),
                open = self.all,
                "an event stream is refused: its request, its address or this process has as many as it may"
            );
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.all -= 1;
        open.by.leave(self.client);
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

    fn client(n: usize) -> ClientIp {
        ClientIp::new(format!("198.{}.{}.1", n / 256, n % 256).parse().unwrap())
    }

    #[test]
    fn one_request_cannot_take_all_slots() {
        let (streams, clock) = (Streams::new(100), Clock::manual());
        let one = RequestId::new(&clock);
        let places: Vec<_> = std::iter::from_fn(|| streams.enter(one, client(0))).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        assert!(streams.enter(RequestId::new(&clock), client(0)).is_some());
        drop(places);
        assert!(streams.enter(one, client(0)).is_some(), "an ended stream frees its slot");
    }

    #[test]
    fn f02_one_client_cannot_take_all_slots() {
        let (streams, clock) = (Streams::new(100), Clock::manual());
        let enter = |n| streams.enter(RequestId::new(&clock), client(n));
        let places: Vec<_> = std::iter::from_fn(|| enter(0)).collect();
        assert_eq!(places.len(), MOST_OF_AN_ADDRESS);
        assert!(enter(1).is_some());
        drop(places);
        assert!(enter(0).is_some(), "an ended stream frees its slot");
    }

    #[test]
    fn there_is_a_limit_over_all_requests() {
        let (streams, clock) = (Streams::new(500), Clock::manual());
        let places: Vec<_> =
            (0..).map_while(|n| streams.enter(RequestId::new(&clock), client(n))).collect();
        assert_eq!(places.len(), 500);
        drop(places);
        assert!(streams.lock().of.is_empty() && streams.lock().by.is_empty());
    }
}
