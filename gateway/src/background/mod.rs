//! What goes on beside the requests.

pub mod figures;
pub mod gauges;
pub mod load;
pub mod outbox;
