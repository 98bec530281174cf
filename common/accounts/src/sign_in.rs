//! Sign-in by code: the fence, the account, the session and everything that belongs to them, in one transaction (P3).
//! `sign_in_batch.rs` writes it.

use std::fmt;

use super::redeem::Denied;
use super::sessions::{self, LiveSession, Session, session_columns};
use super::sign_in_batch::{Login, SIGN_IN};
use super::sign_in_document::SignIn;
use super::throttle;
use super::users::{User, user_columns};
use super::{Accounts, lock_marks};
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
    /// Exchanges a correct code for a session: one round trip on PostgreSQL, shared with the others that wait.
    ///
    /// In this order, all or nothing: the phone's waits and lock; the code's own attempts; the fence, which accepts a
    /// code once whatever Redis says (P3); the account, created if missing; its block; the cap of 50 sessions; the
    /// session; the reset of the phone's failures; the events; the audit. Each sign-in is judged by itself, also among
    /// others that are written with it.
    pub async fn sign_in(
        &self,
        sign_in: SignIn<'_>,
    ) -> Result<Result<LoginOutcome, Denied>, EngineError> {
        let attempt = sign_in.attempt();
        if attempt.former_key.is_some() {
            let act = "keep the failed attempts of a phone";
            let carry_over = async |work: &mut Work| throttle::carry_over(work, &attempt).await;
            self.pool.transaction(act, carry_over).await?;
        }
        let outcome = self.sign_ins.write(Login::of(&sign_in)).await?;
        let outcome = outcome.map_err(|cause| self.pool.error(SIGN_IN, cause))?;
        if attempt.former_key.is_some() && matches!(outcome, Ok(LoginOutcome::SignedIn { .. })) {
            // A batch knows one key. If this fails, an old count stays a little longer.
            let reset = async |work: &mut Work| lock_marks::reset(work, &attempt, None).await;
            self.pool.statement("reset the failed attempts of a phone", reset).await?;
        }
        Ok(outcome)
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

fn replay(row: &Row) -> Result<LoginReplay, sqlx::Error> {
    let session = if row.get("unused")? { Some(sessions::live(row)?) } else { None };
    Ok(LoginReplay { body_hash: row.get("body_hash")?, session })
}
