//! Reports the status of texts: as events to otp-worker and as a metric to the operator.

use std::time::Duration;

use bus::consumer::Failure;
use config::ProviderName;
use domain::event::SmsStatus;
use domain::phone::country_label;
use domain::vocabulary::Status;
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
            traceparent: traces::of_event(trace),
        };
        Ok(self.0.publish(status).await?)
    }

    /// Publishes a status that nothing depends on: it may be lost, and nobody waits for its confirm.
    pub(crate) fn mention(&self, status: SmsStatus, trace: Option<&str>) {
        drop(self.0.put(SmsStatus { traceparent: traces::of_event(trace), ..status }));
    }
}

/// Counts a status change.
pub(crate) fn counted(moved: &Transition) {
    if !moved.changed {
        return;
    }
    let MessageState { status, country, segments, .. } = &moved.message_state;
    let (provider, country) = (provider_label(moved), country_label(country));
    metrics::counter!(
        "latchkey_sms_total",
        "provider" => provider,
        "status" => status.as_str(),
        "country" => country,
    )
    .increment(1);
    if *status == Status::Sent
        && let Some(segments) = segments
    {
        let counter = metrics::counter!("latchkey_segments_total", "provider" => provider, "country" => country);
        counter.increment(u64::from(*segments));
    }
}

/// Records how long a provider took to deliver, as its receipt says. Of a message whose state was looked up nobody knows
/// when it arrived.
pub(crate) fn delivered(moved: &Transition, took_ms: i64) {
    if moved.changed && moved.message_state.status == Status::Delivered {
        let took = Duration::from_millis(took_ms.max(0).unsigned_abs());
        let provider = provider_label(moved);
        metrics::histogram!("latchkey_sent_to_delivered_seconds", "provider" => provider)
            .record(took);
    }
}

/// One of the providers of the settings, or `none`: a message that no provider took.
fn provider_label(moved: &Transition) -> &'static str {
    let name = moved.message_state.provider.as_deref().unwrap_or_default();
    name.parse().map_or("none", ProviderName::as_str)
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;
    use domain::ids::MessageId;
    use domain::vocabulary::Channel;

    use super::*;

    fn moved(provider: &str, country: &str, status: Status) -> Transition {
        let message_state = MessageState {
            message_id: MessageId::new(&Clock::manual()),
            request_id: None,
            country: country.to_owned(),
            channel: Channel::Sms,
            status,
            reason: None,
            provider: Some(provider.to_owned()),
            provider_message_id: None,
            segments: Some(2),
        };
        Transition { changed: true, message_state }
    }

    #[test]
    fn ten_thousand_countries_and_providers_of_a_forged_message_make_one_time_series() {
        let metrics = service::telemetry::metrics();
        for n in 0..10_000 {
            let sent = moved(&format!("invented{n}"), &format!("C{n}"), Status::Sent);
            counted(&sent);
            delivered(&moved(&format!("invented{n}"), "IR", Status::Delivered), 1_500);
        }
        counted(&moved("twilio", "IR", Status::Sent));
        let text = metrics.render();
        for line in [
            "latchkey_sms_total{provider=\"none\",status=\"sent\",country=\"other\"} 10000",
            "latchkey_segments_total{provider=\"none\",country=\"other\"} 20000",
            "latchkey_segments_total{provider=\"twilio\",country=\"IR\"} 2",
            "latchkey_sent_to_delivered_seconds_bucket{provider=\"none\",le=\"1\"} 0",
            "latchkey_sent_to_delivered_seconds_bucket{provider=\"none\",le=\"2.5\"} 10000",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("invented") && !text.contains("C9999"), "{text}");
    }
}
