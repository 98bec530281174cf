//! Logs, metrics, and the trace context that connects an HTTP request to the provider call.

mod logs;
mod metrics;
mod panics;

pub use logs::init;
pub use metrics::{MetricsHandle, OTP_REQUEST_OUTCOMES, OTP_VERIFICATION_OUTCOMES, metrics};
