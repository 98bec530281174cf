//! Refreshes that arrive together, written by one statement.

use uuid::Uuid;

use super::refresh::Presented;
use super::sessions::{self, Session, session_returning};
use domain::engine_error::EngineError;
use domain::ids::SessionId;
use domain::timestamp::Timestamp;
use serde::Serialize;
use sql::batch::{Act, column};
use sql::{LIMIT, Pool, args};

pub(super) const REFRESH: &str = "refresh a session";

/// Advances each session whose presented generation is the current one, and that is live and whose key is proven.
/// `$job`: a table of what was presented, whose columns have names of their own.
///
/// `IS TRUE` leaves the primary key as the only way to a session: on a table that was never analysed the server would
/// rather read all live sessions by an index with `ended_at`.
///
/// `sweep_at` changes only if the idle time was configured shorter: else no indexed column does, and PostgreSQL touches no
/// index.
macro_rules! refresh {
    ($job:literal) => {
        concat!(
            "UPDATE sessions SET generation = generation + 1, rotated_at = at, last_seen_at = at,
                expires_at = CASE WHEN absolute_expires_at < idle_until THEN absolute_expires_at ELSE idle_until END,
                sweep_at = CASE WHEN idle_until < sweep_at THEN idle_until ELSE sweep_at END
             FROM ",
            $job,
            " WHERE id = presented AND (generation = presented_generation AND ended_at IS NULL AND expires_at > at
                AND (jkt IS NULL OR jkt = proven)) IS TRUE
             RETURNING ",
            session_returning!()
        )
    };
}

/// The rows are locked in the order of ids as long as a nested loop takes them from `unnest`. Two gateways that have two
/// sessions in common could wait in a circle under another plan; a batch's short wait for a lock would end it.
const REFRESH_POSTGRES: &str = refresh!(
    "unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
        AS job (presented, presented_generation, at, idle_until, proven)"
);
const REFRESH_SQLITE: &str = refresh!(
    "(SELECT unhex(value ->> 'presented', '-') AS presented, value ->> 'presented_generation' AS presented_generation,
            value ->> 'at' AS at, value ->> 'idle_until' AS idle_until, value ->> 'proven' AS proven
        FROM json_each($1)) AS job"
);

/// A refresh token that may be its session's current one. Times are milliseconds.
#[derive(Clone, Serialize)]
pub(super) struct Refresh {
    presented: SessionId,
    presented_generation: i64,
    at: i64,
    idle_until: i64,
    proven: Option<String>,
}

impl Refresh {
    pub(super) fn of(presented: Presented<'_>, idle_secs: i64, now: Timestamp) -> Self {
        Self {
            presented: presented.session,
            presented_generation: presented.generation,
            at: now.ms(),
            idle_until: now.plus_secs(idle_secs).ms(),
            proven: presented.jkt.map(str::to_owned),
        }
    }
}

impl Act for Refresh {
    /// The session: of concurrent refreshes with one token, one rotates.
    type Key = Uuid;
    /// The session with its next generation; `None` if the token is not the current one of a live session. An error is
    /// about this one alone.
    type Answer = Result<Option<Session>, sqlx::Error>;
    const NAME: &'static str = "refresh";
    const FOR_ITS_CALLER: bool = true;
    const PATIENCE: Option<std::time::Duration> = Some(LIMIT);

    fn key(&self) -> Uuid {
        self.presented.uuid()
    }

    async fn write(db: &Pool, acts: &[Self]) -> Result<Vec<Option<Self::Answer>>, EngineError> {
        db.statement(REFRESH, async |work| {
            let rows = if work.is_postgres() {
                work.rows(
                    REFRESH_POSTGRES,
                    args![
                        &column(acts, |act| Some(act.presented.uuid())),
                        &column(acts, |act| Some(act.presented_generation)),
                        &column(acts, |act| Some(act.at)),
                        &column(acts, |act| Some(act.idle_until)),
                        &column(acts, |act| act.proven.as_deref()),
                    ],
                )
                .await?
            } else {
                let acts =
                    serde_json::to_string(acts).map_err(|e| sqlx::Error::Encode(e.into()))?;
                work.rows(REFRESH_SQLITE, args![&acts]).await?
            };
            let mut rotated = std::collections::HashMap::with_capacity(rows.len());
            for row in &rows {
                rotated.insert(row.get::<Uuid>("s_id")?, sessions::session(row));
            }
            let answer = |act: &Self| rotated.remove(&act.key()).transpose();
            Ok(acts.iter().map(answer).map(Some).collect())
        })
        .await
    }
}
