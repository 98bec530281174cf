//! What a process says of itself: logs, metrics and the trace context that leads from HTTP to the provider.

mod logs;
mod metrics;
mod panics;

pub use logs::{check_filter, init};
pub use metrics::{MetricsHandle, OTP_REQUEST_OUTCOMES, OTP_VERIFICATION_OUTCOMES, metrics};
