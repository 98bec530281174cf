//! Sign-in by code: the fence, the account, the session and everything that belongs to them, in one transaction (P3).

use std::fmt;

use super::outbox::CutEvent;
use super::redeem::{Denied, redeem};
use super::sessions::{self, LiveSession, Session, session_columns};
use super::sign_in_document::{Document, SignIn};
use super::throttle::{self, Throttle};
use super::users::{self, User, user_columns, user_returning};
use super::{Accounts, audit, document, lock_marks};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

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
            .statement("sign in", async |work| {
                let session = sign_in.session.of(sign_in.new_user, sign_in.now);
                let document = Document::of(&sign_in, &session)?;
                if work.is_postgres() {
                    sign_in_postgres(work, &document, &session).await
                } else {
                    work.transaction(async |work| sign_in_sqlite(work, &document, &session).await)
                        .await
                }
            })
            .await
    }

    /// What a login with this key left within the last 30 s. The caller compares the body's digest before it uses the
    /// session.
    pub async fn login_replay(
        &self,
        key_hash: &str,
        now: Timestamp,
    ) -> Result<Option<LoginReplay>, EngineError> {
        let sql = concat!(
            "SELECT k.body_hash, s.generation = 1 AND s.ended_at IS NULL AND s.expires_at > $2
                 AND u.blocked_at IS NULL AS unused, ",
            session_columns!(),
            ", ",
            user_columns!(),
            " FROM login_keys k JOIN sessions s ON s.id = k.session_id JOIN users u ON u.id = s.user_id
              WHERE k.key_hash = $1 AND k.expires_at > $2"
        );
        self.pool.optional("look for an earlier login", sql, args![key_hash, now], replay).await
    }
}

async fn sign_in_postgres(
    work: &mut Work,
    document: &Document<'_>,
    session: &Session,
) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
    throttle::carry_over_alone(work, &document.attempt).await?;
    let text = document::text(document)?;
    let sql = "SELECT verdict, until_ms, created, (account).id AS u_id, (account).phone_number,
                 (account).first_name, (account).last_name, (account).locale, (account).country, (account).role,
                 (account).created_at AS u_created_at, (account).blocked_at IS NOT NULL AS blocked
             FROM latchkey_sign_in_4($1::jsonb)";
    let row = work.one(sql, args![&text]).await?;
    let verdict: String = row.get("verdict")?;
    match verdict.as_str() {
        "signed_in" => {
            if document.attempt.former_key.is_some() {
                // The function knows one key. If this fails, an old count stays a little longer.
                lock_marks::reset(work, &document.attempt, None).await?;
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
    work: &mut Work,
    document: &Document<'_>,
    session: &Session,
) -> Result<Result<LoginOutcome, Denied>, sqlx::Error> {
    let attempt = &document.attempt;
    let now = attempt.now;
    let judged = match redeem(work, attempt, document.code).await? {
        Ok(judged) => judged,
        Err(denied) => {
            work.undo().await?;
            return Ok(Err(denied));
        }
    };
    let user = upsert_user(work, document).await?;
    let created = user.id == document.new_user;
    let name = user.id.to_string();
    if user.blocked {
        audit::write(work, now, &name, "sign_in_refused_blocked", &name, "{}").await?;
        return Ok(Ok(LoginOutcome::Blocked));
    }
    sessions::make_room(work, user.id, now).await?;
    let session = Session { user_id: user.id, ..session.clone() };
    sessions::insert(work, &session).await?;
    if let (Some(key_hash), Some(body_hash)) = (document.key_hash, document.body_hash) {
        let sql = "INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (key_hash) DO UPDATE SET body_hash = $2, session_id = $3, expires_at = $4";
        work.run(sql, args![key_hash, body_hash, session.id, document.key_expires_at]).await?;
    }
    lock_marks::reset(work, attempt, judged.opened).await?;
    CutEvent::write_all(work, document.events_of(created), &name, now).await?;
    let act = if created { "signed_up" } else { "signed_in" };
    audit::write(work, now, &name, act, &name, &document.detail).await?;
    Ok(Ok(LoginOutcome::SignedIn { user, created, session }))
}

/// The account of the number, created if missing.
async fn upsert_user(work: &mut Work, document: &Document<'_>) -> Result<User, sqlx::Error> {
    let attempt = &document.attempt;
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
                attempt.now,
            ],
        )
        .await?;
    users::user(&row)
}

fn replay(row: &Row) -> Result<LoginReplay, sqlx::Error> {
    let session = if row.get("unused")? { Some(sessions::live(row)?) } else { None };
    Ok(LoginReplay { body_hash: row.get("body_hash")?, session })
}
