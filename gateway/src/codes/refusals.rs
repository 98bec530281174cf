//! Answers that limits give, each counted in its metric.

use accounts::{AttemptKind, Throttle};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use service::telemetry::count_refused;

use crate::codes::caller::Caller;
use crate::http::error::ApiError;

/// The answer of a limit on how often something may be done.
pub(crate) fn limited(limit: Limit, retry_after: u64) -> ApiError {
    count_refused(limit);
    match limit {
        Limit::Cooldown => ApiError::ResendTooSoon { retry_after },
        _ => ApiError::TooManyRequests { limit, retry_after: Some(retry_after) },
    }
}

/// The answer to an attempt that is not judged. It does not reveal whether the attempt was right.
pub(crate) fn throttled(throttle: Throttle, now: Timestamp) -> ApiError {
    count_check("waiting");
    count_refused(Limit::Attempts);
    let retry_after = throttle.until().map(|until| until.secs_from(now).max(1));
    ApiError::TooManyRequests { limit: Limit::Attempts, retry_after }
}

/// Counts the outcome of a check.
pub(crate) fn count_check(outcome: &'static str) {
    metrics::counter!("latchkey_otp_verifications_total", "outcome" => outcome).increment(1);
}

/// Leaves a trace of a refused attempt at a code or password (contract, ruling 43; ASVS 16.3.1): a line and a metric. The
/// line names the phone by a part of its key and the address by its network.
pub(crate) fn trace_refused<T>(
    answer: Result<T, ApiError>,
    kind: AttemptKind,
    phone: &PhoneKey,
    caller: &Caller,
) -> Result<T, ApiError> {
    if let Err(error) = &answer
        && let Some(outcome) = refused(error)
    {
        let kind = kind.as_str();
        metrics::counter!("latchkey_attempts_refused_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
        let (phone, ip) = (phone.cut(), caller.ip.cut());
        tracing::info!(kind, outcome, phone, ip, "attempt refused");
    }
    answer
}

/// How an attempt was refused; `None` if it was not judged for another reason.
const fn refused(error: &ApiError) -> Option<&'static str> {
    match error {
        ApiError::OtpIncorrect { .. } | ApiError::InvalidCredentials => Some("wrong"),
        ApiError::OtpAttemptsExhausted { .. } => Some("exhausted"),
        ApiError::TooManyRequests { limit: Limit::Attempts, .. } => Some("waiting"),
        ApiError::TooManyRequests { limit: Limit::LoginsIp, .. } => Some("address"),
        ApiError::IdempotencyKeyReused => Some("key_reused"),
        ApiError::AccountBlocked => Some("blocked"),
        _ => None,
    }
}
