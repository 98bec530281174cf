//! Takes code requests, stores a code and publishes its text for sms-worker.

use anyhow::Context as _;
use common::code::Code;
use common::config::UnknownPhone;
use common::event::{
    Ask, Envelope, Event as _, IsAsk, OtpRequested, Profile, Recipient, SmsRequested, Text,
};
use common::ids::{EventId, MessageId};
use common::keys::PhoneKey;
use common::otp::{AskNote, Issue, Issued, NewCode, Scope};
use common::phone::Phone;
use common::seal::Sealed;
use common::vocabulary::{Channel, Purpose, Status};
use common::worker::Failure;

use crate::OtpWorker;

impl OtpWorker {
    /// Issues a code for the request and passes its text on. Safe to repeat: the same request gets the same code and
    /// message id, so a redelivery sends no second text (P2).
    pub(crate) async fn issue<E: IsAsk>(&self, event: Envelope<E>) -> Result<(), Failure> {
        let recipient = event
            .recipient(&self.engines.keys.event)
            .map_err(|e| Failure::Permanent("forged", e))?;
        let ask = event.data.ask();
        let phone = Phone::trusted(&recipient.phone_number)
            .map_err(|e| Failure::Permanent("unreadable", e))?;
        let scope = scope_of(ask, &recipient)?;
        let phone_key = self.engines.keys.phone_key(&phone);

        let note = AskNote {
            channel: ask.channel,
            locale: ask.locale.clone(),
            profile: self.seal_profile(ask, recipient.profile.as_ref())?,
        };
        let place = Place { ask, phone: &phone, phone_key: &phone_key, scope };
        if self.blocks.covers(&phone, None, self.engines.clock.now()).is_some() {
            tracing::info!(request.id = %ask.request_id, "dropped: the number was blocked while the request waited");
            return Ok(());
        }
        if let Some(code) = self.phones.test_code(&phone, self.engines.clock.now()) {
            self.put(&place, Some(code), note).await?;
            return self.raise(ask, Status::Sent).await;
        }
        if self.gets_no_code::<E>(ask.purpose, &phone).await? {
            // To the requester, the slot behaves like one with a code in every visible way (contract, ruling 3).
            self.put(&place, None, note).await?;
            return self.raise(ask, Status::Sent).await;
        }

        let fresh = Code::random(self.config.otp.length);
        match self.put(&place, Some(&fresh), note).await? {
            Issued::Code(sealed) => {
                let code = self.open_code(&place, sealed)?;
                self.hand_on(ask, event.traceparent.clone(), &phone, &code).await?;
                if ask.channel == Channel::Sms && self.config.sms.voice_fallback_secs > 0 {
                    self.remember_to_call(&event, &recipient).await?;
                }
                self.raise(ask, Status::Issued).await
            }
            // The status becomes `expired` by itself, so that a requester cannot learn from it that somebody else
            // signed in (contract, rulings 21 and 31).
            Issued::Used | Issued::Nothing => Ok(()),
            Issued::Superseded => self.raise(ask, Status::Superseded).await,
            Issued::Expired => {
                tracing::warn!(request.id = %ask.request_id, "a code request waited past its expiry");
                self.raise(ask, Status::Expired).await
            }
        }
    }

    /// Stores a code for the request, or a slot without one, and returns what is there now.
    pub(crate) async fn put(
        &self,
        place: &Place<'_>,
        code: Option<&Code>,
        note: AskNote,
    ) -> Result<Issued, Failure> {
        let forms =
            code.map(|code| self.forms_of(place, code)).transpose().map_err(Failure::Retry)?;
        let issue = Issue {
            request_id: place.ask.request_id,
            code_id: place.ask.code_id,
            phone: place.phone_key,
            scope: place.scope,
            expires_at: place.ask.expires_at,
            code: forms
                .as_ref()
                .map(|(digest, sealed)| NewCode { digest, sealed: sealed.as_str() }),
            note,
        };
        Ok(self.engines.otps.issue(&issue).await?)
    }

    /// Returns the digest that the gateway checks and the sealed copy that a resend uses (P5).
    fn forms_of(&self, place: &Place<'_>, code: &Code) -> anyhow::Result<(String, Sealed<String>)> {
        let keys = &self.engines.keys;
        let digest = keys.code_digest(&place.scope.to_string(), place.phone, code)?;
        let sealed = keys
            .code()?
            .seal(&code.expose().to_owned(), &place.bound().each_ref().map(String::as_str))?;
        Ok((digest, sealed))
    }

    pub(crate) fn open_code(&self, place: &Place<'_>, sealed: String) -> Result<Code, Failure> {
        let open = || {
            let digits: String = self
                .engines
                .keys
                .code()?
                .open(&Sealed::from_text(sealed), &place.bound().each_ref().map(String::as_str))?;
            // A code issued before a change of LATCHKEY_OTP_LENGTH is still valid.
            let length = u8::try_from(digits.len()).context("a code of impossible length")?;
            Code::parse(&digits, length).context("a sealed value that is not a code")
        };
        open().map_err(Failure::Retry)
    }

    /// Sends the code to the phone by the request's channel; sms-worker delivers texts and calls alike.
    pub(crate) async fn hand_on(
        &self,
        ask: &Ask,
        traceparent: Option<String>,
        phone: &Phone,
        code: &Code,
    ) -> Result<(), Failure> {
        let (engines, locale) = (&self.engines, ask.locale.as_deref());
        let text = match ask.channel {
            Channel::Sms => {
                // A resend has less than the full validity left (P5). Computed from the request, so that a redelivery
                // sends the same text.
                let life_secs = (ask.expires_at.ms() - ask.requested_at.ms()) / 1000;
                self.texts.code(code, locale, life_secs)
            }
            Channel::Voice => self.texts.voice(code, locale),
        };
        let (event_id, message_id) =
            (EventId::new(&engines.clock), MessageId::of_request(ask.request_id));
        let text = Text { phone_number: phone.e164().to_owned(), text };
        let request = Some(ask.request_id);
        let sealed = SmsRequested::seal(
            &engines.keys.event,
            event_id,
            message_id,
            request,
            ask.expires_at,
            &text,
        )
        .map_err(Failure::Retry)?;
        let requested = SmsRequested {
            message_id,
            request_id: request,
            channel: ask.channel,
            country: ask.country.clone(),
            not_after: ask.expires_at,
            requested_at: Some(ask.requested_at),
            sealed,
        };
        let now = engines.clock.now();
        let envelope = Envelope::with_id(event_id, now, "otp-worker", traceparent, requested);
        Ok(engines.bus.publish(&envelope).await?)
    }

    pub(crate) async fn raise(&self, ask: &Ask, status: Status) -> Result<(), Failure> {
        self.engines.otps.raise(ask.request_id, status, None, ask.expires_at).await?;
        Ok(())
    }

    /// In `silent` mode, a request by `otp` for a phone without an account gets no code. A sign-up always gets one: it
    /// is how a phone becomes known (contract, ruling 6).
    async fn gets_no_code<E: IsAsk>(
        &self,
        purpose: Purpose,
        phone: &Phone,
    ) -> Result<bool, Failure> {
        let asks_silently = self.config.unknown_phone == UnknownPhone::Silent
            && purpose == Purpose::Login
            && E::TYPE == OtpRequested::TYPE;
        Ok(asks_silently && self.engines.db.user_by_phone(phone.e164()).await?.is_none())
    }

    /// Seals the profile under the key that the gateway shares: a login applies it.
    fn seal_profile(
        &self,
        ask: &Ask,
        profile: Option<&Profile>,
    ) -> Result<Option<Sealed<Profile>>, Failure> {
        let bound = ["profile", &ask.code_id.to_string(), &ask.request_id.to_string()];
        profile
            .map(|profile| self.engines.keys.event.seal(profile, &bound))
            .transpose()
            .map_err(Failure::Retry)
    }
}

/// The slot of a request's code.
pub(crate) struct Place<'a> {
    pub ask: &'a Ask,
    pub phone: &'a Phone,
    pub phone_key: &'a PhoneKey,
    pub scope: Scope,
}

impl Place<'_> {
    /// The context that the sealed code is bound to: it opens in no other record.
    fn bound(&self) -> [String; 4] {
        [
            "code".to_owned(),
            self.phone_key.to_string(),
            self.scope.to_string(),
            self.ask.code_id.to_string(),
        ]
    }
}

pub(crate) fn scope_of(ask: &Ask, recipient: &Recipient) -> Result<Scope, Failure> {
    match (ask.purpose, recipient.user_id) {
        (Purpose::Login, _) => Ok(Scope::Login),
        (Purpose::PhoneChange, Some(user)) => Ok(Scope::PhoneChange(user)),
        (Purpose::PhoneChange, None) => Err(Failure::Permanent(
            "unreadable",
            anyhow::anyhow!("a phone change without its user"),
        )),
    }
}
