//! Sessions that end by themselves: found by the sweep, and told of.
//!
//! A refresh moves the end of a session and writes to no index. So the sweep goes by a time of its own, `sweep_at`, which
//! is never after that end: it looks at a session when this time comes, and ends it or puts the time off to the end that
//! the session has by then. That is one look for each idle time, however often the session is refreshed meanwhile.

use std::collections::BTreeMap;

use serde_json::json;

use super::outbox::Prepared;
use super::{Sweeper, audit};
use domain::engine_error::EngineError;
use domain::event::SessionEnded;
use domain::ids::{SessionId, UserId};
use domain::timestamp::Timestamp;
use sql::{Work, args};
use uuid::Uuid;

const EXPIRED: &str = "expired";
/// The actor in the audit: no person requested it.
const SWEEP: &str = "sweep";
/// The most sessions that one sweep looks at.
const LOOK: u32 = 500;
/// The most that it ends: each writes an event and an audit entry, two statements, all within [`sql::LIMIT`].
const END: usize = 25;

impl Sweeper {
    /// Ends a batch of sessions whose idle or absolute time was over at `before`: as of that moment, with an event each
    /// and an audit entry for each account. They were refused since then anyway. Returns whether there may be more.
    pub(super) async fn end_expired(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        // One condition twice: by the first SQLite finds the index of the sweep, by the second PostgreSQL.
        let sql = "SELECT id, expires_at <= $1 AS over FROM sessions
             WHERE ended_at IS NULL AND COALESCE(ended_at, 0) = 0 AND sweep_at <= $1 ORDER BY sweep_at LIMIT $2";
        let of = |row: &sql::Row| Ok((row.get::<Uuid>("id")?, row.get::<bool>("over")?));
        let seen =
            self.pool.rows("look for expired sessions", sql, args![before, LOOK], of).await?;
        let (over, refreshed): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, over)| *over);
        let ids = |of: &[&(Uuid, bool)]| {
            json!(of.iter().map(|(id, _)| id).collect::<Vec<_>>()).to_string()
        };
        if !refreshed.is_empty() {
            let ids = ids(&refreshed);
            let act = "put off the look at sessions";
            self.pool.statement(act, async |work| put_off(work, &ids, before).await).await?;
        }
        if !over.is_empty() {
            let ids = ids(&over[..over.len().min(END)]);
            let act = "end expired sessions";
            self.pool.transaction(act, async |work| end(work, &ids, before, now).await).await?;
        }
        Ok(seen.len() >= LOOK as usize || over.len() > END)
    }
}

/// Sets the next look at these sessions to the end that each has now.
async fn put_off(work: &mut Work, ids: &str, before: Timestamp) -> Result<(), sqlx::Error> {
    let sql = if work.is_postgres() {
        // A row that is in use waits for the next sweep: to lock so many in turn could be a deadlock.
        "UPDATE sessions SET sweep_at = expires_at WHERE id IN (
             SELECT id FROM sessions WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json))
                 AND ended_at IS NULL AND expires_at > $2 FOR UPDATE SKIP LOCKED)"
    } else {
        "UPDATE sessions SET sweep_at = expires_at
         WHERE id IN (SELECT unhex(value, '-') FROM json_each($1)) AND ended_at IS NULL AND expires_at > $2"
    };
    work.run(sql, args![ids, before]).await.map(drop)
}

/// Ends those of these sessions that are still live and over.
async fn end(
    work: &mut Work,
    ids: &str,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    // No account is locked here: endings of an account look for live sessions and skip these, and another sweep skips
    // locked rows.
    let sql = if work.is_postgres() {
        "UPDATE sessions SET ended_at = expires_at, ended_reason = $3 WHERE id IN (
             SELECT id FROM sessions WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json))
                 AND ended_at IS NULL AND expires_at <= $2 FOR UPDATE SKIP LOCKED)
         RETURNING id, user_id, ended_at"
    } else {
        "UPDATE sessions SET ended_at = expires_at, ended_reason = $3
         WHERE id IN (SELECT unhex(value, '-') FROM json_each($1)) AND ended_at IS NULL AND expires_at <= $2
         RETURNING id, user_id, ended_at"
    };
    let rows = work.rows(sql, args![ids, before, EXPIRED]).await?;
    let mut by_user: BTreeMap<UserId, Vec<SessionId>> = BTreeMap::new();
    for row in &rows {
        let session_id = SessionId::from_uuid(row.get("id")?);
        let user_id = UserId::from_uuid(row.get("user_id")?);
        let (ended_at, reason) = (row.time("ended_at")?, EXPIRED.to_owned());
        let event = SessionEnded { session_id, user_id, ended_at, reason };
        Prepared::of(now, None, event)?.write(work, now).await?;
        by_user.entry(user_id).or_default().push(session_id);
    }
    for (user, ended) in by_user {
        let detail = json!({ "reason": EXPIRED, "sessions": ended }).to_string();
        let user = user.to_string();
        audit::write(work, now, SWEEP, "session_ended", &user, &detail).await?;
    }
    Ok(())
}
