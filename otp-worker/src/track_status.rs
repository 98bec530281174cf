//! What sms-worker says of a text becomes the status that its asker sees.

use bus::consumer::Failure;
use domain::event::{Envelope, SmsStatus};

use crate::OtpWorker;

impl OtpWorker {
    /// Raises the request's status by rank, so that doubled and reordered reports change nothing.
    pub(crate) async fn track(&self, event: &Envelope<SmsStatus>) -> Result<(), Failure> {
        let report = &event.data;
        // A notice that no client asked for has no request to tell.
        let Some(request) = report.request_id else { return Ok(()) };
        // Only for a record that was lost: an ask lives no longer than a code.
        let expires_at = domain::timestamp::Timestamp::from_ms(request.made_at_ms())
            .plus_secs(self.config.otp.ttl_secs);
        self.engines
            .store
            .advance_status(request, report.status, report.reason, expires_at)
            .await?;
        Ok(())
    }
}
