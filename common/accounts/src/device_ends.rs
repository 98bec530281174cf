//! Device tokens that end before their year is over (contract, ruling 39). No token is stored: it is known by its account
//! and by the time of its sign-in, so what ends is a span of such times.

use super::Sessions;
use domain::engine_error::EngineError;
use domain::ids::{SessionId, UserId};
use domain::timestamp::Timestamp;
use sql::{Work, args};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// From the first of these times to the last, both included.
type Span = (Timestamp, Timestamp);

/// Ends the token of each of these sign-ins. The caller holds the lock of the account's row.
pub(super) async fn end_of(
    work: &mut Work,
    user: UserId,
    signed_in_at: &[Timestamp],
) -> Result<(), sqlx::Error> {
    for at in signed_in_at {
        insert(work, user, (*at, *at)).await?;
    }
    Ok(())
}

/// Ends every token that was issued, but the one of the session `keep`. The caller holds the lock of the account's row.
pub(super) async fn end_all(
    work: &mut Work,
    user: UserId,
    keep: Option<SessionId>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT max(created_at) AS newest, max(CASE WHEN id = $2 THEN created_at END) AS kept
         FROM sessions WHERE user_id = $1";
    let row = work.one(sql, args![user, keep]).await?;
    let kept = row.maybe_time("kept")?;
    // Sign-ins without a session any more are months old. This moment itself is not the last: a sign-in that follows may
    // be dated by a clock that is behind.
    let yesterday = now.plus_ms(-DAY_MS);
    let last = row.maybe_time("newest")?.map_or(yesterday, |newest| newest.max(yesterday));
    // The new spans hold them all.
    let sql = "DELETE FROM device_ends WHERE user_id = $1 AND issued_until <= $2";
    work.run(sql, args![user, last]).await?;
    let first = Timestamp::from_ms(0);
    let spans = match kept {
        Some(kept) => vec![(first, kept.plus_ms(-1)), (kept.plus_ms(1), last)],
        None => vec![(first, last)],
    };
    for span in spans.into_iter().filter(|(from, until)| from <= until) {
        insert(work, user, span).await?;
    }
    Ok(())
}

async fn insert(work: &mut Work, user: UserId, (from, until): Span) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO device_ends (user_id, issued_from, issued_until) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, issued_from) DO UPDATE SET issued_until =
             CASE WHEN device_ends.issued_until < $3 THEN $3 ELSE device_ends.issued_until END";
    work.run(sql, args![user, from, until]).await.map(drop)
}

impl Sessions {
    /// Whether the device token that this account got for its sign-in at this time was ended.
    pub async fn device_is_ended(
        &self,
        user: UserId,
        signed_in_at: Timestamp,
    ) -> Result<bool, EngineError> {
        let sql = "SELECT 1 AS ended FROM device_ends
             WHERE user_id = $1 AND issued_from <= $2 AND issued_until >= $2 LIMIT 1";
        let args = args![user, signed_in_at];
        let row = self.pool.optional("read the end of a device", sql, args, |_| Ok(())).await?;
        Ok(row.is_some())
    }
}
