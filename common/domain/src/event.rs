//! The events: past facts with versioned names, as CloudEvents 1.0 in structured JSON.
//!
//! An event's type is both its routing key and its schema version. A breaking change adds a new type and never edits
//! the old one: old messages survive a deployment. `tests/golden/` holds the bytes of each event.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::ids::{AttemptId, CodeId, EventId, MessageId, RequestId, SessionId, UserId};
use crate::keys::Keys;
use crate::phone::E164;
use crate::seal::{Seal, Sealed};
use crate::timestamp::Timestamp;
use crate::trace_context::TraceContext;
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
    /// The version before, which is read for one release and no longer published (contract, ruling 52).
    const FORMER: Option<&'static str> = None;
}

macro_rules! event {
    ($name:ty, $type:literal, addressed: $addressed:literal $(, former: $former:literal)?) => {
        impl Event for $name {
            const TYPE: &'static str = $type;
            const ADDRESSED: bool = $addressed;
            $(const FORMER: Option<&'static str> = Some($former);)?
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
    /// The members of `data` as they arrived, also those that this version does not know: a seal covers them all. Empty
    /// in an event that was made here.
    #[serde(skip)]
    received: Map<String, Value>,
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
            received: Map::new(),
        }
    }

    /// # Errors
    /// If the event is larger than [`MAX_BYTES`].
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        Self::checked(serde_json::to_vec(self)?)
    }

    /// Encodes the event with this step of its trace in place of its own.
    ///
    /// # Errors
    /// If the event is larger than [`MAX_BYTES`].
    pub fn encode_as(&self, step: &TraceContext) -> anyhow::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Step<'a, E> {
            specversion: SpecVersion,
            id: EventId,
            source: &'a str,
            #[serde(rename = "type")]
            kind: &'a str,
            time: Timestamp,
            datacontenttype: JsonType,
            traceparent: String,
            data: &'a E,
        }
        let traceparent = step.to_header();
        let Self { specversion, id, source, kind, time, datacontenttype, data, .. } = self;
        Self::checked(serde_json::to_vec(&Step {
            specversion: *specversion,
            id: *id,
            source,
            kind,
            time: *time,
            datacontenttype: *datacontenttype,
            traceparent,
            data,
        })?)
    }

    fn checked(bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        anyhow::ensure!(
            bytes.len() <= MAX_BYTES,
            "{} has {} bytes, over the maximum of {MAX_BYTES}",
            E::TYPE,
            bytes.len()
        );
        Ok(bytes)
    }

    /// Decodes an event of this type, or of its former version. Unknown fields are ignored: a newer producer may add some.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct Data {
            data: Map<String, Value>,
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
        if kind != E::TYPE && Some(kind.as_str()) != E::FORMER {
            return Err(DecodeError::UnknownVersion);
        }
        let mut event: Self = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        if E::FORMER.is_some() {
            let Data { data } = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
            event.received = data;
        }
        Ok(event)
    }

    fn is_former(&self) -> bool {
        self.kind != E::TYPE
    }

    /// What the seal of this event covers.
    fn covered(&self) -> anyhow::Result<Vec<String>> {
        if self.received.is_empty() {
            return covered(E::TYPE, self.id, &self.data);
        }
        Ok(covered_members(E::TYPE, self.id, &self.received))
    }
}

/// What the seal of an event covers: its type, its id, and every other member of its data, by name (contract, ruling
/// 52). So whoever may write to the broker cannot change any of it.
fn covered(kind: &str, event: EventId, data: &impl Serialize) -> anyhow::Result<Vec<String>> {
    let data = serde_json::to_value(data).context("encode the data that a seal covers")?;
    let members = data.as_object().context("an event's data is an object")?;
    Ok(covered_members(kind, event, members))
}

fn covered_members(kind: &str, event: EventId, members: &Map<String, Value>) -> Vec<String> {
    let others: BTreeMap<_, _> = members.iter().filter(|(name, _)| *name != "sealed").collect();
    let members = others.into_iter().flat_map(|(name, value)| [name.clone(), value.to_string()]);
    [kind.to_owned(), event.to_string()].into_iter().chain(members).collect()
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

/// The common interface of the events that carry a code request.
pub trait CarriesCodeRequest: Event {
    fn of(code_request: CodeRequest) -> Self;
    fn code_request(&self) -> &CodeRequest;
}

macro_rules! code_request_event {
    ($(#[$doc:meta])+ $name:ident, $type:literal, former: $former:literal) => {
        $(#[$doc])+
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub CodeRequest);
        event!($name, $type, addressed: true, former: $former);

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
    OtpRequested, "otp.requested.v2", former: "otp.requested.v1"
);
code_request_event!(
    /// `POST /v1/signup` was accepted: a code request whose sealed part carries the profile.
    UserSignedUp, "user.signed_up.v2", former: "user.signed_up.v1"
);
code_request_event!(
    /// A code was passed on as a message: a request whose channel is `sms`. Published only if the voice fallback is on;
    /// the event waits in the broker until the call is due.
    OtpTexted, "otp.texted.v2", former: "otp.texted.v1"
);

impl<E: CarriesCodeRequest> Envelope<E> {
    /// Puts a code request into a new event, and seals its recipient there.
    ///
    /// # Errors
    /// If this service has no key for code requests.
    pub fn sealing(
        keys: &Keys,
        clock: &Clock,
        source: &'static str,
        traceparent: Option<String>,
        mut code_request: CodeRequest,
        recipient: &Recipient,
    ) -> anyhow::Result<Self> {
        let id = EventId::new(clock);
        let bound = covered(E::TYPE, id, &code_request)?;
        code_request.sealed = keys.code_requests()?.seal(recipient, &bound)?;
        Ok(Self::with_id(id, clock.now(), source, traceparent, E::of(code_request)))
    }

    /// Opens the sealed part.
    ///
    /// # Errors
    /// If it was forged or moved from another event, or any other data of the event was changed.
    pub fn recipient(&self, keys: &Keys) -> anyhow::Result<Recipient> {
        let code_request = self.data.code_request();
        if self.is_former() {
            let (request, expires_at) = (code_request.request_id, code_request.expires_at);
            let bound =
                [&self.kind, &self.id.to_string(), &request.to_string(), &expires_at.to_string()];
            return keys.event.open(&code_request.sealed, &bound);
        }
        keys.code_requests()?.open(&code_request.sealed, &self.covered()?)
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
event!(SmsRequested, "sms.requested.v2", addressed: true, former: "sms.requested.v1");

impl SmsRequested {
    /// The seal of its text. A message that no client requested is a notice: the gateway seals those, and cannot read a
    /// text with a code.
    fn seal<'k>(&self, keys: &'k Keys) -> anyhow::Result<&'k Seal> {
        if self.request_id.is_some() { keys.texts() } else { keys.notices() }
    }
}

impl Envelope<SmsRequested> {
    /// Puts a message into a new event, and seals its text there.
    ///
    /// # Errors
    /// If this service has no key for such texts.
    pub fn sealing(
        keys: &Keys,
        clock: &Clock,
        source: &'static str,
        traceparent: Option<String>,
        mut requested: SmsRequested,
        text: &Text,
    ) -> anyhow::Result<Self> {
        let id = EventId::new(clock);
        let bound = covered(SmsRequested::TYPE, id, &requested)?;
        requested.sealed = requested.seal(keys)?.seal(text, &bound)?;
        Ok(Self::with_id(id, clock.now(), source, traceparent, requested))
    }

    /// Opens the sealed part.
    ///
    /// # Errors
    /// If it was forged or moved from another event, or any other data of the event was changed.
    pub fn text(&self, keys: &Keys) -> anyhow::Result<Text> {
        let data = &self.data;
        if self.is_former() {
            let request = data.request_id.map_or_else(String::new, |id| id.to_string());
            let (message, not_after) = (data.message_id.to_string(), data.not_after.to_string());
            let bound = [self.kind.clone(), self.id.to_string(), message, request, not_after];
            return keys.event.open(&data.sealed, &bound);
        }
        data.seal(keys)?.open(&data.sealed, &self.covered()?)
    }
}

/// The status of a message changed. No longer published by itself, and read for one release: [`SmsStatuses`] carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// W3C trace context of this status, among others that have their own. An event of its own has it in its envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}
event!(SmsStatus, "sms.status.v1", addressed: true);

/// The most statuses that one event is given. A status of Twilio's with its trace has about 300 bytes, so that as many
/// fit into [`MAX_BYTES`].
pub const MOST_STATUSES: usize = 12;

/// The statuses of several messages changed. Each stands for itself: its message and its status name it, and no order is
/// promised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsStatuses {
    pub statuses: Vec<ListedStatus>,
}
event!(SmsStatuses, "sms.status.v2", addressed: true);

/// A status among others. One that cannot be read takes none of the others with it (P11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", untagged)]
pub enum ListedStatus {
    Read(SmsStatus),
    /// As it arrived: a later release may have written it.
    Unreadable(Value),
}

impl From<Value> for ListedStatus {
    fn from(value: Value) -> Self {
        SmsStatus::deserialize(&value).map_or_else(|_| Self::Unreadable(value), Self::Read)
    }
}

impl SmsStatuses {
    pub fn of(statuses: impl IntoIterator<Item = SmsStatus>) -> Self {
        Self { statuses: statuses.into_iter().map(ListedStatus::Read).collect() }
    }
}

/// A provider reported on an attempt. The signature was checked; texts and numbers were removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmsReceipt {
    pub provider: String,
    pub attempt_id: AttemptId,
    /// The provider's own fields.
    pub fields: BTreeMap<String, String>,
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

// ---- attempts

/// Attempts failed at suspiciously many phones. Contains only counts: no number, no address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptsSuspicious {
    pub at: Timestamp,
    /// The span that the counts are of.
    pub window_secs: u64,
    pub failures: u64,
    /// The distinct phones that the failed attempts were at.
    pub phones: u64,
}
event!(AttemptsSuspicious, "attempts.suspicious.v1", addressed: false);

/// Sign-in at a phone was locked after failures in a row, whether or not it has an account (contract, ruling 43).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhoneLocked {
    /// The phone's key, cut: it distinguishes phones and names none.
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// What was attempted: `code` or `password`.
    pub kind: String,
    pub failures: u32,
    pub locked_at: Timestamp,
    /// When time alone opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
event!(PhoneLocked, "phone.locked.v1", addressed: false);

/// A lock ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhoneUnlocked {
    /// As in [`PhoneLocked`].
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub kind: String,
    /// `time`, told with the next attempt that is judged; `known_device`, whose success ended it; or `staff`.
    pub reason: String,
    pub unlocked_at: Timestamp,
}
event!(PhoneUnlocked, "phone.unlocked.v1", addressed: false);

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
