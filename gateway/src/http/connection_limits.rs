//! What a connection may cost.

use std::time::Duration;

use crate::http::body::BodyLimits;

/// Limits on what a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From a request's first byte, or from the connection's start, to its last header (contract, ruling 19).
    pub headers_within: Duration,
    /// Bytes of request line and headers. Above, the answer is 431. A connection holds as much while they arrive, and
    /// under 24 KiB in all (contract, ruling 45; 18.5 KiB of resident memory as measured with 3,000).
    pub header_bytes: usize,
    /// Between two requests. Longer than the 60 s that load balancers keep a connection, so that they close it first,
    /// and none of their requests meets a closed one.
    pub idle_within: Duration,
    /// How long a client may stop reading a response.
    pub stalled_within: Duration,
    /// Open at once. Further ones wait in the listener's queue.
    pub connections: usize,
    /// Open at once from one address. Further ones are closed when they are accepted. As many as `connections`: one
    /// address may hold everything.
    pub connections_of_one: usize,
    /// How long a connection without a request stays open after the stop signal, for one that is on its way. Longer than
    /// most round trips. A connection in use has its next request by then, and is told to close.
    pub late_within: Duration,
    /// Between the stop signal and the end of the last request. Under P12's 25 s.
    pub drain_within: Duration,
    pub body: BodyLimits,
}

/// Each takes a descriptor and, while its head arrives, up to 24 KiB.
const MOST_CONNECTIONS: usize = 10_000;

/// Each costs 26 to 55 KB of resident memory, as measured with 1,000.
const MOST_WAITING_BODIES: usize = 1_000;

impl Limits {
    /// The limits of a process that may open this many files, of which connections take half at most: the rest is for
    /// the engines, the ops port and the signing keys. One address takes `of_one` connections (0: any number), and half
    /// of all at most.
    pub fn of(open_files: usize, of_one: usize) -> Self {
        let connections = MOST_CONNECTIONS.min(open_files / 2).max(2);
        let connections_of_one =
            if of_one == 0 { connections } else { of_one.min(connections / 2) };
        Self { connections, connections_of_one, ..Self::default() }
    }

    /// How many of the connections may be event streams: half, so that waiting streams never shut out sign-ins.
    pub fn streams(&self) -> usize {
        self.connections / 2
    }

    /// How many requests may wait for more of their bodies at once: half of the connections at most.
    pub fn waiting_bodies(&self) -> usize {
        MOST_WAITING_BODIES.min(self.connections / 2).max(2)
    }

    /// How many of them may be one address's: a sixteenth. A /48 may hold ten times as much as an address, and must not
    /// hold all. Any number where connections are not counted by address.
    pub fn waiting_bodies_of_one(&self) -> usize {
        let is_counted = self.connections_of_one < self.connections;
        if is_counted { (self.waiting_bodies() / 16).max(1) } else { usize::MAX }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_within: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            idle_within: Duration::from_secs(75),
            stalled_within: Duration::from_secs(30),
            connections: MOST_CONNECTIONS,
            connections_of_one: 100,
            late_within: Duration::from_secs(1),
            drain_within: Duration::from_secs(20),
            body: BodyLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f06_connections_take_half_of_the_descriptors_and_one_address_half_of_those() {
        for (open_files, of_one, wanted) in [
            (1_048_576, 100, (10_000, 100)),
            (1_024, 100, (512, 100)),
            (256, 100, (128, 64)),
            (256, 0, (128, 128)),
            (256, 20, (128, 20)),
            (1, 100, (2, 1)),
        ] {
            let limits = Limits::of(open_files, of_one);
            assert_eq!((limits.connections, limits.connections_of_one), wanted, "{open_files}");
        }
    }

    #[test]
    fn f06_bodies_wait_in_half_of_the_connections_and_one_address_in_a_sixteenth_of_those() {
        for (open_files, of_one, wanted) in [
            (1_048_576, 100, (1_000, 62)),
            (1_024, 100, (256, 16)),
            (1_024, 0, (256, usize::MAX)),
            (256, 20, (64, 4)),
            (1, 100, (2, 1)),
        ] {
            let limits = Limits::of(open_files, of_one);
            let bodies = (limits.waiting_bodies(), limits.waiting_bodies_of_one());
            assert_eq!(bodies, wanted, "{open_files}");
        }
    }
}
