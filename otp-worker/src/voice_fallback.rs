//! If the operator enables it, a call follows a text whose delivery stays unconfirmed.
//!
//! The event waits in the broker. When it is due, the call is a code request like any other: the same operation admits
//! it, against the budgets of phone, country, prefix and world and under the pumping guard; it joins the current code
//! and goes to sms-worker with its own message id. Only cooldown and address limits do not count: they concern the
//! requester, and a call has none. In silent mode the phone's budgets do not count either.

use std::time::Duration;

use bus::consumer::Failure;
use config::UnknownPhone;
use domain::event::{CarriesCodeRequest, CodeRequest, Envelope, OtpTexted, Recipient};
use domain::limits::Limits;
use domain::vocabulary::{Channel, Reason, Status};
use store::{Admission, Admit, Idempotency, Issued, RequestNote};

use crate::OtpWorker;
use crate::issue::{Handed, Slot, Wanted, scope_of};

/// A text with less time left is not sent (P7), and a call is not requested.
const LEAST_LIFE_MS: i64 = 10_000;

impl OtpWorker {
    /// Schedules the fallback call of a text with the broker.
    pub(crate) async fn remember_to_call<E: CarriesCodeRequest>(
        &self,
        event: &Envelope<E>,
        recipient: &Recipient,
    ) -> Result<(), Failure> {
        let engines = &self.engines;
        // A call needs no profile: the code's requests keep it.
        let recipient = Recipient { profile: None, ..recipient.clone() };
        let (keys, clock) = (&engines.keys, &engines.clock);
        // The call is due from here. The seal covers this time, but not the event's own.
        let request =
            CodeRequest { requested_at: clock.now(), ..event.data.code_request().clone() };
        let trace = event.traceparent.clone();
        let envelope =
            Envelope::<OtpTexted>::sealing(keys, clock, "otp-worker", trace, request, &recipient)
                .map_err(Failure::Retry)?;
        Ok(engines.bus.publish(&envelope).await?)
    }

    /// Calls if the text's time is up and its delivery is unconfirmed. Safe to repeat: the same request makes the same
    /// call, and a code makes at most one, however many requests share it.
    pub(crate) async fn fall_back(&self, event: &Envelope<OtpTexted>) -> Result<(), Failure> {
        let (texted, after_secs) = (event.data.code_request(), self.config.sms.voice_fallback_secs);
        if after_secs == 0 {
            // Disabled while the event waited.
            return Ok(());
        }
        // Before anything else in it is believed.
        let recipient =
            event.recipient(&self.engines.keys).map_err(|e| Failure::Permanent("forged", e))?;
        // Also before it is due: it waits no longer than its code lives.
        if !self.wants_a_call(texted).await? {
            return Ok(());
        }
        let now = self.engines.clock.now();
        let early_ms = texted.requested_at.plus_secs(after_secs).ms() - now.ms();
        if let Ok(early_ms @ 1..) = u64::try_from(early_ms) {
            return Err(Failure::Later(Duration::from_millis(early_ms)));
        }
        let phone = &recipient.phone_number;
        let scope = scope_of(texted, &recipient)?;
        if self.blocks.covers(phone, &texted.country, None, now).is_some() {
            return Ok(());
        }

        let call = CodeRequest {
            request_id: texted.request_id.of_its_call(),
            channel: Channel::Voice,
            requested_at: now,
            ..texted.clone()
        };
        let phone_key = self.engines.keys.phone_key(phone);
        let slot = Slot { code_request: &call, phone, phone_key: &phone_key, scope };
        if !self.admit_call(&slot).await? {
            return Ok(());
        }
        let note = RequestNote {
            channel: call.channel,
            locale: call.locale.clone(),
            profile: None,
            trace: None,
        };
        let put = self.put(&slot, Wanted::CodeOfOthers, Status::Issued, note).await?;
        let Issued::Code(sealed) = put else { return Ok(()) };
        let code = self.open_code(&slot, sealed)?;
        let text = Handed { phone, code: &code, not_after: call.expires_at };
        self.hand_on(&call, event.traceparent.clone(), text).await
    }

    /// Whether the request is still open: its delivery unconfirmed, its code unused, and enough time left.
    async fn wants_a_call(&self, texted: &CodeRequest) -> Result<bool, Failure> {
        // Without its record, whether the code was used is unknown: better no call than one too many.
        let Some(found) = self.statuses.get(texted.request_id).await? else { return Ok(false) };
        if texted.expires_at.ms() - found.now.ms() < LEAST_LIFE_MS {
            return Ok(false);
        }
        let found = found.shown();
        let heard = match found.status {
            Status::Delivered | Status::Verified | Status::Expired | Status::Superseded => true,
            // The recipient wrote STOP: that covers calls too.
            Status::Undelivered | Status::Failed => found.reason == Some(Reason::RecipientOptedOut),
            Status::Accepted | Status::Issued | Status::Sending | Status::Sent => false,
        };
        Ok(!heard && self.statuses.is_wanted(texted.request_id).await?)
    }

    /// Counts the call against every budget of a code request. Returns false if a budget is exhausted, the code is no
    /// longer this one, or the code had its call.
    async fn admit_call(&self, slot: &Slot<'_>) -> Result<bool, Failure> {
        let call = slot.code_request;
        let mut limits = Limits { resend_cooldown_secs: 0, ..self.config.limits.clone() };
        if self.config.unknown_phone == UnknownPhone::Silent {
            // A known phone's text is confirmed, and no call follows; an unknown one's never is. What the call counted in
            // would tell a requester which (P6).
            (limits.sends_per_phone_hour, limits.sends_per_phone_day) = (0, 0);
        }
        let admit = self.as_code_request(slot, &limits);
        match self.codes.admit(&admit).await? {
            Admission::Admitted { .. } => Ok(true),
            Admission::Replayed(first) => Ok(first.request_id == call.request_id),
            Admission::Limited { limit, .. } => {
                service::telemetry::count_refused(limit);
                tracing::info!(request.id = %call.request_id, limit = limit.as_str(), "fallback call skipped: limit reached");
                Ok(false)
            }
            Admission::Exhausted { .. } | Admission::KeyReused | Admission::Gone => Ok(false),
        }
    }

    fn as_code_request<'a>(&'a self, slot: &Slot<'a>, limits: &'a Limits) -> Admit<'a> {
        let code_request = slot.code_request;
        Admit {
            request_id: code_request.request_id,
            new_code_id: code_request.code_id,
            only_code: Some(code_request.code_id),
            phone: slot.phone_key,
            scope: slot.scope,
            ttl_ms: self.config.otp.ttl_secs * 1000,
            attempts: self.config.otp.attempts,
            route: "call",
            // One call per code.
            idempotency: Some(Idempotency {
                key: code_request.code_id.to_string(),
                body: String::new(),
            }),
            addresses: &[],
            country: &code_request.country,
            operator_prefix: slot.phone.operator_prefix(),
            channel: code_request.channel,
            locale: code_request.locale.as_deref(),
            limits,
            guard: self.config.pumping_guard,
            asker: "",
            known_device: None,
            device: None,
            proven_passes: false,
        }
    }
}
