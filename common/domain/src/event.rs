//! The events: past facts with versioned names, as CloudEvents 1.0 in structured JSON.
//!
//! An event's type is both its routing key and its schema version. A breaking change adds a new type and never edits
//! the old one: old messages survive a deployment. `tests/golden/` holds the bytes of each event.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::{AttemptId, CodeId, EventId, MessageId, RequestId, SessionId, UserId};
use crate::phone::E164;
use crate::seal::{Seal, Sealed};
use crate::timestamp::Timestamp;
use crate::vocabulary::{Channel, Purpose, Reason, Status};

/// The maximum size of an event (contract, section 4). Events with a provider's receipt also stay far below it.
pub const MAX_BYTES: usize = 4096;
/// The media type of every message on the bus.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A past fact with a versioned name.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `<noun>.<past verb>.v<version>`: both routing key and schema version.
    const TYPE: &'static str;
    /// Whether one of Latchkey's own queues must receive it. Other events may have no subscriber.
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

/// The envelope of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<E> {
    specversion: SpecVersion,
    pub id: EventId,
    /// The process that published it: `/latchkey/gateway`.
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub time: Timestamp,
    datacontenttype: JsonType,
    /// W3C trace context, so that one trace spans from the HTTP request to the provider.
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

/// Why a message could not be decoded. A retry cannot help in either case.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The message is replayed once the newer version runs.
    #[error("unknown event type or version")]
    UnknownVersion,
    #[error("unreadable: {0}")]
    Unreadable(String),
}

impl<E: Event> Envelope<E> {
    pub fn new(clock: &Clock, source: &'static str, traceparent: Option<String>, data: E) -> Self {
        Self::with_id(EventId::new(clock), clock.now(), source, traceparent, data)
    }

    /// Like [`Envelope::new`], for an event whose ID already exists because its sealed part is bound to it.
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
    /// If the event is larger than [`MAX_BYTES`].
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)?;
        anyhow::ensure!(
            bytes.len() <= MAX_BYTES,
            "{} has {} bytes, over the maximum of {MAX_BYTES}",
            E::TYPE,
            bytes.len()
        );
        Ok(bytes)
    }

    /// Decodes an event of this type. Unknown fields are ignored: a newer producer may add some.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: String,
        }
        // serde's errors can quote the input, which may hold anything, so only the position is reported.
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

/// The recipient of a code, and the data of the code request. Sealed in the event.
#[derive(Clone, Serialize, Deserialize)]
pub struct Recipient {
    pub phone_number: E164,
    /// The user whose number will change, for [`Purpose::PhoneChange`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// The names from a sign-up. The login that proves the phone applies them, only to a new account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub first_name: String,
    pub last_name: String,
}

/// An accepted code request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CodeRequest {
    pub request_id: RequestId,
    /// The code that this request joined. All requests that join it get the same code (P5).
    pub code_id: CodeId,
    pub purpose: Purpose,
    pub channel: Channel,
    /// BCP 47; absent if the client sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// ISO 3166 region of the number.
    pub country: String,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub sealed: Sealed<Recipient>,
}

impl CodeRequest {
    /// Seals the recipient for this request in this event.
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

/// The common interface of the events that carry a code request.
pub trait CarriesCodeRequest: Event {
    fn of(code_request: CodeRequest) -> Self;
    fn code_request(&self) -> &CodeRequest;
}

macro_rules! code_request_event {
    ($(#[$doc:meta])+ $name:ident, $type:literal) => {
        $(#[$doc])+
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub CodeRequest);
        event!($name, $type, addressed: true);

        impl CarriesCodeRequest for $name {
            fn of(code_request: CodeRequest) -> Self {
                Self(code_request)
            }

            fn code_request(&self) -> &CodeRequest {
                &self.0
            }
        }
    };
}

code_request_event!(
    /// `POST /v1/otp` or a change of phone was accepted.
    OtpRequested, "otp.requested.v1"
);
code_request_event!(
    /// `POST /v1/signup` was accepted: a code request whose sealed part carries the profile.
    UserSignedUp, "user.signed_up.v1"
);
code_request_event!(
    /// A code was passed on as a message: a request whose channel is `sms`. Published only if the voice fallback is on;
    /// the event waits in the broker until the call is due.
    OtpTexted, "otp.texted.v1"
);

impl<E: CarriesCodeRequest> Envelope<E> {
    /// Opens the sealed part.
    ///
    /// # Errors
    /// If it was forged, moved from another event or prolonged.
    pub fn recipient(&self, seal: &Seal) -> anyhow::Result<Recipient> {
        let code_request = self.data.code_request();
        let bound = [
            E::TYPE,
            &self.id.to_string(),
            &code_request.request_id.to_string(),
            &code_request.expires_at.to_string(),
        ];
        seal.open(&code_request.sealed, &bound)
    }
}

/// A code was verified.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OtpVerified {
    pub request_id: Option<RequestId>,
    pub purpose: Purpose,
    pub user_id: UserId,
    pub country: String,
    pub verified_at: Timestamp,
}
event!(OtpVerified, "otp.verified.v1", addressed: false);

// ---- messages

/// The recipient and the text of a message. Sealed in the event.
#[derive(Clone, Serialize, Deserialize)]
pub struct Text {
    pub phone_number: E164,
    pub text: String,
    /// The account of this number was deleted: the ledger must not keep the number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_deleted: bool,
}

/// A message was requested.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsRequested {
    pub message_id: MessageId,
    /// Absent for a message that no client requested, such as the notice of a changed phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    pub channel: Channel,
    pub country: String,
    /// The message is dropped after this time (P7).
    pub not_after: Timestamp,
    /// The time of the client's request: the start of the measured time from request to send.
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
        seal.seal(text, &Self::bound(event, message, request, not_after))
    }
}

impl Envelope<SmsRequested> {
    /// Opens the sealed part.
    ///
    /// # Errors
    /// If it was forged, moved from another event or prolonged.
    pub fn text(&self, seal: &Seal) -> anyhow::Result<Text> {
        let data = &self.data;
        let bound = SmsRequested::bound(self.id, data.message_id, data.request_id, data.not_after);
        seal.open(&data.sealed, &bound)
    }
}

/// The status of a message changed.
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

/// A provider reported on an attempt. The signature was checked; texts and numbers were removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsReceipt {
    pub provider: String,
    pub attempt_id: AttemptId,
    /// The provider's own fields.
    pub fields: std::collections::BTreeMap<String, String>,
}
event!(SmsReceipt, "sms.receipt.v1", addressed: true);

// ---- accounts and sessions

/// The first login of a phone created an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserCreated {
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub country: String,
}
event!(UserCreated, "user.created.v1", addressed: false);

/// An account was deleted with all its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserDeleted {
    pub user_id: UserId,
    pub deleted_at: Timestamp,
}
event!(UserDeleted, "user.deleted.v1", addressed: false);

/// A password was set where there was none, or replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PasswordSet {
    pub user_id: UserId,
    /// The session that set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    pub at: Timestamp,
}
event!(PasswordSet, "password.set.v1", addressed: false);

/// A password was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PasswordRemoved {
    pub user_id: UserId,
    /// The session that removed it; absent if staff did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    pub at: Timestamp,
}
event!(PasswordRemoved, "password.removed.v1", addressed: false);

/// A user signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionStarted {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub started_at: Timestamp,
    /// RFC 8176 method: `sms`, `call` or `pwd`.
    pub method: String,
}
event!(SessionStarted, "session.started.v1", addressed: false);

/// A session ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionEnded {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub ended_at: Timestamp,
    pub reason: String,
}
event!(SessionEnded, "session.ended.v1", addressed: false);

// ---- the pumping guard

/// A net of the pumping guard changed state. Contains only counts: no number, no person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuardChanged {
    /// Calling code and four digits; absent if the country's net changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// ISO 3166 region.
    pub country: String,
    /// `open`, `blocked` or `probing`.
    pub state: String,
    pub sends: u64,
    pub verified: u64,
    /// `record` (nothing was blocked) or `enforce`.
    pub mode: String,
    pub at: Timestamp,
    /// End of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
event!(GuardChanged, "guard.changed.v1", addressed: false);
