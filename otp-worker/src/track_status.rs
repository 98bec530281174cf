//! Turns sms-worker's reports on a text into the status that the requester sees.

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::event::{Envelope, SmsStatus};
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;

use crate::OtpWorker;

/// How far the time in a request's id may be ahead of this host's clock. Hosts differ by hours at most, and a record is
/// kept until its request expires.
const MOST_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

impl OtpWorker {
    /// Advances the request's status by rank, so duplicate and reordered reports change nothing.
    ///
    /// Reports are not sealed (contract, section 4): only what a delivery can say is believed.
    pub(crate) async fn track(&self, event: &Envelope<SmsStatus>) -> Result<(), Failure> {
        let report = &event.data;
        // A notice was not requested by a client, so there is no request to update.
        let Some(request) = report.request_id else { return Ok(()) };
        match report.status {
            Status::Sending
            | Status::Sent
            | Status::Delivered
            | Status::Undelivered
            | Status::Failed => {}
            // Nobody wanted the text any more: the request expires by itself (ruling 31).
            Status::Expired => return Ok(()),
            Status::Accepted | Status::Issued | Status::Verified | Status::Superseded => {
                let cause = anyhow!("a text cannot be {}", report.status);
                return Err(Failure::Permanent("forged", cause));
            }
        }
        let made_at = Timestamp::from_ms(request.made_at_ms());
        if made_at.ms() > self.engines.clock.now_ms() + MOST_AHEAD_MS {
            let cause = anyhow!("a report on a request that is more than a day ahead");
            return Err(Failure::Permanent("forged", cause));
        }
        // Only for a record that was lost: a request lives no longer than a code.
        let expires_at = made_at.plus_secs(self.config.otp.ttl_secs);
        self.statuses.advance(request, report.status, report.reason, expires_at).await?;
        Ok(())
    }
}
