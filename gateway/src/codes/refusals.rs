//! Answers that limits give, each counted in its metric.

use accounts::Throttle;
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;

use crate::http::error::ApiError;

/// The answer of a limit on how often something may be done.
pub(crate) fn limited(limit: Limit, retry_after: u64) -> ApiError {
    metrics::counter!("latchkey_limited_total", "limit" => limit.as_str()).increment(1);
    match limit {
        Limit::Cooldown => ApiError::ResendTooSoon { retry_after },
        _ => ApiError::TooManyRequests { limit, retry_after: Some(retry_after) },
    }
}

/// The answer to an attempt that is not judged. It does not reveal whether the attempt was right.
pub(crate) fn throttled(throttle: Throttle, now: Timestamp) -> ApiError {
    count_check("waiting");
    metrics::counter!("latchkey_limited_total", "limit" => Limit::Attempts.as_str()).increment(1);
    let retry_after = throttle.until().map(|until| until.secs_from(now).max(1));
    ApiError::TooManyRequests { limit: Limit::Attempts, retry_after }
}

/// Counts the outcome of a check.
pub(crate) fn count_check(outcome: &'static str) {
    metrics::counter!("latchkey_otp_verifications_total", "outcome" => outcome).increment(1);
}
