//! What is asked of the store and what it answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use domain::event::Profile;
use domain::ids::{CodeId, MessageId, RequestId, UserId};
use domain::keys::{PhoneKey, hex};
use domain::limits::Limits;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, PumpingGuard, Purpose, Reason, Status};
use guard::Place;

/// What a code opens: a sign-in, or the change of one user's number. Codes, guesses and asks of one phone are counted
/// apart by scope (design, ruling 3).
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
            Self::PhoneChange(user) => write!(f, "phone_change:{}", digest_of(*user)),
        }
    }
}

/// Names a user in a key. An id has 74 random bits: nobody finds it by its digest.
pub(super) fn digest_of(user: UserId) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, user.uuid().as_bytes());
    hex(&digest.as_ref()[..16])
}

/// An ask for a code, as the gateway judges it.
#[derive(Clone, Debug)]
pub struct Admit<'a> {
    pub request_id: RequestId,
    /// The id for a new code, if none is live.
    pub new_code_id: CodeId,
    /// The one code that it is for: it joins that one, or is not admitted.
    pub only_code: Option<CodeId>,
    pub phone: &'a PhoneKey,
    pub scope: Scope,
    pub ttl_ms: i64,
    /// Guesses that a code has: a spent one refuses asks until its expiry.
    pub attempts: u32,
    /// `otp`, `signup` or `phone`.
    pub route: &'static str,
    pub idempotency: Option<Idempotency>,
    pub ip_key: &'a str,
    pub country: &'a str,
    pub operator_prefix: &'a str,
    pub channel: Channel,
    pub locale: Option<&'a str>,
    pub limits: &'a Limits,
    /// Test numbers have no limits (design, section 6), and the pumping guard does not count them.
    pub unlimited: bool,
    pub guard: PumpingGuard,
}

impl Admit<'_> {
    /// The guard's nets that this ask falls into.
    pub(super) fn place(&self) -> Place<'_> {
        Place { country: self.country, operator_prefix: self.operator_prefix }
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.guard != PumpingGuard::Off && !self.unlimited
    }
}

/// An `Idempotency-Key` and the body it came with, as digests.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    pub body: String,
}

/// The store's word on an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted {
        code_id: CodeId,
        now: Timestamp,
        expires_at: Timestamp,
        resend_at: Timestamp,
    },
    /// The same key and body came before: the first answer.
    Replayed(Replay),
    /// The same key came with another body.
    KeyReused,
    /// A limit refused it; nothing was counted.
    Limited {
        limit: Limit,
        retry_after: u64,
    },
    /// The live code has no guess left: no ask until its expiry (design, ruling 3).
    Exhausted {
        retry_after: u64,
    },
    /// The one code that it was for takes no ask any more; nothing was counted.
    Gone,
}

/// The first answer to an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub request_id: RequestId,
    pub code_id: CodeId,
    pub channel: Channel,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub resend_at: Timestamp,
    /// Whether its event is known to be with the broker. If not, it is published again under the same request id.
    pub published: bool,
}

/// A code for an ask.
#[derive(Clone, Debug)]
pub struct Issue<'a> {
    pub request_id: RequestId,
    pub code_id: CodeId,
    pub phone: &'a PhoneKey,
    pub scope: Scope,
    pub expires_at: Timestamp,
    /// Digest and sealed code to keep if none is there. `None` leaves a place that no guess can match: for phones that
    /// get no code in `silent` mode (design, ruling 3).
    pub code: Option<NewCode<'a>>,
    pub note: AskNote,
}

/// A fresh code in the two forms that are kept.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    pub digest: &'a str,
    pub sealed: &'a str,
}

/// What is remembered of an ask beside its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskNote {
    #[serde(rename = "c")]
    pub channel: Channel,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The sign-up's profile, sealed for the gateway, bound to code and request.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Sealed<Profile>>,
}

/// What became of an issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issued {
    /// The sealed code to send: the given one, or the one that was there.
    Code(String),
    /// A place without a code was made.
    Nothing,
    /// The code was used while the ask waited: nothing is sent (design, ruling 31).
    Used,
    /// A newer code of this phone and scope is there: the ask waited too long.
    Superseded,
    /// The ask's time is over.
    Expired,
}

/// A guess.
#[derive(Clone, Debug)]
pub struct Verify<'a> {
    pub phone: &'a PhoneKey,
    pub scope: Scope,
    pub digest: &'a str,
    /// The request that the client named: it must be one that asked for this code.
    pub request_id: Option<RequestId>,
    pub attempts: u32,
    /// A code's life: how long guesses at a phone without one are remembered.
    pub ttl_ms: i64,
    pub ip_key: &'a str,
    /// 0 is off.
    pub logins_per_ip_minute: u64,
}

/// The store's word on a guess.
#[derive(Clone, Debug)]
pub enum Judged {
    Right {
        code_id: CodeId,
        now: Timestamp,
        expires_at: Timestamp,
        attempts_left: u32,
        /// The asks of this code, oldest first.
        asks: Vec<(RequestId, AskNote)>,
        /// How the last text went.
        channel: Channel,
    },
    /// `code_id` and its expiry are absent when no code is live: answered alike.
    Wrong { code: Option<(CodeId, Timestamp)>, now: Timestamp, attempts_left: u32 },
    /// No guess is left; this one was not compared.
    Exhausted { code: Option<CodeId>, now: Timestamp, until: Timestamp },
    /// The address made too many logins; nothing was counted against the phone.
    Limited { retry_after: u64 },
}

/// Why a code is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// A right guess used it up, and answered this ask.
    Used(Option<RequestId>),
    /// A right guess was refused, for the code had been used before: it is as wrong as any other.
    Refused,
}

impl Closing {
    pub(super) const fn verified(self) -> Option<RequestId> {
        match self {
            Self::Used(verified) => verified,
            Self::Refused => None,
        }
    }

    /// How many of the code's guesses were no failure.
    pub(super) const fn successes(self) -> u32 {
        match self {
            Self::Used(_) => 1,
            Self::Refused => 0,
        }
    }
}

/// A counted guess that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// At a phone without a live code.
    NoCode,
    /// At this code: wrong, or right and its login may have been committed although nobody heard so (W6).
    Guess(CodeId),
    /// Right at this code, and surely not used.
    Unused(CodeId),
}

/// How a request fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStatus {
    pub status: Status,
    pub reason: Option<Reason>,
    pub updated_at: Timestamp,
    pub expires_at: Timestamp,
    pub channel: Channel,
    /// The store's time when it was read. The expiry is of its clock, from which ours may differ.
    pub now: Timestamp,
}

impl RequestStatus {
    /// As it is to be shown: past its expiry a request without an end is expired, whether or not the sweep was there.
    #[must_use]
    pub fn shown(mut self) -> Self {
        if self.now >= self.expires_at && !self.status.is_end() {
            self.status = Status::Expired;
            self.reason = None;
            self.updated_at = self.expires_at;
        }
        self
    }
}

/// What a sweep found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The requests that it looked at, also those that had their end: as many as were asked for while there may be more.
    pub looked_at: usize,
    pub closed: Vec<Swept>,
}

/// A request that the sweep closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    pub request_id: RequestId,
    /// Where it had stopped.
    pub was: Status,
}

/// A text for the inbox.
#[derive(Clone, Debug)]
pub struct KeptText {
    pub message_id: MessageId,
    pub phone: PhoneKey,
    /// The text and its circumstances, sealed under the event key.
    pub sealed: String,
}
