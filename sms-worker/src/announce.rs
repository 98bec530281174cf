//! Reports the status of texts: as events to otp-worker and as a metric to the operator.

use bus::consumer::Failure;
use domain::event::SmsStatus;
use domain::trace_context::TraceContext;
use ledger::{MessageState, Transition};
use service::delivery::Connections;

use self::group::Group;

mod group;

/// Publishes statuses, those that come together in one event. Clones share what waits.
#[derive(Clone)]
pub struct Announcer(Group);

impl Announcer {
    pub fn of(engines: &Connections) -> Self {
        Self(Group::new(engines.bus.clone(), engines.clock.clone()))
    }

    /// Publishes the state of a message, and returns once the broker has confirmed it. A redelivery publishes it again:
    /// the event is applied by rank, so a duplicate is harmless, while a lost event would leave the requester waiting.
    ///
    /// `trace` is the W3C `traceparent` that led to it.
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
            traceparent: trace_of(trace),
        };
        Ok(self.0.publish(status).await?)
    }

    /// Publishes a status that nothing depends on: it may be lost, and nobody waits for its confirm.
    pub(crate) fn mention(&self, status: SmsStatus, trace: Option<&str>) {
        drop(self.0.put(SmsStatus { traceparent: trace_of(trace), ..status }));
    }
}

/// A trace that is none is left out: whoever may write to the broker chooses it, and its length.
fn trace_of(trace: Option<&str>) -> Option<String> {
    trace
        .filter(|trace| TraceContext::from_header(trace).is_some() && trace.len() <= 64)
        .map(str::to_owned)
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
