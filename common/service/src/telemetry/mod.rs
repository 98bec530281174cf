//! Logs, metrics, and the trace context that connects an HTTP request to the provider call.

pub mod catalogue;
mod logs;
mod metrics;
mod panics;
mod refusals;
pub(crate) mod spans;

pub use logs::init;
pub use metrics::{MetricsHandle, metrics};
pub use refusals::{count_refused, refused};
