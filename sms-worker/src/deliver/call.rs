//! The third step: hands the text to the provider.

use std::time::Duration;

use domain::event::SmsStatus;
use domain::ids::AttemptId;
use domain::speech::SpeechText;
use domain::trace_context::TraceContext;
use domain::vocabulary::{Channel, Status};
use url::Url;

use super::reserve::Reservation;
use super::{Job, SendSms};
use crate::providers::{Attempt, Provider, Reply, safe_words};

/// `sending` is published only if it lasts long enough to be seen: most providers answer sooner, and an event that
/// `sent` overtakes at once would double the messages of every text.
const SENDING_AFTER: Duration = Duration::from_millis(300);

impl SendSms {
    pub(super) async fn call(&self, job: &Job<'_>, reservation: &Reservation<'_>) -> Reply {
        let (message, provider) = (&job.message, &reservation.permit.provider.provider);
        let said = said(message.channel, job.text);
        let span = provider.calling();
        let attempt = Attempt {
            attempt_id: reservation.attempt_id,
            message_id: message.message_id,
            request_id: message.request_id,
            channel: message.channel,
            to: message.phone_number,
            text: said.text,
            language: said.language,
            not_after: message.not_after,
            now: self.clock.now(),
            status_callback: self.callback(provider, reservation.attempt_id, span.context()),
            number: reservation.number,
            trace: job.trace,
        };
        let mut call = std::pin::pin!(provider.send(&span, &attempt));
        let reply = match tokio::time::timeout(SENDING_AFTER, &mut call).await {
            Ok(reply) => reply,
            Err(_) => {
                self.mention_sending(job, provider);
                call.await
            }
        };
        safe_words::checked(reply, &self.keys, provider, &attempt)
    }

    /// Nothing depends on this status, so it may be lost.
    fn mention_sending(&self, job: &Job<'_>, provider: &Provider) {
        let sending = SmsStatus {
            message_id: job.message.message_id,
            request_id: job.message.request_id,
            status: Status::Sending,
            reason: None,
            provider: provider.name().to_owned(),
            provider_message_id: None,
            segments: None,
            traceparent: None,
        };
        self.announcer.mention(sending, job.trace);
    }

    /// Where the receipts of this attempt go. While the call's trace is recorded, the address names it: whatever gateway
    /// takes a receipt, and however late, links it to the text (contract, ruling 73).
    fn callback(
        &self,
        provider: &Provider,
        attempt: AttemptId,
        trace: Option<TraceContext>,
    ) -> Option<Url> {
        // Only Twilio's receipts can be verified: the webhook knows no other signature.
        if !matches!(provider, Provider::Twilio(_)) {
            return None;
        }
        let mut url = self.public_url.clone()?;
        let id = attempt.to_string();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["webhooks", "twilio", "status", &id]);
        url.set_query(trace.map(|trace| format!("trace={}", trace.to_header())).as_deref());
        url.set_fragment(None);
        Some(url)
    }
}

/// Splits off the language, which only a call's text carries.
fn said(channel: Channel, text: &str) -> SpeechText<'_> {
    match channel {
        Channel::Voice => SpeechText::read(text),
        Channel::Sms => SpeechText { language: None, text },
    }
}
