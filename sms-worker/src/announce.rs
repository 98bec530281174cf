//! Reports the status of texts: as an event to otp-worker and as a metric to the operator.

use bus::consumer::Failure;
use domain::event::SmsStatus;
use ledger::{MessageState, Transition};

use crate::ports::Publish;

/// Publishes the status of a message. A redelivery publishes it again: the event is applied by rank, so a duplicate is
/// harmless, while a lost event would leave the requester waiting.
pub async fn announce(
    publish: &Publish,
    message_state: &MessageState,
    trace: Option<&str>,
) -> Result<(), Failure> {
    let status = SmsStatus {
        message_id: message_state.message_id,
        request_id: message_state.request_id,
        status: message_state.status,
        reason: message_state.reason,
        provider: message_state.provider.clone().unwrap_or_else(|| "none".to_owned()),
        provider_message_id: message_state.provider_message_id.clone(),
        segments: message_state.segments,
    };
    Ok(publish(status, trace.map(str::to_owned)).await?)
}

/// Counts a status change.
pub fn counted(moved: &Transition) {
    if !moved.changed {
        return;
    }
    let MessageState { provider, status, country, .. } = &moved.message_state;
    metrics::counter!(
        "latchkey_sms_total",
        "provider" => provider.clone().unwrap_or_else(|| "none".to_owned()),
        "status" => status.as_str(),
        "country" => country.clone(),
    )
    .increment(1);
}
