//! Failed attempts over many phones: one guess at each of many numbers exceeds no limit of a number (contract, ruling 41).

use domain::event::{AttemptsSuspicious, Envelope};
use domain::keys::PhoneKey;
use store::{FAILURE_WINDOW_SECS, SuspiciousFailures};

use crate::app::App;
use crate::codes::caller::Caller;
use crate::http::error::ApiError;

/// Counts a judged attempt that failed against the ranges of its address. An answer of another kind counts nothing.
pub(crate) async fn note_failure(app: &App, caller: &Caller, phone: &PhoneKey, answer: &ApiError) {
    if !matches!(answer, ApiError::OtpIncorrect { .. } | ApiError::InvalidCredentials) {
        return;
    }
    match app.limits.note_failure(&app.failure_ranges(caller.ip), phone).await {
        Ok(None) => {}
        // In a task of its own: the answer must not wait for the broker.
        Ok(Some(found)) => drop(tokio::spawn(report(app.clone(), found))),
        // The attempt itself is counted and answered.
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "a failed attempt is not counted for its address"
            );
        }
    }
}

async fn report(app: App, SuspiciousFailures { failures, phones }: SuspiciousFailures) {
    metrics::counter!("latchkey_attempts_suspicious_total").increment(1);
    let (window_secs, clock) = (FAILURE_WINDOW_SECS, &app.engines.clock);
    tracing::warn!(failures, phones, window_secs, "attempts fail at suspiciously many phones");
    let data = AttemptsSuspicious { at: clock.now(), window_secs, failures, phones };
    let envelope = Envelope::new(clock, "gateway", None, data);
    if let Err(error) = app.engines.bus.publish(&envelope).await {
        tracing::warn!(error = %error, "suspicious attempts not published as an event");
    }
}
