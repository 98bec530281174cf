//! Turns sms-worker's reports on texts into the statuses that the requesters see.

use anyhow::anyhow;
use bus::consumer::Failure;
use domain::event::{ListedStatus, MOST_STATUSES, SmsStatus};
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use domain::vocabulary::Status;
use store::Raise;

use crate::OtpWorker;

/// How far the time in a request's id may be ahead of this host's clock. Hosts differ by hours at most, and a record is
/// kept until its request expires.
const MOST_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

impl OtpWorker {
    /// Advances the requests' statuses by rank, so duplicate and reordered reports change nothing.
    ///
    /// Reports are not sealed (contract, section 4): only what a delivery can say is believed. One that is not believed
    /// sets its event aside, after the others of the event were applied (P11).
    pub(crate) async fn track(
        &self,
        reports: impl IntoIterator<Item = ListedStatus>,
    ) -> Result<(), Failure> {
        let (mut raises, mut refused) = (Vec::new(), Ok(()));
        for report in reports {
            match self.believed(report) {
                Ok(raise) => raises.extend(raise),
                Err(failure) => refused = refused.and(Err(failure)),
            }
        }
        let mut raised = Ok(());
        // An event of ours has no more. One of somebody else's must not hold up the store.
        for together in raises.chunks(MOST_STATUSES) {
            raised = raised.and(self.raise_together(together).await);
        }
        raised.and(refused)
    }

    async fn raise_together(&self, raises: &[Raise]) -> Result<(), Failure> {
        match self.statuses.raise_many(raises).await {
            Err(error) if !error.is_away() && raises.len() > 1 => {}
            raised => return Ok(raised.map(drop)?),
        }
        // One of them is bad, and must not harm the others (P11).
        let mut all = Ok(());
        for raise in raises {
            all = all.and(self.statuses.raise_many(&[*raise]).await.map(drop));
        }
        Ok(all?)
    }

    /// What a report says of a request; `None` if it says nothing.
    fn believed(&self, report: ListedStatus) -> Result<Option<Raise>, Failure> {
        let ListedStatus::Read(report) = report else {
            return Err(Failure::Permanent("unreadable", anyhow!("a status among others")));
        };
        let SmsStatus { request_id, status, reason, traceparent, .. } = report;
        // The event continues one of their traces.
        if let Some(trace) = traceparent.as_deref().and_then(TraceContext::from_header) {
            traces::link(&trace);
        }
        // A notice was not requested by a client, so there is no request to update.
        let Some(request_id) = request_id else { return Ok(None) };
        match status {
            Status::Sending
            | Status::Sent
            | Status::Delivered
            | Status::Undelivered
            | Status::Failed => {}
            // Nobody wanted the text any more: the request expires by itself (ruling 31).
            Status::Expired => return Ok(None),
            Status::Accepted | Status::Issued | Status::Verified | Status::Superseded => {
                return Err(Failure::Permanent("forged", anyhow!("a text cannot be {status}")));
            }
        }
        let made_at = Timestamp::from_ms(request_id.made_at_ms());
        if made_at.ms() > self.engines.clock.now_ms() + MOST_AHEAD_MS {
            let cause = anyhow!("a report on a request that is more than a day ahead");
            return Err(Failure::Permanent("forged", cause));
        }
        // Only for a record that was lost: a request lives no longer than a code.
        let expires_at = made_at.plus_secs(self.config.otp.ttl_secs);
        Ok(Some(Raise { request_id, status, reason, expires_at }))
    }
}
