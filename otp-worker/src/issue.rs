//! Takes code requests, stores a code and publishes its text for sms-worker.

use anyhow::Context as _;
use bus::consumer::Failure;
use config::UnknownPhone;
use domain::code::Code;
use domain::event::{
    CarriesCodeRequest, CodeRequest, Envelope, Event as _, OtpRequested, Profile, Recipient,
    SmsRequested, Text,
};
use domain::ids::MessageId;
use domain::keys::PhoneKey;
use domain::phone::E164;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use domain::vocabulary::{Channel, Purpose, Status};
use store::{Issue, Issued, NewCode, RequestNote, Scope};

use crate::OtpWorker;

impl OtpWorker {
    /// Issues a code for the request and passes its text on. Safe to repeat: the same request gets the same code and
    /// message id, so a redelivery sends no second text (P2).
    pub(crate) async fn issue<E: CarriesCodeRequest>(
        &self,
        event: Envelope<E>,
    ) -> Result<(), Failure> {
        let recipient =
            event.recipient(&self.engines.keys).map_err(|e| Failure::Permanent("forged", e))?;
        let code_request = event.data.code_request();
        let phone = &recipient.phone_number;
        let scope = scope_of(code_request, &recipient)?;
        let phone_key = self.engines.keys.phone_key(phone);

        let note = RequestNote {
            channel: code_request.channel,
            locale: code_request.locale.clone(),
            profile: self.seal_profile(code_request, recipient.profile.as_ref())?,
            trace: recorded(event.traceparent.as_deref()),
        };
        let slot = Slot { code_request, phone, phone_key: &phone_key, scope };
        if self
            .blocks
            .covers(phone, &code_request.country, None, self.engines.clock.now())
            .is_some()
        {
            tracing::info!(request.id = %code_request.request_id, "dropped: the number was blocked while the request waited");
            return Ok(());
        }
        if let Some(code) = self.phones.test_code(phone, self.engines.clock.now()) {
            return match self.put(&slot, Wanted::Code(code), Status::Sent, note).await? {
                Issued::Code(_) => Ok(()),
                _ => self.advance_status(code_request, Status::Sent).await,
            };
        }
        let is_silent = self.gets_no_code::<E>(code_request.purpose, phone).await?;
        let fresh = Code::random(self.config.otp.length);
        // In silent mode a request for an unknown phone goes the same way in the same order, so that neither its status
        // nor the time of its status reveals it (contract, ruling 46).
        let (wanted, status) = if is_silent {
            (Wanted::Slot, Status::Sent)
        } else {
            (Wanted::Code(&fresh), Status::Issued)
        };
        let code = match self.put(&slot, wanted, status, note).await? {
            Issued::Code(_) | Issued::Nothing if is_silent => fresh,
            Issued::Code(sealed) => self.open_code(&slot, sealed)?,
            // The status becomes `expired` by itself, so that a requester cannot learn from it that somebody else
            // signed in (contract, rulings 21 and 31).
            Issued::Used | Issued::Nothing => return Ok(()),
            Issued::Superseded => {
                return self.advance_status(code_request, Status::Superseded).await;
            }
            Issued::Expired => {
                tracing::warn!(request.id = %code_request.request_id, "a code request waited past its expiry");
                return self.advance_status(code_request, Status::Expired).await;
            }
        };
        // The text for an unknown phone says a code that is none, and is over from the start: no sms-worker sends it (P7).
        let not_after = if is_silent { code_request.requested_at } else { code_request.expires_at };
        let text = Handed { phone, code: &code, not_after };
        // The status says that the code exists. Should the process end here, the text follows by redelivery.
        self.hand_on(code_request, event.traceparent.clone(), text).await?;
        if code_request.channel == Channel::Sms && self.config.sms.voice_fallback_secs > 0 {
            self.remember_to_call(&event, &recipient).await?;
        }
        Ok(())
    }

    /// Stores what the request wants, and returns what is there now. If it got that, its status becomes `status` in the
    /// same act.
    pub(crate) async fn put(
        &self,
        slot: &Slot<'_>,
        wanted: Wanted<'_>,
        status: Status,
        note: RequestNote,
    ) -> Result<Issued, Failure> {
        let forms = match wanted {
            Wanted::Code(code) => Some(self.forms_of(slot, code).map_err(Failure::Retry)?),
            Wanted::Slot | Wanted::CodeOfOthers => None,
        };
        let issue = Issue {
            request_id: slot.code_request.request_id,
            code_id: slot.code_request.code_id,
            phone: slot.phone_key,
            scope: slot.scope,
            expires_at: slot.code_request.expires_at,
            code: forms
                .as_ref()
                .map(|(digest, sealed)| NewCode { digest, sealed: sealed.as_str() }),
            note,
            status,
            status_without_code: matches!(wanted, Wanted::Slot).then_some(status),
        };
        Ok(self.codes.issue(&issue).await?)
    }

    /// Returns the digest that the gateway checks and the sealed copy that a resend uses (P5).
    fn forms_of(&self, slot: &Slot<'_>, code: &Code) -> anyhow::Result<(String, Sealed<String>)> {
        let keys = &self.engines.keys;
        let digest = keys.code_digest(&slot.scope.to_string(), slot.phone, code)?;
        let sealed = keys.code()?.seal(&code.expose().to_owned(), &slot.bound())?;
        Ok((digest, sealed))
    }

    pub(crate) fn open_code(&self, slot: &Slot<'_>, sealed: String) -> Result<Code, Failure> {
        let open = || {
            let digits: String =
                self.engines.keys.code()?.open(&Sealed::from_text(sealed), &slot.bound())?;
            // A code issued before a change of LATCHKEY_OTP_LENGTH is still valid.
            let length = u8::try_from(digits.len()).context("a code of impossible length")?;
            Code::parse(&digits, length).context("a sealed value that is not a code")
        };
        open().map_err(Failure::Retry)
    }

    /// Sends the code to the phone by the request's channel; sms-worker delivers texts and calls alike.
    pub(crate) async fn hand_on(
        &self,
        code_request: &CodeRequest,
        traceparent: Option<String>,
        Handed { phone, code, not_after }: Handed<'_>,
    ) -> Result<(), Failure> {
        let (engines, locale) = (&self.engines, code_request.locale.as_deref());
        let text = match code_request.channel {
            Channel::Sms => {
                // A resend has less than the full validity left (P5). Computed from the request, so that a redelivery
                // sends the same text.
                let life_secs =
                    (code_request.expires_at.ms() - code_request.requested_at.ms()) / 1000;
                self.texts.code(code, locale, life_secs)
            }
            Channel::Voice => self.texts.voice(code, locale),
        };
        let text = Text { phone_number: phone.clone(), text, of_deleted: false };
        let requested = SmsRequested {
            message_id: MessageId::of_request(code_request.request_id),
            request_id: Some(code_request.request_id),
            channel: code_request.channel,
            country: code_request.country.clone(),
            not_after,
            requested_at: Some(code_request.requested_at),
            sealed: Sealed::none(),
        };
        let (keys, clock) = (&engines.keys, &engines.clock);
        let envelope = Envelope::<SmsRequested>::sealing(
            keys,
            clock,
            "otp-worker",
            traceparent,
            requested,
            &text,
        )
        .map_err(Failure::Retry)?;
        Ok(engines.bus.publish(&envelope).await?)
    }

    pub(crate) async fn advance_status(
        &self,
        code_request: &CodeRequest,
        status: Status,
    ) -> Result<(), Failure> {
        self.statuses
            .advance(code_request.request_id, status, None, code_request.expires_at)
            .await?;
        Ok(())
    }

    /// In `silent` mode, a request by `otp` for a phone without an account gets no code. A sign-up always gets one: it
    /// is how a phone becomes known (contract, ruling 6).
    async fn gets_no_code<E: CarriesCodeRequest>(
        &self,
        purpose: Purpose,
        phone: &E164,
    ) -> Result<bool, Failure> {
        let is_silent = self.config.unknown_phone == UnknownPhone::Silent
            && purpose == Purpose::Login
            && E::TYPE == OtpRequested::TYPE;
        Ok(is_silent && !self.directory.knows(phone).await?)
    }

    /// Seals the profile under the key that the gateway shares: a login applies it.
    fn seal_profile(
        &self,
        code_request: &CodeRequest,
        profile: Option<&Profile>,
    ) -> Result<Option<Sealed<Profile>>, Failure> {
        let bound =
            ["profile", &code_request.code_id.to_string(), &code_request.request_id.to_string()];
        profile
            .map(|profile| self.engines.keys.event.seal(profile, &bound))
            .transpose()
            .map_err(Failure::Retry)
    }
}

/// The trace that a request began, for the sign-in by its code, if it is recorded.
fn recorded(traceparent: Option<&str>) -> Option<String> {
    let trace = traceparent.and_then(TraceContext::from_header)?;
    (traces::is_on() && trace.is_sampled()).then(|| trace.to_header())
}

/// What a request wants of its slot.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// This code, or the one that is there.
    Code(&'a Code),
    /// The slot alone: for a phone that gets no code in `silent` mode.
    Slot,
    /// The code that another request brought.
    CodeOfOthers,
}

/// A code that is handed on to sms-worker.
pub(crate) struct Handed<'a> {
    pub phone: &'a E164,
    pub code: &'a Code,
    pub not_after: Timestamp,
}

/// The slot of a request's code.
pub(crate) struct Slot<'a> {
    pub code_request: &'a CodeRequest,
    pub phone: &'a E164,
    pub phone_key: &'a PhoneKey,
    pub scope: Scope,
}

impl Slot<'_> {
    /// The context that the sealed code is bound to: it opens in no other record.
    fn bound(&self) -> [String; 4] {
        [
            "code".to_owned(),
            self.phone_key.to_string(),
            self.scope.to_string(),
            self.code_request.code_id.to_string(),
        ]
    }
}

pub(crate) fn scope_of(
    code_request: &CodeRequest,
    recipient: &Recipient,
) -> Result<Scope, Failure> {
    match (code_request.purpose, recipient.user_id) {
        (Purpose::Login, _) => Ok(Scope::Login),
        (Purpose::PhoneChange, Some(user)) => Ok(Scope::PhoneChange(user)),
        (Purpose::PhoneChange, None) => Err(Failure::Permanent(
            "unreadable",
            anyhow::anyhow!("a phone change without its user"),
        )),
    }
}
