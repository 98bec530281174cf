//! Passwords: their hashes, and the sessions that they start. The gateway hashes and compares.

use std::fmt;

use serde_json::json;
use uuid::Uuid;

use super::notice::{About, OwnerNotice};
use super::outbox::Prepared;
use super::sessions::{self, Ending, Method, NewSession, Session};
use super::throttle::{self, Attempt, AttemptKind, AttemptLimits, Claimant, Throttle};
use super::users::{self, User, user_returning};
use super::{Accounts, audit, lock_marks, notice};
use domain::engine_error::EngineError;
use domain::event::{PasswordRemoved, PasswordSet, SessionStarted};
use domain::ids::{SessionId, UserId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// An account's password, as its hash.
#[derive(Clone)]
pub struct StoredPassword {
    pub user_id: UserId,
    /// In PHC form.
    pub hash: String,
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredPassword").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// What a sign-in by password needs to compare.
#[derive(Clone, Debug)]
pub struct PasswordLook {
    /// The password of the phone's account, if it has one.
    pub stored: Option<StoredPassword>,
    /// The most iterations of all remaining imported hashes, 0 if there are none: every comparison has to cost as much,
    /// so that its time does not reveal whose hash it was (P6).
    pub imported_iterations: u32,
}

/// A sign-in with a correct password.
#[derive(Clone, Copy)]
pub struct PasswordSignIn<'a> {
    pub claimant: Claimant<'a>,
    pub user_id: UserId,
    /// The hash that the password was compared with: if it was changed meanwhile, the sign-in fails.
    pub hash: &'a str,
    pub limits: AttemptLimits,
    pub session: NewSession<'a>,
    pub traceparent: Option<&'a str>,
    pub now: Timestamp,
}

/// A new password for an account, or the removal of the one that it has.
#[derive(Clone, Copy)]
pub struct PasswordChange<'a> {
    pub user_id: UserId,
    /// The hash to replace, if there is one.
    pub was: Option<&'a str>,
    /// In PHC form. `None` removes the password.
    pub hash: Option<&'a str>,
    /// The attempt that proved the password of `was`; `None` if another proof was given.
    pub attempt: Option<(Claimant<'a>, AttemptLimits)>,
    /// The session that makes the change, if it is still live: the others end.
    pub keep: SessionId,
    /// The notice to the owner, written only together with the change.
    pub notice: Option<&'a OwnerNotice>,
    pub now: Timestamp,
}

impl PasswordChange<'_> {
    /// What belongs to a change: the end of the other sessions, the event, the notice, the audit.
    async fn write_rest(&self, work: &mut Work) -> Result<(), sqlx::Error> {
        let Self { user_id, now, .. } = *self;
        let session_id = Some(self.keep);
        let (reason, act, event) = match self.hash {
            Some(_) => {
                let set = PasswordSet { user_id, session_id, at: now };
                ("password_changed", "password_set", Prepared::of(now, None, set)?)
            }
            None => {
                let removed = PasswordRemoved { user_id, session_id, at: now };
                ("password_removed", "password_removed", Prepared::of(now, None, removed)?)
            }
        };
        sessions::end(work, user_id, Ending::others(self.keep, reason), None, now).await?;
        event.write(work, now).await?;
        notice::write(work, user_id, self.notice, About::Password, now).await?;
        let (user, detail) = (user_id.to_string(), json!({ "session": self.keep }).to_string());
        audit::write(work, now, &user, act, &user, &detail).await
    }
}

/// Why a password was not changed. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChangeDenied {
    /// The caller must not reveal that the current password was correct.
    Throttled(Throttle),
    /// The session that makes the change has ended, or its account is gone.
    SessionEnded,
}

/// The outcome of a sign-in with a correct password that was not throttled.
#[expect(clippy::large_enum_variant, reason = "returned once and taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordOutcome {
    SignedIn {
        user: User,
        session: Session,
    },
    /// The account is blocked; no session was created.
    Blocked,
    /// The password was changed, or the account was deleted, since the comparison: the credentials are not valid.
    Changed,
}

/// The query of [`Accounts::password_of`]. The iterations of an imported hash are computed as in the index of
/// `0007_imported_passwords.sql`, so the maximum is one index lookup, however many there are.
macro_rules! look {
    ($iterations:literal) => {
        concat!(
            "SELECT u.id, u.password_hash,
                 (SELECT ",
            $iterations,
            " FROM users WHERE substr(password_hash, 1, 14) = 'pbkdf2_sha256$' AND ",
            $iterations,
            " IS NOT NULL ORDER BY ",
            $iterations,
            " DESC LIMIT 1) AS imported_iterations
             FROM (SELECT 1 AS one) AS one
             LEFT JOIN users u ON u.phone_number = $1 AND u.password_hash IS NOT NULL"
        )
    };
}

impl Accounts {
    /// The password of a phone's account, if it has one, and the cost of the imported hashes. One statement, one row.
    pub async fn password_of(&self, phone_number: &E164) -> Result<PasswordLook, EngineError> {
        self.pool
            .read("read a password's hash", async |work| {
                let sql = if work.is_postgres() {
                    look!(
                        "substring(password_hash from '^pbkdf2_sha256[$]([0-9]{1,9})[$]')::bigint"
                    )
                } else {
                    look!("CAST(substr(password_hash, 15) AS INTEGER)")
                };
                let row = work.one(sql, args![phone_number]).await?;
                let stored = match row.get::<Option<Uuid>>("id")? {
                    Some(id) => Some(StoredPassword {
                        user_id: UserId::from_uuid(id),
                        hash: row.get("password_hash")?,
                    }),
                    None => None,
                };
                let most = row.get::<Option<i64>>("imported_iterations")?.unwrap_or_default();
                Ok(PasswordLook {
                    stored,
                    imported_iterations: u32::try_from(most).unwrap_or_default(),
                })
            })
            .await
    }

    /// The hash of an account's password, if it has one: for the check of `current_password`.
    pub async fn password_hash(&self, user: UserId) -> Result<Option<String>, EngineError> {
        let sql = "SELECT password_hash FROM users WHERE id = $1";
        let hash = |row: &Row| row.get("password_hash");
        let args = args![user];
        self.pool.optional("read a password's hash", sql, args, hash).await.map(Option::flatten)
    }

    /// Sets or removes the password and ends the other sessions. Returns whether it did: `false` if the password is no
    /// longer the one of `was`.
    ///
    /// A presented current password is judged like one that signs in: even a correct one must wait, the caller must not
    /// reveal that it was correct, and it resets the consecutive failures.
    pub async fn set_password(
        &self,
        change: PasswordChange<'_>,
    ) -> Result<Result<bool, PasswordChangeDenied>, EngineError> {
        let PasswordChange { user_id, now, .. } = change;
        self.pool
            .transaction("set a password", async |work| {
                let attempt = change.attempt.map(|(claimant, limits)| {
                    Attempt::new(claimant, AttemptKind::Password, limits, now)
                });
                let mut opened = None;
                if let Some(attempt) = &attempt {
                    match throttle::check_locked(work, attempt).await? {
                        Ok(judged) => opened = judged.opened,
                        Err(throttle) => {
                            work.undo().await?;
                            return Ok(Err(PasswordChangeDenied::Throttled(throttle)));
                        }
                    }
                }
                if !sessions::lock_live(work, user_id, change.keep, now).await? {
                    work.undo().await?;
                    return Ok(Err(PasswordChangeDenied::SessionEnded));
                }
                let sql = "UPDATE users SET password_hash = $2, updated_at = $3
                     WHERE id = $1 AND COALESCE(password_hash, '') = COALESCE($4, '')";
                let set = work.run(sql, args![user_id, change.hash, now, change.was]).await?;
                if set == 0 {
                    work.undo().await?;
                    return Ok(Ok(false));
                }
                if let Some(attempt) = &attempt {
                    lock_marks::reset(work, attempt, opened).await?;
                }
                change.write_rest(work).await?;
                Ok(Ok(true))
            })
            .await
    }

    /// Removes the password on behalf of staff, and ends the sessions that it started. Returns whether there was one.
    pub async fn clear_password(
        &self,
        user_id: UserId,
        notice: Option<&OwnerNotice>,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("clear a password", async |work| {
                let sql = "UPDATE users SET password_hash = NULL, updated_at = $2
                     WHERE id = $1 AND password_hash IS NOT NULL";
                if work.run(sql, args![user_id, now]).await? == 0 {
                    work.undo().await?;
                    return Ok(false);
                }
                let by_password = Ending::started_by(Method::Pwd, "password_cleared");
                sessions::end(work, user_id, by_password, Some(actor), now).await?;
                let removed = PasswordRemoved { user_id, session_id: None, at: now };
                Prepared::of(now, None, removed)?.write(work, now).await?;
                notice::write(work, user_id, notice, About::Password, now).await?;
                let user = user_id.to_string();
                audit::write(work, now, actor, "password_cleared", &user, "{}").await?;
                Ok(true)
            })
            .await
    }

    /// Replaces a hash by another of the same password: not a change that has to be reported. Returns whether the hash
    /// was still the one in `was`.
    pub async fn rehash_password(
        &self,
        user: UserId,
        was: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let sql = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 AND password_hash = $4";
        let set = self.pool.run("rehash a password", sql, args![user, hash, now, was]).await?;
        Ok(set > 0)
    }

    /// Exchanges a correct password for a session. Judged like a code check, with a separate count: even a correct one
    /// must wait, and the caller must not reveal that it was correct.
    pub async fn start_password_session(
        &self,
        sign_in: PasswordSignIn<'_>,
    ) -> Result<Result<PasswordOutcome, Throttle>, EngineError> {
        let PasswordSignIn { claimant, user_id, limits, now, .. } = sign_in;
        let attempt = Attempt::new(claimant, AttemptKind::Password, limits, now);
        self.pool.transaction("sign in by password", async |work| {
            let judged = match throttle::check_locked(work, &attempt).await? {
                Ok(judged) => judged,
                Err(throttle) => {
                    work.undo().await?;
                    return Ok(Err(throttle));
                }
            };
            let sql = concat!(
                        "UPDATE users SET last_seen_at = CASE WHEN blocked_at IS NULL THEN $3 ELSE last_seen_at END
                         WHERE id = $1 AND password_hash = $2 AND phone_number = $4 RETURNING ",
                        user_returning!()
                    );
            let row = work.optional(sql, args![user_id, sign_in.hash, now, claimant.phone_number]).await?;
            let Some(user) = row.as_ref().map(users::user).transpose()? else {
                work.undo().await?;
                return Ok(Ok(PasswordOutcome::Changed));
            };
            let name = user.id.to_string();
            if user.blocked {
                audit::write(work, now, &name, "sign_in_refused_blocked", &name, "{}").await?;
                return Ok(Ok(PasswordOutcome::Blocked));
            }
            sessions::make_room(work, user.id, now).await?;
            let session = sign_in.session.of(user.id, now);
            sessions::insert(work, &session).await?;
            lock_marks::reset(work, &attempt, judged.opened).await?;
            let method = session.method.as_str().to_owned();
            let started =
                SessionStarted { session_id: session.id, user_id, started_at: now, method };
            Prepared::of(now, sign_in.traceparent, started)?.write(work, now).await?;
            let detail =
                json!({ "session": session.id, "method": session.method.as_str() }).to_string();
            audit::write(work, now, &name, "signed_in", &name, &detail).await?;
            Ok(Ok(PasswordOutcome::SignedIn { user, session }))
        })
        .await
    }
}
