//! The calls to providers of the last minutes, for staff.

use super::{AttemptState, Reader, rank};
use domain::engine_error::EngineError;
use domain::rng;
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;
use sql::{Row, args};

/// How far the clock that made an attempt's id may be from the one that says since when attempts are wanted.
const MARGIN_MS: i64 = 60_000;

/// A call to a provider.
#[derive(Clone, Debug)]
pub struct RecentAttempt {
    pub provider: String,
    pub state: AttemptState,
    pub started_at: Timestamp,
    /// `None`: it runs, or nobody knows how it ended.
    pub ended_at: Option<Timestamp>,
    pub provider_code: Option<String>,
    /// When a receipt said how its message ended.
    pub receipt_at: Option<Timestamp>,
}

impl Reader {
    /// The calls since then, the newest first, `limit` at most. An attempt's id begins with its time, so the primary key
    /// finds them, and no other index is kept for it.
    pub async fn recent_attempts(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<RecentAttempt>, EngineError> {
        let sql = "SELECT provider, state, started_at, ended_at, provider_code, (
                 SELECT MIN(h.at) FROM sms_history h
                  WHERE h.message_id = a.message_id AND h.rank >= $4 AND a.final_state IS NOT NULL) AS receipt_at
             FROM sms_attempts a WHERE attempt_id >= $1 AND started_at >= $2 ORDER BY attempt_id DESC LIMIT $3";
        let first = rng::id_v7_min(since.plus_ms(-MARGIN_MS).ms());
        let final_rank = rank(Status::Failed);
        let args = args![first, since, limit, final_rank];
        self.db.rows("read the latest calls to providers", sql, args, attempt).await
    }
}

fn attempt(row: &Row) -> Result<RecentAttempt, sqlx::Error> {
    Ok(RecentAttempt {
        provider: row.get("provider")?,
        state: row.word("state")?,
        started_at: row.time("started_at")?,
        ended_at: row.maybe_time("ended_at")?,
        provider_code: row.get("provider_code")?,
        receipt_at: row.maybe_time("receipt_at")?,
    })
}
