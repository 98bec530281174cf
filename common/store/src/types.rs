//! The inputs and results of the code store.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use domain::event::Profile;
use domain::ids::{CodeId, RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::limits::Limits;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, PumpingGuard, Purpose, Status};
use guard::Destination;
use uuid::Uuid;

use crate::statuses::Raise;

/// What a code opens: a sign-in, or the change of one user's number. Codes, attempts and requests of one phone are
/// counted separately by scope (contract, ruling 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Login,
    PhoneChange(UserId),
}

impl Scope {
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Login => Purpose::Login,
            Self::PhoneChange(_) => Purpose::PhoneChange,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => f.write_str("login"),
            // Not the id itself: these keys outlive a deleted account by some minutes.
            Self::PhoneChange(user) => write!(f, "phone_change:{}", digest_of(user.uuid())),
        }
    }
}

/// Names a user or a session in the store. An id has 74 random bits, so it cannot be found by its digest.
pub(super) fn digest_of(id: Uuid) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    hex::encode(&digest.as_ref()[..16])
}

/// The number that a user requested to change to, and who requested it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedChange {
    /// The number, sealed.
    pub sealed: String,
    /// The session that requested it, as its digest. A gateway of the former version noted none.
    pub(super) requester: Option<String>,
}

impl NotedChange {
    /// Whether this session may confirm the change: only the one that requested it, or any session if that is unknown.
    pub fn is_by(&self, session: SessionId) -> bool {
        self.requester.as_ref().is_none_or(|requester| *requester == digest_of(session.uuid()))
    }
}

/// A code request, as the gateway checks it. Serialized, it is what the scripts read beside their keys.
#[derive(Clone, Debug, Serialize)]
pub struct Admit<'a> {
    pub request_id: RequestId,
    /// The id for a new code, if none is live.
    pub new_code_id: CodeId,
    /// If set, the request joins exactly this code or is not admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_code: Option<CodeId>,
    #[serde(skip)]
    pub phone: &'a PhoneKey,
    #[serde(skip)]
    pub scope: Scope,
    pub ttl_ms: i64,
    /// The attempts that a code allows. An exhausted code refuses requests until its expiry.
    pub attempts: u32,
    /// `otp`, `signup` or `phone`.
    #[serde(skip)]
    pub route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The ranges in which the client's address counts; empty if the limit is off.
    pub addresses: &'a [AddressLimit],
    #[serde(skip)]
    pub country: &'a str,
    #[serde(skip)]
    pub operator_prefix: &'a str,
    pub channel: Channel,
    #[serde(skip)]
    pub locale: Option<&'a str>,
    pub limits: &'a Limits,
    pub guard: PumpingGuard,
    /// Who asks, as a digest: a known device or an address. A sign-in forgives its asker the cooldown's doubling, and
    /// nobody else (contract, ruling 46). Empty for nobody.
    pub asker: &'a str,
    /// The user of the known device that asks: it has a budget of its own (contract, ruling 39).
    #[serde(skip)]
    pub known_device: Option<UserId>,
    /// The name that its attempts are counted under: a code without attempts for it is not sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    /// Whether a phone that verified lately passes the nets by a budget of its own (contract, ruling 36).
    pub proven_passes: bool,
}

impl Admit<'_> {
    /// The guard's nets that this request belongs to.
    pub(super) fn destination(&self) -> Destination<'_> {
        Destination { country: self.country, operator_prefix: self.operator_prefix }
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.guard != PumpingGuard::Off
    }

    /// What is stored of the request until its event brings its profile.
    pub(super) fn note(&self) -> RequestNote {
        let locale = self.locale.map(str::to_owned);
        RequestNote { channel: self.channel, locale, profile: None, trace: None }
    }
}

/// A range of addresses that contains the client's, and how many requests or logins it may make (contract, ruling 35).
#[derive(Clone, Debug, Serialize)]
pub struct AddressLimit {
    #[serde(skip)]
    pub key: String,
    pub most: u64,
}

/// Where a login counts; empty where the limit is off.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoginAddresses {
    /// The ranges of the address, with the logins a minute.
    pub logins: Vec<AddressLimit>,
    /// Wider ranges in which failures count, narrowest first (contract, ruling 41).
    pub failures: Vec<FailureRange>,
}

/// A range of addresses that waits when attempts from it failed at more than `most` phones, and from at least `networks`
/// of its narrowest ranges, within [`FAILURE_WINDOW_SECS`] (contract, ruling 41).
#[derive(Clone, Debug, Serialize)]
pub struct FailureRange {
    #[serde(skip)]
    pub key: String,
    pub most: u64,
    pub networks: u64,
}

/// The span over which failed attempts at different phones count (contract, ruling 41).
pub const FAILURE_WINDOW_SECS: u64 = 600;
/// The phones at which attempts fail within the window, over all addresses, that are reported as suspicious: ten ranges
/// at their limit.
pub const SUSPICIOUS_PHONES: u64 = 500;

/// Failed attempts over all addresses that are suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspiciousFailures {
    pub failures: u64,
    /// The phones that they were at.
    pub phones: u64,
}

/// An `Idempotency-Key` and the body it came with, as digests.
#[derive(Clone, Debug, Serialize)]
pub struct Idempotency {
    #[serde(skip)]
    pub key: String,
    pub body: String,
}

/// The store's decision on a code request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted(Admitted),
    /// The same key and body were presented before: the first answer.
    Replayed(Admitted),
    /// The same key came with another body.
    KeyReused,
    /// A limit refused the request; nothing was counted.
    Limited {
        limit: Limit,
        retry_after: u64,
    },
    /// The live code has no attempts left: no request until its expiry (contract, ruling 3).
    Exhausted {
        retry_after: u64,
    },
    /// The one code that the request was for accepts no more requests; nothing was counted.
    Gone,
}

/// The answer to an admitted request; with an `Idempotency-Key`, it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub request_id: RequestId,
    pub code_id: CodeId,
    pub channel: Channel,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub resend_at: Timestamp,
    /// Whether the broker is known to have its event. If not, it is published again under the same request id.
    pub published: bool,
}

/// A code for a request. Serialized, it is what the script reads beside its key.
#[derive(Clone, Debug, Serialize)]
pub struct Issue<'a> {
    pub request_id: RequestId,
    pub code_id: CodeId,
    #[serde(skip)]
    pub phone: &'a PhoneKey,
    #[serde(skip)]
    pub scope: Scope,
    #[serde(rename = "expires_at_ms", serialize_with = "as_ms")]
    pub expires_at: Timestamp,
    /// The digest and sealed code to store if the slot is empty. `None` leaves a slot that no check can match: for
    /// phones that get no code in `silent` mode (contract, ruling 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<NewCode<'a>>,
    #[serde(serialize_with = "as_text")]
    pub note: RequestNote,
    /// What the request's status becomes in the same act, if it is not further: with a code, and with a slot that has
    /// none. `None` leaves it.
    #[serde(skip)]
    pub status: Status,
    #[serde(skip)]
    pub status_without_code: Option<Status>,
}

impl Issue<'_> {
    /// The status with a code, and with a slot that has none.
    pub(super) fn raises(&self) -> (Raise, Option<Raise>) {
        let to = |status| Raise {
            request_id: self.request_id,
            status,
            reason: None,
            expires_at: self.expires_at,
        };
        (to(self.status), self.status_without_code.map(to))
    }
}

/// A new code in its two stored forms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NewCode<'a> {
    pub digest: &'a str,
    pub sealed: &'a str,
}

/// Scripts calculate with milliseconds.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn as_ms<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.ms())
}

/// Scripts store a note as it is written here: they do not read it.
pub(super) fn as_text<S: Serializer>(note: &RequestNote, serializer: S) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(note).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

/// What is stored for a request beside its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestNote {
    #[serde(rename = "c")]
    pub channel: Channel,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The sign-up's profile, sealed for the gateway, bound to code and request.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Sealed<Profile>>,
    /// W3C `traceparent` of the request, while its trace is recorded: a sign-in by the code links to it.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The outcome of an issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issued {
    /// The sealed code to send: the given one, or the one that was already there.
    Code(String),
    /// A slot without a code was created.
    Nothing,
    /// The code was used while the request waited: nothing is sent (contract, ruling 31).
    Used,
    /// This phone and scope have a newer code: the request waited too long.
    Superseded,
    /// The request has expired.
    Expired,
}

/// A code check. Serialized, it is what the script reads beside its keys.
#[derive(Clone, Debug, Serialize)]
pub struct Verify<'a> {
    #[serde(skip)]
    pub phone: &'a PhoneKey,
    #[serde(skip)]
    pub scope: Scope,
    pub digest: &'a str,
    /// The request that the client named: it must be one that requested this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    pub attempts: u32,
    /// The known device that makes the attempt and has a budget left, by the name that it is counted under: its attempts
    /// at a code are counted apart from everybody else's (contract, ruling 39).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    /// A code's lifetime: how long attempts on a phone without a code are remembered.
    pub ttl_ms: i64,
    pub addresses: &'a LoginAddresses,
}

/// The store's decision on a code check.
#[derive(Clone, Debug)]
pub enum CheckOutcome {
    Matched(Matched),
    /// `code` is absent when no code is live: the client gets the same answer.
    Wrong {
        code: Option<(CodeId, Timestamp)>,
        now: Timestamp,
        attempts_left: u32,
    },
    /// The request that was named is none of this phone and scope: the check could never be right, and cost nothing but
    /// a login of its address (contract, ruling 40).
    Foreign {
        now: Timestamp,
        attempts_left: u32,
    },
    /// No attempts are left; this one was not compared.
    Exhausted {
        code: Option<CodeId>,
        now: Timestamp,
        until: Timestamp,
    },
    /// The address made too many logins; nothing was counted against the phone.
    Limited {
        retry_after: u64,
    },
}

/// A code that a check matched.
#[derive(Clone, Debug)]
pub struct Matched {
    pub code_id: CodeId,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub attempts_left: u32,
    /// The requests of this code, oldest first.
    pub code_requests: Vec<(RequestId, RequestNote)>,
    /// The channel of the last message.
    pub channel: Channel,
}

/// The request that a sign-in answered, and whom it forgives the cooldown's doubling (contract, ruling 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<'a> {
    pub request: RequestId,
    /// Whether the sign-in named the request: then the request's asker is forgiven. Otherwise it is the newest one, which
    /// may be a stranger's.
    pub named: bool,
    /// Who signed in, by the names of [`Admit::asker`]: forgiven in any case.
    pub askers: &'a [String],
}

impl Answered<'_> {
    pub const fn named(request: RequestId) -> Self {
        Self { request, named: true, askers: &[] }
    }
}

/// Why a code is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing<'a> {
    /// A correct check used it, and answered this request.
    Used(Option<Answered<'a>>),
    /// The same by this known device, named as in [`Verify::device`]. Whether its attempts are counted apart from
    /// everybody else's, the code's own counts tell.
    UsedByDevice(&'a str, Option<Answered<'a>>),
    /// A correct check was refused because the code had been used before: it counts as failed.
    Refused,
}

impl<'a> Closing<'a> {
    pub(super) const fn verified(self) -> Option<Answered<'a>> {
        match self {
            Self::Used(verified) | Self::UsedByDevice(_, verified) => verified,
            Self::Refused => None,
        }
    }

    /// Whether the code's owner proved that the phone is theirs.
    pub(super) const fn proves_phone(self) -> bool {
        !matches!(self, Self::Refused)
    }

    /// How many of the code's attempts were no failure.
    pub(super) const fn successes(self) -> u32 {
        match self {
            Self::Used(_) | Self::UsedByDevice(..) => 1,
            Self::Refused => 0,
        }
    }

    /// The known device that used the code.
    pub(super) const fn device(self) -> Option<&'a str> {
        match self {
            Self::UsedByDevice(device, _) => Some(device),
            Self::Used(_) | Self::Refused => None,
        }
    }
}

/// A counted attempt that is refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// On a phone without a live code.
    NoCode,
    /// On this code: failed, or correct and its login may have been committed with an unknown outcome (W6).
    CodeCheck(CodeId),
    /// Correct for this code, and certainly not used.
    Unused(CodeId),
}
