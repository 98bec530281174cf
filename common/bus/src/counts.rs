//! How many messages a queue has.

use serde::Serialize;

/// The messages of one queue, and those that belong to it. `None`: the engine does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// Wait for a worker.
    pub ready: Option<u32>,
    /// Are in the hands of workers.
    pub in_hand: Option<u32>,
    /// Consumers that are attached to it.
    pub consumers: Option<u32>,
    /// Wait for their retry, by delay.
    pub waiting: Vec<Waiting>,
    pub dead: Option<u32>,
}

/// The messages that wait for a retry after one delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub delay_ms: i64,
    pub messages: u32,
}
