//! What a sign-in by code takes, and what it writes: one document for both engines.

use serde::Serialize;
use serde_json::json;

use super::lock_marks::{self, Entries, Mark};
use super::outbox::{CutEvent, Prepared};
use super::redeem::UsedCode;
use super::sessions::{MAX_PER_USER, NewSession, Session};
use super::throttle::{Attempt, AttemptKind, AttemptLimits, Claimant, Opened};
use domain::event::{OtpVerified, SessionEnded, SessionStarted, UserCreated};
use domain::ids::{RequestId, SessionId, UserId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Purpose;

/// For this long, a repeated login gets its session again (contract, ruling 32).
const LOGIN_KEY_MS: i64 = 30_000;

/// An `Idempotency-Key` and the body it came with, both as digests.
#[derive(Clone, Copy)]
pub struct LoginKey<'a> {
    pub key_hash: &'a str,
    pub body_hash: &'a str,
}

/// A sign-in with a correct code.
#[derive(Clone, Copy)]
pub struct SignIn<'a> {
    pub claimant: Claimant<'a>,
    pub code: UsedCode,
    /// The code request that the login named.
    pub request_id: Option<RequestId>,
    pub limits: AttemptLimits,
    /// The id for a new account, if none exists yet.
    pub new_user: UserId,
    /// First and last name of a new account; an existing account keeps its own.
    pub profile: Option<(&'a str, &'a str)>,
    pub locale: &'a str,
    /// ISO 3166 region of the number.
    pub country: &'a str,
    pub session: NewSession<'a>,
    pub key: Option<LoginKey<'a>>,
    pub traceparent: Option<&'a str>,
    pub now: Timestamp,
}

impl<'a> SignIn<'a> {
    pub(super) fn attempt(&self) -> Attempt<'a> {
        Attempt::new(self.claimant, AttemptKind::Code, self.limits, self.now)
    }
}

/// What `latchkey_sign_in_4` reads, by these names; the steps for SQLite read the same. Times are milliseconds.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(flatten)]
    pub attempt: Attempt<'a>,
    #[serde(flatten)]
    pub code: UsedCode,
    pub new_user: UserId,
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub locale: &'a str,
    pub country: &'a str,
    session_id: SessionId,
    method: &'static str,
    device: &'a str,
    ip: &'a str,
    jkt: Option<&'a str>,
    expires_at: i64,
    absolute_expires_at: i64,
    max_sessions: u32,
    pub key_hash: Option<&'a str>,
    pub body_hash: Option<&'a str>,
    pub key_expires_at: i64,
    /// All that a sign-in tells. The first is [`UserCreated`], which is told of a new account only.
    events: [CutEvent; 3],
    /// Told if a session makes room. Cut at the session's id, then at the account's.
    ended: CutEvent,
    /// The audit's.
    pub detail: String,
    /// Told if the sign-in ends a lock.
    marks: Entries,
}

impl<'a> Document<'a> {
    /// # Errors
    /// If an event is larger than an event may be.
    pub(super) fn of(sign_in: &SignIn<'a>, session: &'a Session) -> Result<Self, sqlx::Error> {
        let (first_name, last_name) = sign_in.profile.unwrap_or_default();
        let now = sign_in.now;
        let (events, ended) = events(sign_in)?;
        let attempt = sign_in.attempt();
        let opened = [Opened::Time, Opened::KnownDevice].map(Mark::Unlocked);
        Ok(Self {
            marks: lock_marks::prepare(&attempt, &opened)?,
            attempt,
            code: sign_in.code,
            new_user: sign_in.new_user,
            first_name,
            last_name,
            locale: sign_in.locale,
            country: sign_in.country,
            session_id: session.id,
            method: session.method.as_str(),
            device: &session.device,
            ip: &session.ip,
            jkt: session.jkt.as_deref(),
            expires_at: session.expires_at.ms(),
            absolute_expires_at: session.absolute_expires_at.ms(),
            max_sessions: MAX_PER_USER,
            key_hash: sign_in.key.map(|key| key.key_hash),
            body_hash: sign_in.key.map(|key| key.body_hash),
            key_expires_at: now.plus_ms(LOGIN_KEY_MS).ms(),
            events,
            ended,
            detail: json!({ "session": session.id, "method": session.method.as_str() }).to_string(),
        })
    }
}

impl Document<'_> {
    /// What a sign-in tells.
    pub(super) fn events_of(&self, created: bool) -> &[CutEvent] {
        if created { &self.events } else { &self.events[1..] }
    }
}

/// The events of a sign-in, and the one about the session that makes room.
fn events(sign_in: &SignIn<'_>) -> Result<([CutEvent; 3], CutEvent), sqlx::Error> {
    // They are encoded before the account and the ended session are known, with ids in their places that occur nowhere
    // else.
    let SignIn { now, new_user: user_id, traceparent, .. } = *sign_in;
    let session_id = sign_in.session.id;
    let country = sign_in.country.to_owned();
    let created = UserCreated { user_id, created_at: now, country: country.clone() };
    let method = sign_in.session.method.as_str().to_owned();
    let started = SessionStarted { session_id, user_id, started_at: now, method };
    let verified = OtpVerified {
        request_id: sign_in.request_id,
        purpose: Purpose::Login,
        user_id,
        country,
        verified_at: now,
    };
    let reason = "too_many_sessions".to_owned();
    let ended = SessionEnded { session_id, user_id, ended_at: now, reason };
    let user = [user_id.to_string()];
    Ok((
        [
            CutEvent::at(&user, Prepared::of(now, traceparent, created)?),
            CutEvent::at(&user, Prepared::of(now, traceparent, started)?),
            CutEvent::at(&user, Prepared::of(now, traceparent, verified)?),
        ],
        CutEvent::at(
            &[session_id.to_string(), user_id.to_string()],
            Prepared::of(now, traceparent, ended)?,
        ),
    ))
}
