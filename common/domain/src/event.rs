//! The events: past facts with versioned names, as CloudEvents 1.0 in structured JSON.
//!
//! An event's type is its routing key and schema version in one. A breaking change is a new type beside the old, never
//! an edit: old messages outlive a deploy. `tests/golden/` holds the bytes of each.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::{AttemptId, CodeId, EventId, MessageId, RequestId, SessionId, UserId};
use crate::seal::{Seal, Sealed};
use crate::timestamp::Timestamp;
use crate::vocabulary::{Channel, Purpose, Reason, Status};

/// No event is larger (design, section 4), but those that carry a provider's receipt stay far below too.
pub const MAX_BYTES: usize = 4096;
/// The media type of every message on the bus.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A past fact with a versioned name.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `<noun>.<past verb>.v<version>`: routing key and schema version in one.
    const TYPE: &'static str;
    /// Whether one of our own queues must take it. An event for anyone may find nobody listening.
    const ADDRESSED: bool;
}

macro_rules! event {
    ($name:ty, $type:literal, addressed: $addressed:literal) => {
        impl Event for $name {
            const TYPE: &'static str = $type;
            const ADDRESSED: bool = $addressed;
        }
    };
}

/// What an envelope tells without a look at its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<E> {
    specversion: SpecVersion,
    pub id: EventId,
    /// The process that says so: `/latchkey/gateway`.
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub time: Timestamp,
    datacontenttype: JsonType,
    /// W3C trace context, so that one trace leads from HTTP to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub data: E,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SpecVersion {
    #[serde(rename = "1.0")]
    V1,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum JsonType {
    #[serde(rename = "application/json")]
    Json,
}

/// Why a message could not be read. Either way trying again cannot help.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Replayed once the newer version runs.
    #[error("an event type that this version does not know")]
    UnknownVersion,
    #[error("unreadable: {0}")]
    Unreadable(String),
}

impl<E: Event> Envelope<E> {
    pub fn new(clock: &Clock, source: &'static str, traceparent: Option<String>, data: E) -> Self {
        Self::with_id(EventId::new(clock), clock.now(), source, traceparent, data)
    }

    /// As [`Envelope::new`], for one whose id was fixed before: its sealed part is bound to it.
    pub fn with_id(
        id: EventId,
        time: Timestamp,
        source: &'static str,
        traceparent: Option<String>,
        data: E,
    ) -> Self {
        Self {
            specversion: SpecVersion::V1,
            id,
            source: format!("/latchkey/{source}"),
            kind: E::TYPE.to_owned(),
            time,
            datacontenttype: JsonType::Json,
            traceparent,
            data,
        }
    }

    /// # Errors
    /// When the event would be larger than [`MAX_BYTES`].
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)?;
        anyhow::ensure!(
            bytes.len() <= MAX_BYTES,
            "{} of {} bytes is over {MAX_BYTES}",
            E::TYPE,
            bytes.len()
        );
        Ok(bytes)
    }

    /// Reads an event of this type. Unknown fields are passed over: a newer producer may say more.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: String,
        }
        // serde's messages can repeat what they could not read, and a message may hold anything: only its place is told.
        let unreadable = |e: &serde_json::Error| {
            DecodeError::Unreadable(format!(
                "{:?} error at line {} column {}",
                e.classify(),
                e.line(),
                e.column()
            ))
        };
        let Kind { kind } = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        if kind != E::TYPE {
            return Err(DecodeError::UnknownVersion);
        }
        serde_json::from_slice(bytes).map_err(|e| unreadable(&e))
    }
}

// ---- codes

/// Who is to get a code, and what the ask carried. Sealed in the event.
#[derive(Clone, Serialize, Deserialize)]
pub struct Recipient {
    pub phone_number: String,
    /// Whose number is to change, for [`Purpose::PhoneChange`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// The names that a sign-up gave. Applied to a new account only, by the login that proves the phone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub first_name: String,
    pub last_name: String,
}

/// An accepted ask for a code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    pub request_id: RequestId,
    /// The code that this ask joined. Asks of one code are answered by one code (P5).
    pub code_id: CodeId,
    pub purpose: Purpose,
    pub channel: Channel,
    /// BCP 47; absent when the client named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// ISO 3166 region of the number.
    pub country: String,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub sealed: Sealed<Recipient>,
}

impl Ask {
    /// Seals the recipient for this ask in this event.
    pub fn seal(
        seal: &Seal,
        kind: &str,
        event: EventId,
        request: RequestId,
        expires_at: Timestamp,
        recipient: &Recipient,
    ) -> anyhow::Result<Sealed<Recipient>> {
        seal.seal(
            recipient,
            &[kind, &event.to_string(), &request.to_string(), &expires_at.to_string()],
        )
    }
}

/// `POST /v1/otp`, or a change of phone, was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OtpRequested(pub Ask);
event!(OtpRequested, "otp.requested.v1", addressed: true);

/// `POST /v1/signup` was accepted: an ask for a code whose sealed part carries the profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserSignedUp(pub Ask);
event!(UserSignedUp, "user.signed_up.v1", addressed: true);

/// A code went on as a text: an ask whose channel is `sms`. Published only where a call follows a text without news; it
/// waits in the broker until then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OtpTexted(pub Ask);
event!(OtpTexted, "otp.texted.v1", addressed: true);

/// What the asks have in common, whichever event carries them.
pub trait IsAsk: Event {
    fn of(ask: Ask) -> Self;
    fn ask(&self) -> &Ask;
}

impl IsAsk for OtpRequested {
    fn of(ask: Ask) -> Self {
        Self(ask)
    }
    fn ask(&self) -> &Ask {
        &self.0
    }
}

impl IsAsk for UserSignedUp {
    fn of(ask: Ask) -> Self {
        Self(ask)
    }
    fn ask(&self) -> &Ask {
        &self.0
    }
}

impl IsAsk for OtpTexted {
    fn of(ask: Ask) -> Self {
        Self(ask)
    }
    fn ask(&self) -> &Ask {
        &self.0
    }
}

impl<E: IsAsk> Envelope<E> {
    /// Opens the sealed part.
    ///
    /// # Errors
    /// When it was forged, moved from another event or prolonged.
    pub fn recipient(&self, seal: &Seal) -> anyhow::Result<Recipient> {
        let ask = self.data.ask();
        let bound = [
            E::TYPE,
            &self.id.to_string(),
            &ask.request_id.to_string(),
            &ask.expires_at.to_string(),
        ];
        seal.open(&ask.sealed, &bound)
    }
}

/// A code was used by its phone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OtpVerified {
    pub request_id: Option<RequestId>,
    pub purpose: Purpose,
    pub user_id: UserId,
    pub country: String,
    pub verified_at: Timestamp,
}
event!(OtpVerified, "otp.verified.v1", addressed: false);

// ---- texts

/// Where a text goes and what it says. Sealed in the event.
#[derive(Clone, Serialize, Deserialize)]
pub struct Text {
    pub phone_number: String,
    pub text: String,
}

/// A text is to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsRequested {
    pub message_id: MessageId,
    /// Absent for a text that no client asked for, as the notice of a changed phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    pub channel: Channel,
    pub country: String,
    /// The end of its use: later it is dropped (P7).
    pub not_after: Timestamp,
    /// When its client asked; what the time from request to send is measured from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    pub sealed: Sealed<Text>,
}
event!(SmsRequested, "sms.requested.v1", addressed: true);

impl SmsRequested {
    fn bound(
        event: EventId,
        message: MessageId,
        request: Option<RequestId>,
        not_after: Timestamp,
    ) -> [String; 5] {
        let request = request.map_or_else(String::new, |id| id.to_string());
        [
            Self::TYPE.to_owned(),
            event.to_string(),
            message.to_string(),
            request,
            not_after.to_string(),
        ]
    }

    /// Seals the text for this message in this event.
    pub fn seal(
        seal: &Seal,
        event: EventId,
        message: MessageId,
        request: Option<RequestId>,
        not_after: Timestamp,
        text: &Text,
    ) -> anyhow::Result<Sealed<Text>> {
        let bound = Self::bound(event, message, request, not_after);
        seal.seal(text, &bound.each_ref().map(String::as_str))
    }
}

impl Envelope<SmsRequested> {
    /// Opens the sealed part.
    ///
    /// # Errors
    /// When it was forged, moved from another event or prolonged.
    pub fn text(&self, seal: &Seal) -> anyhow::Result<Text> {
        let data = &self.data;
        let bound = SmsRequested::bound(self.id, data.message_id, data.request_id, data.not_after);
        seal.open(&data.sealed, &bound.each_ref().map(String::as_str))
    }
}

/// How a text fares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsStatus {
    pub message_id: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u32>,
}
event!(SmsStatus, "sms.status.v1", addressed: true);

/// A provider reported on an attempt. Its signature was checked; texts and numbers were taken out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsReceipt {
    pub provider: String,
    pub attempt_id: AttemptId,
    /// The provider's own fields.
    pub fields: std::collections::BTreeMap<String, String>,
}
event!(SmsReceipt, "sms.receipt.v1", addressed: true);

// ---- accounts and sessions

/// An account was made by the first login of its phone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserCreated {
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub country: String,
}
event!(UserCreated, "user.created.v1", addressed: false);

/// An account and every trace of it were deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserDeleted {
    pub user_id: UserId,
    pub deleted_at: Timestamp,
}
event!(UserDeleted, "user.deleted.v1", addressed: false);

/// Somebody signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionStarted {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub started_at: Timestamp,
    /// RFC 8176 method: `sms`, `call` or `pwd`.
    pub method: String,
}
event!(SessionStarted, "session.started.v1", addressed: false);

/// A session is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionEnded {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub ended_at: Timestamp,
    pub reason: String,
}
event!(SessionEnded, "session.ended.v1", addressed: false);

// ---- the pumping guard

/// A net of the pumping guard went from one state to another. Counts only: no number, no person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuardChanged {
    /// Calling code and four digits; absent where the country's net changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// ISO 3166 region.
    pub country: String,
    /// `open`, `blocked` or `probing`.
    pub state: String,
    pub sends: u64,
    pub verified: u64,
    /// `record` (nothing was stopped) or `enforce`.
    pub mode: String,
    pub at: Timestamp,
    /// End of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
event!(GuardChanged, "guard.changed.v1", addressed: false);
