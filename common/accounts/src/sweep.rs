//! Removes expired rows, in bounded batches.

use super::Sweeper;
use super::throttle::AttemptLimits;
use domain::engine_error::EngineError;
use domain::limits::DEVICE_TOKEN_LIFE_MS;
use domain::rng;
use domain::timestamp::Timestamp;
use sql::args;

/// The most rows of a table per statement, so that no sweep holds locks for long.
const BATCH: u32 = 500;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Grace period for the fence and the counters: the sweeper's clock may be wrong, and Redis may come back from a
/// backup. Readers check the expiry themselves.
const MARGIN_MS: i64 = DAY_MS;
/// Grace period for expired sessions: a sweep whose host's clock is ahead must not permanently end a session that the
/// others would still refresh.
const EXPIRED_MARGIN_MS: i64 = 60 * 60 * 1000;
/// Published events are kept this long to investigate why an event did not arrive.
const PUBLISHED_MS: i64 = DAY_MS;
/// Ended sessions are kept for three months, the time that PCI DSS 4.0 (10.5.1) requires for history at hand. No token
/// depends on them: a missing session gets the same answer as an ended one.
const ENDED_SESSION_MS: i64 = 90 * DAY_MS;

/// Removes the oldest rows whose time in `$time` is before `$1`, `$2` of them at most.
macro_rules! expired {
    ($table:literal, $key:literal, $time:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $time,
            " < $1 ORDER BY ",
            $time,
            " LIMIT $2)"
        )
    };
}

/// Removes the oldest counts of phones that were judged before `$1`, of fewer failures than `$3`. The conditions are
/// checked again on the row itself: a failed attempt may just have been counted.
const EXPIRED_GUESSES: &str = "DELETE FROM guesses WHERE last_judged_at < $1 AND failures < $3 AND phone_key IN (
         SELECT phone_key FROM guesses WHERE last_judged_at < $1 AND failures < $3 ORDER BY last_judged_at LIMIT $2)";

/// More than any code lives.
const CODE_LIFE_MS: i64 = 60 * 60 * 1000;
/// Removes the oldest used codes. Their ids begin with the time at which they were made, by the clock of a gateway: it
/// finds them, and their expiry decides.
const EXPIRED_CODES: &str = "DELETE FROM used_codes WHERE expires_at < $1 AND code_id IN (
         SELECT code_id FROM used_codes WHERE code_id < $3 AND expires_at < $1 ORDER BY code_id LIMIT $2)";

/// How many rows a sweep removed, and whether there may be more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub removed: u64,
    pub more: bool,
}

impl Swept {
    fn add(&mut self, removed: u64) {
        self.removed += removed;
        self.more |= removed >= u64::from(BATCH);
    }
}

impl Sweeper {
    /// Removes a batch of expired rows: used codes, counts of codes, of devices, and of phones that would restart anyway,
    /// login keys, published events, sessions, replaced numbers that can no longer be restored, counted notices, console
    /// sessions, processes not seen for a day, ends of device tokens whose year is over. Then ends a batch of expired sessions.
    pub async fn sweep(&self, limits: AttemptLimits, now: Timestamp) -> Result<Swept, EngineError> {
        let before = now.plus_ms(-MARGIN_MS);
        let sessions_before = now.plus_ms(-ENDED_SESSION_MS);
        let mut swept = Swept::default();
        for (sql, before) in [
            (expired!("code_guesses", "code_id", "expires_at"), before),
            (expired!("login_keys", "key_hash", "expires_at"), before),
            (expired!("outbox", "id", "published_at"), now.plus_ms(-PUBLISHED_MS)),
            (expired!("sessions", "id", "ended_at"), sessions_before),
            (expired!("phone_changes", "id", "undo_until"), now.plus_ms(1)),
            (expired!("notices", "id", "at"), before.plus_ms(-DAY_MS)),
            (expired!("console_sessions", "id_hash", "expires_at"), before),
            (expired!("processes", "instance", "seen_at"), now.plus_ms(-DAY_MS)),
        ] {
            self.sweep_one(&mut swept, sql, before).await?;
        }
        let made_before = rng::id_v7_min(before.plus_ms(-CODE_LIFE_MS).ms());
        let args = args![before, BATCH, made_before];
        swept.add(self.pool.run("sweep", EXPIRED_CODES, args).await?);
        self.sweep_one(
            &mut swept,
            "DELETE FROM device_guesses WHERE expires_at < $1 AND device IN (
                 SELECT device FROM device_guesses WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            before,
        )
        .await?;
        self.sweep_one(
            &mut swept,
            "DELETE FROM device_ends WHERE issued_until < $1 AND user_id IN (
                 SELECT user_id FROM device_ends WHERE issued_until < $1 ORDER BY issued_until LIMIT $2)",
            before.plus_ms(-DEVICE_TOKEN_LIFE_MS),
        )
        .await?;
        for (few, age_ms) in limits.expired() {
            let args = args![before.plus_ms(-age_ms), BATCH, few];
            swept.add(self.pool.run("sweep", EXPIRED_GUESSES, args).await?);
        }
        // Last, because it writes the most, and the removals above must not wait for it.
        let expired_before = now.plus_ms(-EXPIRED_MARGIN_MS);
        swept.more |= self.end_expired(expired_before, now).await?;
        if !swept.more {
            self.pool.forget_log().await;
        }
        Ok(swept)
    }

    /// Runs one removal: `$1` is the time before which rows are expired, `$2` the most rows to remove.
    async fn sweep_one(
        &self,
        swept: &mut Swept,
        sql: &'static str,
        before: Timestamp,
    ) -> Result<(), EngineError> {
        swept.add(self.pool.run("sweep", sql, args![before, BATCH]).await?);
        Ok(())
    }
}
