//! Closes requests that are past their expiry and reached no end, and says so: each is a promise kept late (P1).

use std::sync::Arc;
use std::time::Duration;

use domain::vocabulary::Status;
use tokio_util::sync::CancellationToken;

use crate::OtpWorker;

const EVERY: Duration = Duration::from_secs(5);
const BATCH: u32 = 500;

pub(crate) async fn run(worker: Arc<OtpWorker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        // Redis away is told by the consumer already; the next turn comes soon.
        while let Ok(sweep) = worker.engines.store.sweep(BATCH).await {
            for one in &sweep.closed {
                // A text that was sent and not used is everyday life; one that never left is not.
                if one.was.rank() < Status::Sent.rank() {
                    metrics::counter!("latchkey_otp_requests_total", "outcome" => "expired_unsent")
                        .increment(1);
                    tracing::warn!(request.id = %one.request_id, was = %one.was, "a request expired before its text was sent");
                }
            }
            // Most of a batch has its end already: what counts is how many were looked at.
            if sweep.looked_at < BATCH as usize || stop.is_cancelled() {
                break;
            }
        }
    }
}
