//! Reports the status of texts: as an event to otp-worker and as a metric to the operator.

use common::db::ledger::{Moved, Standing};
use common::event::SmsStatus;
use common::worker::Failure;

use crate::ports::Publish;

/// Publishes the status of a message. A redelivery publishes it again: the event is applied by rank, so a duplicate is
/// harmless, while a lost event would leave the requester waiting.
pub async fn announce(
    publish: &Publish,
    standing: &Standing,
    trace: Option<&str>,
) -> Result<(), Failure> {
    let status = SmsStatus {
        message_id: standing.message_id,
        request_id: standing.request_id,
        status: standing.status,
        reason: standing.reason,
        provider: standing.provider.clone().unwrap_or_else(|| "none".to_owned()),
        provider_message_id: standing.provider_message_id.clone(),
        segments: standing.segments,
    };
    Ok(publish(status, trace.map(str::to_owned)).await?)
}

/// Counts a status change.
pub fn counted(moved: &Moved) {
    if !moved.changed {
        return;
    }
    let Standing { provider, status, country, .. } = &moved.standing;
    metrics::counter!(
        "latchkey_sms_total",
        "provider" => provider.clone().unwrap_or_else(|| "none".to_owned()),
        "status" => status.as_str(),
        "country" => country.clone(),
    )
    .increment(1);
}
