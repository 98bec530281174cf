//! Sessions: one row each, from sign-in to its end.

use serde_json::json;

use super::outbox::Prepared;
use super::users::{self, User, user_columns};
use super::{Sessions, audit, device_ends};
use domain::engine_error::EngineError;
use domain::event::SessionEnded;
use domain::ids::{SessionId, UserId};
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// The maximum of live sessions per account; one more ends one of them, see [`make_room`].
pub(super) const MAX_PER_USER: u32 = 50;

string_enum! {
    /// How a session was started: the names of RFC 8176, as in `amr`.
    pub enum Method { Sms = "sms", Call = "call", Pwd = "pwd" }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    pub method: Method,
    /// The generation of the current refresh token: 1 after the sign-in.
    pub generation: i64,
    pub device: String,
    /// Already truncated.
    pub ip: String,
    /// When the user authenticated: `auth_time`. A refresh does not change it.
    pub created_at: Timestamp,
    /// The time of the last refresh.
    pub last_seen_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// When it ends even if it is refreshed.
    pub absolute_expires_at: Timestamp,
    /// The RFC 7638 thumbprint of the client's key that it is bound to (RFC 9449); `None` if it is not bound.
    pub jkt: Option<String>,
}

/// A live session, and its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    pub session: Session,
    pub user: User,
}

/// A session, live or ended, for as long as it is kept.
#[derive(Clone, Debug)]
pub struct KeptSession {
    pub session: Session,
    /// When it ended, and why.
    pub ended: Option<(Timestamp, String)>,
}

/// The columns that [`session`] reads, of a table named `s`.
macro_rules! session_columns {
    () => {
        "s.id AS s_id, s.user_id, s.method, s.generation, s.device, s.ip, s.created_at AS s_created_at, \
         s.last_seen_at, s.expires_at, s.absolute_expires_at, s.jkt"
    };
}
/// The same columns in a `RETURNING` clause.
macro_rules! session_returning {
    () => {
        "id AS s_id, user_id, method, generation, device, ip, created_at AS s_created_at, last_seen_at, \
         expires_at, absolute_expires_at, jkt"
    };
}
pub(super) use {session_columns, session_returning};

pub(super) fn session(row: &Row) -> Result<Session, sqlx::Error> {
    let method: String = row.get("method")?;
    let unknown = |_| sqlx::Error::Decode(format!("a session's method is {method:?}").into());
    Ok(Session {
        id: SessionId::from_uuid(row.get("s_id")?),
        user_id: UserId::from_uuid(row.get("user_id")?),
        method: method.parse().map_err(unknown)?,
        generation: row.get("generation")?,
        device: row.get("device")?,
        ip: row.get("ip")?,
        created_at: row.time("s_created_at")?,
        last_seen_at: row.time("last_seen_at")?,
        expires_at: row.time("expires_at")?,
        absolute_expires_at: row.time("absolute_expires_at")?,
        jkt: row.get("jkt")?,
    })
}

/// Which sessions of an account to end, and why.
#[derive(Clone, Copy)]
pub(super) struct Ending<'a> {
    only: Option<SessionId>,
    but: Option<SessionId>,
    method: Option<Method>,
    reason: &'a str,
    /// Whether the tokens of their devices end, too.
    with_devices: bool,
}

impl<'a> Ending<'a> {
    pub(super) const fn all(reason: &'a str) -> Self {
        Self { only: None, but: None, method: None, reason, with_devices: false }
    }

    pub(super) const fn started_by(method: Method, reason: &'a str) -> Self {
        Self { method: Some(method), ..Self::all(reason) }
    }

    pub(super) const fn one(id: SessionId, reason: &'a str) -> Self {
        Self { only: Some(id), ..Self::all(reason) }
    }

    pub(super) const fn others(but: SessionId, reason: &'a str) -> Self {
        Self { but: Some(but), ..Self::all(reason) }
    }

    /// Ends the tokens of the devices, too: of the one session, or of all the account's sign-ins but the kept session's,
    /// whether their sessions are live or not (contract, ruling 39).
    pub(super) const fn with_devices(self) -> Self {
        Self { with_devices: true, ..self }
    }
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

/// Locks the account and this session of it until the transaction's end. Returns whether the session is live: it may
/// have ended since the call that it makes was let in.
pub(super) async fn lock_live(
    work: &mut Work,
    user: UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    // The account first, like every ending.
    if users::lock_user(work, user).await?.is_none() {
        return Ok(false);
    }
    let sql = locking!(
        work,
        "SELECT 1 AS live FROM sessions
             WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
        " FOR UPDATE",
        ""
    );
    Ok(work.optional(sql, args![id, user, now]).await?.is_some())
}

/// Ends sessions, each with its event, and with one audit entry for all. Returns how many were live. Unless it is about one
/// session, the account's sessions at the console end as well.
pub(super) async fn end(
    work: &mut Work,
    user: UserId,
    ending: Ending<'_>,
    actor: Option<&str>,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE sessions SET ended_at = $2, ended_reason = $3
             WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
               AND ($4 IS NULL OR id = $4) AND ($5 IS NULL OR id <> $5) AND ($6 IS NULL OR method = $6)
             RETURNING id, created_at";
    if ending.only.is_none() {
        let sql = "DELETE FROM console_sessions WHERE user_id = $1";
        work.run(sql, args![user]).await?;
    }
    let method = ending.method.map(Method::as_str);
    let rows =
        work.rows(sql, args![user, now, ending.reason, ending.only, ending.but, method]).await?;
    let mut ended = Vec::with_capacity(rows.len());
    let mut signed_in_at = Vec::with_capacity(rows.len());
    for row in &rows {
        signed_in_at.push(row.time("created_at")?);
        let session_id = SessionId::from_uuid(row.get("id")?);
        let reason = ending.reason.to_owned();
        let event = SessionEnded { session_id, user_id: user, ended_at: now, reason };
        Prepared::of(now, None, event)?.write(work, now).await?;
        ended.push(session_id);
    }
    if ending.with_devices && ending.only.is_some() {
        device_ends::end_of(work, user, &signed_in_at).await?;
    } else if ending.with_devices {
        device_ends::end_all(work, user, ending.but, now).await?;
    }
    if !ended.is_empty() {
        let detail = json!({ "reason": ending.reason, "sessions": ended }).to_string();
        let user = user.to_string();
        audit::write(work, now, actor.unwrap_or(&user), "session_ended", &user, &detail).await?;
    }
    Ok(ended.len() as u64)
}

/// Ends one session if the account has the maximum: the least recently seen of those that a password started, or of all
/// if a password started none. The caller holds the lock of the account's row.
///
/// A password may not end a code's sessions (contract, ruling 37), and 50 sign-ins with it must not either. The order is
/// the same for a sign-in by code, so that an owner's does not end the owner's own sessions while a thief's are there.
pub(super) async fn make_room(
    work: &mut Work,
    user: UserId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
             ORDER BY method = 'pwd', last_seen_at DESC, id DESC LIMIT 1 OFFSET $3";
    let oldest = work.optional(sql, args![user, now, MAX_PER_USER - 1]).await?;
    if let Some(row) = oldest {
        let oldest = SessionId::from_uuid(row.get("id")?);
        end(work, user, Ending::one(oldest, "too_many_sessions"), None, now).await?;
    }
    Ok(())
}

pub(super) async fn insert(work: &mut Work, session: &Session) -> Result<(), sqlx::Error> {
    work.run(
        "INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at,
             expires_at, absolute_expires_at, jkt, sweep_at)
         VALUES ($1, $2, $3, $4, $7, $5, $6, $7, $7, $8, $9, $10, $8)",
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
    .await.map(drop)
}

impl Sessions {
    /// The session and its account, if it is live: what an access token is checked against. One round trip.
    pub async fn live(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<LiveSession>, EngineError> {
        let sql = concat!(
            "SELECT ",
            session_columns!(),
            ", ",
            user_columns!(),
            " FROM sessions s JOIN users u ON u.id = s.user_id
              WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > $2 AND u.blocked_at IS NULL"
        );
        self.pool.optional("read a session", sql, args![id, now], live).await
    }

    /// The live sessions of an account, the last seen first.
    pub async fn of_user(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, EngineError> {
        let sql = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions s WHERE s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2
              ORDER BY s.last_seen_at DESC, s.id DESC"
        );
        self.pool.rows("list sessions", sql, args![user, now], session).await
    }

    /// The sessions of an account that are kept, the last seen first: the ended ones for three months.
    pub async fn kept(&self, user: UserId, limit: u32) -> Result<Vec<KeptSession>, EngineError> {
        let sql = concat!(
            "SELECT s.ended_at, s.ended_reason, ",
            session_columns!(),
            " FROM sessions s WHERE s.user_id = $1
              ORDER BY s.ended_at IS NOT NULL, s.last_seen_at DESC, s.id DESC LIMIT $2"
        );
        let kept = |row: &Row| {
            let ended = row.maybe_time("ended_at")?;
            let why: Option<String> = row.get("ended_reason")?;
            let ended = ended.map(|at| (at, why.unwrap_or_default()));
            Ok(KeptSession { session: session(row)?, ended })
        };
        self.pool.rows("list an account's sessions", sql, args![user, limit], kept).await
    }

    /// Whose a session is, live or ended, as long as it is kept.
    pub async fn owner(&self, id: SessionId) -> Result<Option<UserId>, EngineError> {
        let sql = "SELECT user_id FROM sessions WHERE id = $1";
        let of = |row: &Row| row.get("user_id").map(UserId::from_uuid);
        self.pool.optional("read a session's account", sql, args![id], of).await
    }

    /// Ends one session of this account; its device stays known. Returns whether it existed and was live.
    pub async fn end(
        &self,
        user: UserId,
        id: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let ended = self.end_sessions(user, Ending::one(id, reason), None, now).await?;
        Ok(ended > 0)
    }

    /// The same for another session `by`, and the device of that session is known no more (contract, ruling 39). `None`
    /// if `by` has ended itself.
    pub async fn end_with_device(
        &self,
        user: UserId,
        id: SessionId,
        by: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<bool>, EngineError> {
        let ending = Ending::one(id, reason).with_devices();
        Ok(self.end_for(user, by, ending, now).await?.map(|ended| ended > 0))
    }

    /// Ends all sessions of this account but one, and knows no device any more but that session's (contract, ruling 39).
    /// Returns how many were live; `None` if `keep` has ended itself.
    pub async fn end_others(
        &self,
        user: UserId,
        keep: SessionId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<u64>, EngineError> {
        let ending = Ending::others(keep, reason).with_devices();
        self.end_for(user, keep, ending, now).await
    }

    /// Ends sessions for the session `by`; `None` if that is not live.
    async fn end_for(
        &self,
        user: UserId,
        by: SessionId,
        ending: Ending<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, EngineError> {
        self.pool
            .transaction("end sessions", async |work| {
                if !lock_live(work, user, by, now).await? {
                    work.undo().await?;
                    return Ok(None);
                }
                end(work, user, ending, None, now).await.map(Some)
            })
            .await
    }

    /// Ends one session of this account for staff, or all of them, and knows their devices no more. Returns how many were
    /// live.
    pub async fn end_by_staff(
        &self,
        user: UserId,
        only: Option<SessionId>,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64, EngineError> {
        let reason = "ended_by_staff";
        let ending = only.map_or(Ending::all(reason), |id| Ending::one(id, reason));
        self.end_sessions(user, ending.with_devices(), Some(actor), now).await
    }

    async fn end_sessions(
        &self,
        user: UserId,
        ending: Ending<'_>,
        actor: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, EngineError> {
        self.pool
            .transaction("end sessions", async |work| {
                // Endings of one account queue at its row: two that lock its sessions in different orders could
                // deadlock.
                users::lock_user(work, user).await?;
                let ended = end(work, user, ending, actor, now).await?;
                Ok(ended)
            })
            .await
    }
}

pub(super) fn live(row: &Row) -> Result<LiveSession, sqlx::Error> {
    Ok(LiveSession { session: session(row)?, user: users::user(row)? })
}
