//! Sign-in by code: the fence, the account, the session and everything that belongs to them, in one transaction (P3).

use super::{Accounts, Attempts};
use std::fmt;

use serde_json::json;

use super::attempts::{AttemptKind, Claimant};
use super::audit;
use super::outbox::Prepared;
use super::sessions::{self, Ending, LiveSession, MAX_PER_USER, Method, Session, session_columns};
use super::throttle::{self, AttemptLimits, Throttle};
use super::users::{self, User, user_columns, user_returning};
use domain::engine_error::EngineError;
use domain::event::{OtpVerified, SessionEnded, SessionStarted, UserCreated};
use domain::ids::{CodeId, RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::Purpose;
use sql::{Row, Work, args};

/// For this long, a repeated login gets its session again (contract, ruling 32).
const LOGIN_KEY_MS: i64 = 30_000;

/// A correct code, and its expiry.
#[derive(Clone, Copy, Debug)]
pub struct UsedCode {
    pub id: CodeId,
    pub expires_at: Timestamp,
}

/// The session that a sign-in starts.
#[derive(Clone, Copy)]
pub struct NewSession<'a> {
    pub id: SessionId,
    pub method: Method,
    /// The device's own name, already truncated.
    pub device: &'a str,
    /// Already truncated.
    pub ip: &'a str,
    pub idle_secs: i64,
    pub max_secs: i64,
    /// The thumbprint of the client's key that the session is bound to.
    pub jkt: Option<&'a str>,
}

impl NewSession<'_> {
    pub(super) fn of(self, user_id: UserId, now: Timestamp) -> Session {
        let absolute_expires_at = now.plus_secs(self.max_secs);
        Session {
            id: self.id,
            user_id,
            method: self.method,
            generation: 1,
            device: self.device.to_owned(),
            ip: self.ip.to_owned(),
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus_secs(self.idle_secs).min(absolute_expires_at),
            absolute_expires_at,
            jkt: self.jkt.map(str::to_owned),
        }
    }
}

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

/// Why a correct code was not redeemed. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The caller must not reveal that the code was correct.
    Throttled(Throttle),
    /// The code was used before, or its attempts are exhausted in the database.
    CodeUsed,
    /// The account whose phone should change is gone or blocked.
    AccountGone,
}

/// The outcome of a sign-in whose code was redeemed.
#[expect(clippy::large_enum_variant, reason = "returned once and taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    SignedIn {
        user: User,
        created: bool,
        session: Session,
    },
    /// The account is blocked. The code is used; no session was created.
    Blocked,
}

/// What an earlier login with the same key left.
#[derive(Clone)]
pub struct LoginReplay {
    pub body_hash: String,
    /// Its session, while it is live and its first refresh token is unused.
    pub session: Option<LiveSession>,
}

impl fmt::Debug for LoginReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginReplay").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The events of a sign-in, encoded before the account is known: `new_user` and `session` are placeholders for the
/// account's id and, in `ended`, for the session that is ended.
struct Events {
    created: Prepared,
    started: Prepared,
    verified: Prepared,
    ended: Prepared,
}

impl Events {
    fn of(sign_in: &SignIn<'_>) -> Result<Self, sqlx::Error> {
        let SignIn { now, new_user: user_id, traceparent, .. } = *sign_in;
        let country = sign_in.country.to_owned();
        let session_id = sign_in.session.id;
        Ok(Self {
            created: Prepared::of(
                now,
                traceparent,
                UserCreated { user_id, created_at: now, country: country.clone() },
            )?,
            started: Prepared::of(
                now,
                traceparent,
                SessionStarted {
                    session_id,
                    user_id,
                    started_at: now,
                    method: sign_in.session.method.as_str().to_owned(),
                },
            )?,
            verified: Prepared::of(
                now,
                traceparent,
                OtpVerified {
                    request_id: sign_in.request_id,
                    purpose: Purpose::Login,
                    user_id,
                    country,
                    verified_at: now,
                },
            )?,
            ended: Prepared::of(
                now,
                traceparent,
                SessionEnded {
                    session_id,
                    user_id,
                    ended_at: now,
                    reason: "too_many_sessions".to_owned(),
                },
            )?,
        })
    }
}

impl Accounts {
    /// Exchanges a correct code for a session: one round trip on PostgreSQL.
    ///
    /// In this order, all or nothing: the phone's waits and lock; the code's own attempts; the fence, which accepts a
    /// code once whatever Redis says (P3); the account, created if missing; its block; the cap of 50 sessions; the
    /// session; the reset of the phone's failures; the events; the audit.
    pub async fn sign_in(
        &self,
        sign_in: SignIn<'_>,
    ) -> Result<Result<LoginOutcome, Denied>, EngineError> {
        self.pool
            .within("sign in", async {
                if self.pool.is_postgres() {
                    let SignIn { claimant, limits, now, .. } = sign_in;
                    Attempts::new(&self.pool)
                        .carry_over(claimant, AttemptKind::Code, limits, now)
                        .await?;
                    let outcome = Box::pin(self.sign_in_postgres(&sign_in)).await?;
                    if let (Ok(LoginOutcome::SignedIn { .. }), Some(_)) =
                        (&outcome, claimant.former_key)
                    {
                        // The function knows one key. If this fails, an old count stays a little longer.
                        let mut work = self.pool.statement().await?;
                        forget_failures(&mut work, claimant, AttemptKind::Code).await?;
                        work.done().await?;
                    }
                    Ok(outcome)
                } else {
                    Box::pin(self.sign_in_sqlite(&sign_in)).await
                }
            })
            .await
    }

    async fn sign_in_postgres(
        &self,
        sign_in: &SignIn<'_>,
    ) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
        let SignIn { claimant, limits, now, .. } = *sign_in;
        let session = sign_in.session.of(sign_in.new_user, now);
        let events = Events::of(sign_in)?;
        let detail = detail(&session);
        let (first_name, last_name) = sign_in.profile.unwrap_or_default();
        let mut work = self.pool.statement().await?;
        let row = work
            .one(
                "SELECT verdict, until_ms, created, (account).id AS u_id, (account).phone_number,
                     (account).first_name, (account).last_name, (account).locale, (account).country, (account).role,
                     (account).created_at AS u_created_at, (account).blocked_at IS NOT NULL AS blocked
                 FROM latchkey_sign_in($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                     $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)",
                args![
                    claimant.phone_number,
                    claimant.phone_key.as_str(),
                    claimant.known_device,
                    now,
                    limits.max_failures,
                    limits.reset_ms(),
                    limits.attempts,
                    sign_in.code.id,
                    sign_in.code.expires_at,
                    sign_in.new_user,
                    first_name,
                    last_name,
                    sign_in.locale,
                    sign_in.country,
                    session.id,
                    session.method.as_str(),
                    &session.device,
                    &session.ip,
                    session.expires_at,
                    session.absolute_expires_at,
                    MAX_PER_USER,
                    sign_in.key.map(|key| key.key_hash),
                    sign_in.key.map(|key| key.body_hash),
                    now.plus_ms(LOGIN_KEY_MS),
                    events.created.id,
                    &events.created.body,
                    events.started.id,
                    &events.started.body,
                    events.verified.id,
                    &events.verified.body,
                    events.ended.id,
                    &events.ended.body,
                    &detail,
                    session.jkt.as_deref(),
                ],
            )
            .await?;
        work.done().await?;
        let verdict: String = row.get("verdict")?;
        match verdict.as_str() {
            "signed_in" => {
                let user = users::user(&row)?;
                let session = Session { user_id: user.id, ..session };
                Ok(Ok(LoginOutcome::SignedIn { user, created: row.get("created")?, session }))
            }
            "blocked" => Ok(Ok(LoginOutcome::Blocked)),
            "code_used" => Ok(Err(Denied::CodeUsed)),
            other => Throttle::read(other, row.maybe_time("until_ms")?)
                .map(|throttle| Err(Denied::Throttled(throttle)))
                .ok_or_else(|| sqlx::Error::Decode(format!("unknown verdict {other:?}").into())),
        }
    }

    /// The steps of `latchkey_sign_in`, in the same order.
    async fn sign_in_sqlite(
        &self,
        sign_in: &SignIn<'_>,
    ) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
        let SignIn { claimant, limits, now, code, .. } = *sign_in;
        let mut work = self.pool.transaction().await?;
        if let Err(denied) = redeem(&mut work, claimant, code, limits, now).await? {
            work.undo().await?;
            return Ok(Err(denied));
        }
        let (first_name, last_name) = sign_in.profile.unwrap_or_default();
        let row = work
            .one(
                concat!(
                    "INSERT INTO users (id, phone_number, first_name, last_name, locale, country,
                         created_at, updated_at, last_seen_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7)
                     ON CONFLICT (phone_number) DO UPDATE SET last_seen_at =
                         CASE WHEN users.blocked_at IS NULL THEN $7 ELSE users.last_seen_at END
                     RETURNING ",
                    user_returning!()
                ),
                args![
                    sign_in.new_user,
                    claimant.phone_number,
                    first_name,
                    last_name,
                    sign_in.locale,
                    sign_in.country,
                    now,
                ],
            )
            .await?;
        let user = users::user(&row)?;
        let created = user.id == sign_in.new_user;
        let name = user.id.to_string();
        if user.blocked {
            audit::write(&mut work, now, &name, "sign_in_refused_blocked", &name, "{}").await?;
            work.done().await?;
            return Ok(Ok(LoginOutcome::Blocked));
        }
        make_room(&mut work, user.id, now).await?;
        let session = sign_in.session.of(user.id, now);
        insert(&mut work, &session).await?;
        if let Some(LoginKey { key_hash, body_hash }) = sign_in.key {
            work.run(
                "INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (key_hash) DO UPDATE SET body_hash = $2, session_id = $3, expires_at = $4",
                args![key_hash, body_hash, session.id, now.plus_ms(LOGIN_KEY_MS)],
            )
            .await?;
        }
        forget_failures(&mut work, claimant, AttemptKind::Code).await?;
        let events = Events::of(&SignIn { new_user: user.id, ..*sign_in })?;
        events.verified.write(&mut work, now).await?;
        events.started.write(&mut work, now).await?;
        if created {
            events.created.write(&mut work, now).await?;
        }
        let act = if created { "signed_up" } else { "signed_in" };
        audit::write(&mut work, now, &name, act, &name, &detail(&session)).await?;
        work.done().await?;
        Ok(Ok(LoginOutcome::SignedIn { user, created, session }))
    }

    /// What a login with this key left within the last 30 s. The caller compares the body's digest before it uses the
    /// session.
    pub async fn login_replay(
        &self,
        key_hash: &str,
        now: Timestamp,
    ) -> Result<Option<LoginReplay>, EngineError> {
        self.pool.within("look for an earlier login", async {
            let mut work = self.pool.reading().await?;
            let row = work
                .optional(
                    concat!(
                        "SELECT k.body_hash, s.generation = 1 AND s.ended_at IS NULL AND s.expires_at > $2
                             AND u.blocked_at IS NULL AS unused, ",
                        session_columns!(),
                        ", ",
                        user_columns!(),
                        " FROM login_keys k JOIN sessions s ON s.id = k.session_id JOIN users u ON u.id = s.user_id
                          WHERE k.key_hash = $1 AND k.expires_at > $2"
                    ),
                    args![key_hash, now],
                )
                .await?;
            work.done().await?;
            row.as_ref().map(replay).transpose()
        })
        .await
    }
}

fn replay(row: &Row) -> Result<LoginReplay, sqlx::Error> {
    let session = if row.get("unused")? { Some(sessions::live(row)?) } else { None };
    Ok(LoginReplay { body_hash: row.get("body_hash")?, session })
}

fn detail(session: &Session) -> String {
    json!({ "session": session.id, "method": session.method.as_str() }).to_string()
}

/// Judges an attempt with a correct code and passes the code through the fence, once. If denied, the caller undoes the
/// transaction.
pub(super) async fn redeem(
    work: &mut Work,
    claimant: Claimant<'_>,
    code: UsedCode,
    limits: AttemptLimits,
    now: Timestamp,
) -> Result<Result<(), Denied>, sqlx::Error> {
    let judged = throttle::check_locked(work, claimant, AttemptKind::Code, limits, now).await?;
    if let Err(throttle) = judged {
        return Ok(Err(Denied::Throttled(throttle)));
    }
    let spent = work
        .optional(
            "SELECT 1 AS spent FROM code_guesses WHERE code_id = $1 AND failures >= $2",
            args![code.id, limits.attempts],
        )
        .await?;
    if spent.is_some() {
        return Ok(Err(Denied::CodeUsed));
    }
    let passed = work
        .run(
            "INSERT INTO used_codes (code_id, used_at, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            args![code.id, now, code.expires_at],
        )
        .await?;
    Ok(if passed == 1 { Ok(()) } else { Err(Denied::CodeUsed) })
}

/// Ends the least recently seen session if the account has the maximum. The caller holds the lock of the account's row.
pub(super) async fn make_room(
    work: &mut Work,
    user: UserId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let oldest = work
        .optional(
            "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
             ORDER BY last_seen_at DESC, id DESC LIMIT 1 OFFSET $3",
            args![user, now, MAX_PER_USER - 1],
        )
        .await?;
    if let Some(row) = oldest {
        let oldest = SessionId::from_uuid(row.get("id")?);
        sessions::end(work, user, Ending::one(oldest, "too_many_sessions"), None, now).await?;
    }
    Ok(())
}

pub(super) async fn insert(work: &mut Work, session: &Session) -> Result<(), sqlx::Error> {
    work.run(
        "INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at,
             expires_at, absolute_expires_at, jkt)
         VALUES ($1, $2, $3, $4, $7, $5, $6, $7, $7, $8, $9, $10)",
        args![
            session.id,
            session.user_id,
            session.method.as_str(),
            session.generation,
            &session.device,
            &session.ip,
            session.created_at,
            session.expires_at,
            session.absolute_expires_at,
            session.jkt.as_deref(),
        ],
    )
    .await?;
    Ok(())
}

/// Resets the consecutive failures after a success, also those under the previous secret.
pub(super) async fn forget_failures(
    work: &mut Work,
    claimant: Claimant<'_>,
    kind: AttemptKind,
) -> Result<(), sqlx::Error> {
    let former = claimant.former_key.map(PhoneKey::as_str);
    work.run(
        "DELETE FROM guesses WHERE kind = $2 AND (phone_key = $1 OR phone_key = $3)",
        args![claimant.phone_key.as_str(), kind.as_str(), former],
    )
    .await?;
    Ok(())
}
