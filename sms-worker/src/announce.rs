//! Telling how texts fare: as an event to otp-worker and as a count to the operator.

use bus::consumer::Failure;
use domain::event::SmsStatus;
use ledger::{MessageState, Transition};

use crate::ports::Publish;

/// Publishes how a message stands. Done again after a redelivery: the event goes by rank, so a repetition is harmless,
/// and one that was lost would leave its asker waiting.
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

/// Counts a change of state.
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
