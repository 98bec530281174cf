//! Sign-in by code: the fence, the account, the session and everything that belongs to them, in one transaction (P3).

use super::{Accounts, Attempts, audit, document};
use std::fmt;

use serde::Serialize;

use super::attempts::Claimant;
use super::sessions::{self, Ending, LiveSession, MAX_PER_USER, Method, Session, session_columns};
use super::sign_in_document::Document;
use super::throttle::{self, Attempt, AttemptLimits, Throttle};
use super::users::{self, User, user_columns, user_returning};
use domain::engine_error::EngineError;
use domain::event::{Event as _, UserCreated};
use domain::ids::{CodeId, RequestId, SessionId, UserId};
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// A correct code, and its expiry.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsedCode {
    #[serde(rename = "code_id")]
    pub id: CodeId,
    #[serde(rename = "code_expires_at", serialize_with = "document::ms")]
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
                let session = sign_in.session.of(sign_in.new_user, sign_in.now);
                let document = Document::of(&sign_in, &session)?;
                if self.pool.is_postgres() {
                    Box::pin(self.sign_in_postgres(&document, &session)).await
                } else {
                    Box::pin(self.sign_in_sqlite(&document, &session)).await
                }
            })
            .await
    }

    async fn sign_in_postgres(
        &self,
        document: &Document<'_>,
        session: &Session,
    ) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
        Attempts::new(&self.pool).carry_over(&document.attempt).await?;
        let text = document::text(document)?;
        let mut work = self.pool.statement().await?;
        let row = work
            .one(
                "SELECT verdict, until_ms, created, (account).id AS u_id, (account).phone_number,
                     (account).first_name, (account).last_name, (account).locale, (account).country, (account).role,
                     (account).created_at AS u_created_at, (account).blocked_at IS NOT NULL AS blocked
                 FROM latchkey_sign_in_2($1::jsonb)",
                args![&text],
            )
            .await?;
        work.done().await?;
        let verdict: String = row.get("verdict")?;
        match verdict.as_str() {
            "signed_in" => {
                if document.attempt.former_key.is_some() {
                    // The function knows one key. If this fails, an old count stays a little longer.
                    let mut work = self.pool.statement().await?;
                    forget_failures(&mut work, &document.attempt).await?;
                    work.done().await?;
                }
                let user = users::user(&row)?;
                let session = Session { user_id: user.id, ..session.clone() };
                Ok(Ok(LoginOutcome::SignedIn { user, created: row.get("created")?, session }))
            }
            "blocked" => Ok(Ok(LoginOutcome::Blocked)),
            "code_used" => Ok(Err(Denied::CodeUsed)),
            other => Throttle::read(other, row.maybe_time("until_ms")?)
                .map(|throttle| Err(Denied::Throttled(throttle)))
                .ok_or_else(|| sqlx::Error::Decode(format!("unknown verdict {other:?}").into())),
        }
    }

    /// The steps of `sign_in.postgres.sql`, in the same order.
    async fn sign_in_sqlite(
        &self,
        document: &Document<'_>,
        session: &Session,
    ) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
        let attempt = &document.attempt;
        let now = attempt.now;
        let mut work = self.pool.transaction().await?;
        if let Err(denied) = redeem(&mut work, attempt, document.code).await? {
            work.undo().await?;
            return Ok(Err(denied));
        }
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
                    document.new_user,
                    attempt.phone_number,
                    document.first_name,
                    document.last_name,
                    document.locale,
                    document.country,
                    now,
                ],
            )
            .await?;
        let user = users::user(&row)?;
        let created = user.id == document.new_user;
        let name = user.id.to_string();
        if user.blocked {
            audit::write(&mut work, now, &name, "sign_in_refused_blocked", &name, "{}").await?;
            work.done().await?;
            return Ok(Ok(LoginOutcome::Blocked));
        }
        make_room(&mut work, user.id, now).await?;
        let session = Session { user_id: user.id, ..session.clone() };
        insert(&mut work, &session).await?;
        if let (Some(key_hash), Some(body_hash)) = (document.key_hash, document.body_hash) {
            work.run(
                "INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (key_hash) DO UPDATE SET body_hash = $2, session_id = $3, expires_at = $4",
                args![key_hash, body_hash, session.id, document.key_expires_at],
            )
            .await?;
        }
        forget_failures(&mut work, attempt).await?;
        for event in &document.events {
            if created || event.kind != UserCreated::TYPE {
                event.of(user.id).write(&mut work, now).await?;
            }
        }
        let act = if created { "signed_up" } else { "signed_in" };
        audit::write(&mut work, now, &name, act, &name, &document.detail).await?;
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

/// Judges an attempt with a correct code and passes the code through the fence, once. If denied, the caller undoes the
/// transaction.
pub(super) async fn redeem(
    work: &mut Work,
    attempt: &Attempt<'_>,
    code: UsedCode,
) -> Result<Result<(), Denied>, sqlx::Error> {
    if let Err(throttle) = throttle::check_locked(work, attempt).await? {
        return Ok(Err(Denied::Throttled(throttle)));
    }
    let spent = work
        .optional(
            "SELECT 1 AS spent FROM code_guesses WHERE code_id = $1 AND failures >= $2",
            args![code.id, attempt.code_attempts],
        )
        .await?;
    if spent.is_some() {
        return Ok(Err(Denied::CodeUsed));
    }
    let passed = work
        .run(
            "INSERT INTO used_codes (code_id, used_at, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            args![code.id, attempt.now, code.expires_at],
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
    attempt: &Attempt<'_>,
) -> Result<(), sqlx::Error> {
    work.run(
        "DELETE FROM guesses WHERE kind = $2 AND (phone_key = $1 OR phone_key = $3)",
        args![attempt.phone_key, attempt.kind, attempt.former_key],
    )
    .await?;
    Ok(())
}
