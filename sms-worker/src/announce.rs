//! Reports the status of texts: as an event to otp-worker and as a metric to the operator.

use bus::consumer::Failure;
use bus::{Bus, PublishError};
use domain::clock::Clock;
use domain::event::{Envelope, SmsStatus};
use ledger::{MessageState, Transition};
use service::delivery::Connections;

/// Publishes statuses, each in the trace (W3C `traceparent`) that led to it.
pub struct Announcer {
    bus: Bus,
    clock: Clock,
}

impl Announcer {
    pub fn of(engines: &Connections) -> Self {
        Self { bus: engines.bus.clone(), clock: engines.clock.clone() }
    }

    /// Publishes the state of a message. A redelivery publishes it again: the event is applied by rank, so a duplicate
    /// is harmless, while a lost event would leave the requester waiting.
    pub(crate) async fn announce(
        &self,
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
        Ok(self.publish(status, trace).await?)
    }

    /// Returns once the broker has confirmed the event.
    pub(crate) async fn publish(
        &self,
        status: SmsStatus,
        trace: Option<&str>,
    ) -> Result<(), PublishError> {
        let trace = trace.map(str::to_owned);
        self.bus.publish(&Envelope::new(&self.clock, "sms-worker", trace, status)).await
    }
}

/// Counts a status change.
pub(crate) fn counted(moved: &Transition) {
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
