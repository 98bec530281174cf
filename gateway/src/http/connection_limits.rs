//! What a connection may cost.

use std::time::Duration;

use crate::http::body::BodyLimits;

/// Limits on what a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From a request's first byte, or from the connection's start, to its last header (contract, ruling 19).
    pub headers_within: Duration,
    /// Bytes of request line and headers. Above, the answer is 431. A connection holds twice as much while they arrive,
    /// and clients may hold many connections open that way: 2,000 hold 128 MiB.
    pub header_bytes: usize,
    /// Between two requests. Longer than the 60 s that load balancers keep a connection, so that they close it first,
    /// and none of their requests meets a closed one.
    pub idle_within: Duration,
    /// How long a client may stop reading a response.
    pub stalled_within: Duration,
    /// Open at once. Further ones wait in the listener's queue.
    pub connections: usize,
    /// Between the stop signal and the end of the last request. Under P12's 25 s.
    pub drain_within: Duration,
    pub body: BodyLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_within: Duration::from_secs(10),
            header_bytes: 32 * 1024,
            idle_within: Duration::from_secs(75),
            stalled_within: Duration::from_secs(30),
            connections: 10_000,
            drain_within: Duration::from_secs(20),
            body: BodyLimits::default(),
        }
    }
}
