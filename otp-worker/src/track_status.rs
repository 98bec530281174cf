//! Turns sms-worker's reports on a text into the status that the requester sees.

use bus::consumer::Failure;
use domain::event::{Envelope, SmsStatus};

use crate::OtpWorker;

impl OtpWorker {
    /// Advances the request's status by rank, so duplicate and reordered reports change nothing.
    pub(crate) async fn track(&self, event: &Envelope<SmsStatus>) -> Result<(), Failure> {
        let report = &event.data;
        // A notice was not requested by a client, so there is no request to update.
        let Some(request) = report.request_id else { return Ok(()) };
        // Only for a record that was lost: a request lives no longer than a code.
        let expires_at = domain::timestamp::Timestamp::from_ms(request.made_at_ms())
            .plus_secs(self.config.otp.ttl_secs);
        self.statuses.advance(request, report.status, report.reason, expires_at).await?;
        Ok(())
    }
}
