//! Rows whose time is over, in bounded batches.

use super::throttle::GuessLimits;
use super::{Sessions, Sweeper};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::args;

/// At most this many rows of a table in one go, so that no sweep holds locks for long.
const BATCH: u32 = 500;
/// At most this many where each row has an event and a line of the audit to write: two statements each, all within
/// [`super::LIMIT`].
const BATCH_WITH_EVENTS: u32 = 25;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// What guards sign-ins is kept this much longer than it is of use: who sweeps goes by his own clock, which may be wrong,
/// and Redis may come back from a backup. What is over is judged so when it is read.
const MARGIN_MS: i64 = DAY_MS;
/// A session is told to have run out this much later: a sweep whose host's clock is ahead must not end one for good that
/// the others would still refresh.
const EXPIRED_MARGIN_MS: i64 = 60 * 60 * 1000;
/// For whoever looks into why an event did not arrive.
const PUBLISHED_MS: i64 = DAY_MS;
/// Sessions that are over stay for three months, the time that PCI DSS 4.0 (10.5.1) wants of a history that is
/// at hand. No token depends on it: one whose session is not there gets the answer of one whose session ended.
const ENDED_SESSION_MS: i64 = 90 * DAY_MS;

/// How many rows a sweep removed, and whether there may be more of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub removed: u64,
    pub more: bool,
}

impl Sweeper {
    /// Removes a batch of what is over: used codes, counts of codes, counts of phones that start anew anyway, keys of
    /// logins, published events, sessions, replaced numbers that can no longer be put back. Then ends a batch of the
    /// sessions whose time is over.
    pub async fn sweep(&self, limits: GuessLimits, now: Timestamp) -> Result<Swept, EngineError> {
        let before = now.plus_ms(-MARGIN_MS);
        let sessions_before = now.plus_ms(-ENDED_SESSION_MS);
        let mut swept = Swept::default();
        for (sql, until) in [
            (
                "DELETE FROM used_codes WHERE code_id IN (
                     SELECT code_id FROM used_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM code_guesses WHERE code_id IN (
                     SELECT code_id FROM code_guesses WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM login_keys WHERE key_hash IN (
                     SELECT key_hash FROM login_keys WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM outbox WHERE id IN (
                     SELECT id FROM outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2)",
                now.plus_ms(-PUBLISHED_MS),
            ),
            (
                "DELETE FROM sessions WHERE id IN (
                     SELECT id FROM sessions WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
                sessions_before,
            ),
            (
                "DELETE FROM sessions WHERE id IN (
                     SELECT id FROM sessions WHERE absolute_expires_at < $1 ORDER BY absolute_expires_at LIMIT $2)",
                sessions_before,
            ),
            (
                "DELETE FROM phone_changes WHERE id IN (
                     SELECT id FROM phone_changes WHERE undo_until <= $1 ORDER BY undo_until LIMIT $2)",
                now,
            ),
        ] {
            self.sweep_one(&mut swept, sql, until).await?;
        }
        if limits.failure_reset_secs > 0 {
            // The condition is asked again of the row itself: a guess may just have been counted.
            self.sweep_one(
                &mut swept,
                "DELETE FROM guesses WHERE last_judged_at < $1 AND phone_key IN (
                     SELECT phone_key FROM guesses WHERE last_judged_at < $1 ORDER BY last_judged_at LIMIT $2)",
                before.plus_ms(-limits.reset_ms()),
            )
            .await?;
        }
        // Last: it writes the most, and what is above is not to wait for it.
        let expired_before = now.plus_ms(-EXPIRED_MARGIN_MS);
        let expired =
            Sessions::new(&self.pool).end_expired(BATCH_WITH_EVENTS, expired_before, now).await?;
        swept.more |= expired >= u64::from(BATCH_WITH_EVENTS);
        if !swept.more {
            self.pool.forget_log().await;
        }
        Ok(swept)
    }

    /// Runs one removal: `$1` is the time before which rows are over, `$2` the most that are taken.
    async fn sweep_one(
        &self,
        swept: &mut Swept,
        sql: &'static str,
        before: Timestamp,
    ) -> Result<(), EngineError> {
        let removed = self
            .pool
            .within("sweep", async {
                let mut work = self.pool.statement().await?;
                let removed = work.run(sql, args![before, BATCH]).await?;
                work.done().await?;
                Ok(removed)
            })
            .await?;
        swept.removed += removed;
        swept.more |= removed >= u64::from(BATCH);
        Ok(())
    }
}
