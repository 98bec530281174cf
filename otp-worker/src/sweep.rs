//! Closes requests that expired without a final status, and reports those whose text was never sent (P1).

use std::sync::Arc;
use std::time::Duration;

use domain::vocabulary::Status;
use tokio_util::sync::CancellationToken;

use crate::OtpWorker;

const EVERY: Duration = Duration::from_secs(5);
const BATCH: u32 = 500;

pub(crate) async fn run(worker: Arc<OtpWorker>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        // The consumer already reports that Redis is away; the next turn comes soon.
        while let Ok(sweep) = worker.statuses.sweep(BATCH).await {
            for one in &sweep.closed {
                // It is normal that a sent text is not used; it is not normal that a text was never sent.
                if one.was.rank() < Status::Sent.rank() {
                    metrics::counter!("latchkey_otp_requests_total", "outcome" => "expired_unsent")
                        .increment(1);
                    tracing::warn!(request.id = %one.request_id, was = %one.was, "a request expired before its text was sent");
                }
            }
            // Most of a batch is already final: what counts is how many were examined.
            if sweep.looked_at < BATCH as usize || stop.is_cancelled() {
                break;
            }
        }
    }
}
