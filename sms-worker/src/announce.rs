//! Telling how texts fare: as an event to otp-worker and as a count to the operator.

use bus::consumer::Failure;
use domain::event::SmsStatus;
use ledger::{Moved, Standing};

use crate::ports::Publish;

/// Publishes how a message stands. Done again after a redelivery: the event goes by rank, so a repetition is harmless,
/// and one that was lost would leave its asker waiting.
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

/// Counts a change of state.
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
