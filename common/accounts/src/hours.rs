//! The guard's history and the sessions that began, by the hour: what is summed for months, so that no page has to read
//! them minute by minute.
//!
//! An hour is counted as a whole, and again while it may still change. To count it twice, or by two at once, changes nothing.

use super::GuardHours;
use domain::engine_error::EngineError;
use domain::rng;
use domain::timestamp::Timestamp;
use sql::{Row, args};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// As long as the guard's history itself.
const KEPT_HOURS: i64 = 90 * 24;

/// Requested and used codes, as the pumping guard counted them; nothing while it is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversions {
    /// Code requests that were admitted, in the minute of the request.
    pub sends: i64,
    /// Codes that were used, in the minute of their use.
    pub verified: i64,
    /// Code requests that the guard refused.
    pub refused: i64,
}

/// The conversions of a country, of one of its prefixes, or of an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionsOf {
    /// A country (ISO 3166) or the digits of a prefix; empty where all are counted together.
    pub name: String,
    /// Whole hours since the epoch; 0 where all are counted together.
    pub hour: i64,
    pub conversions: Conversions,
}

macro_rules! sums {
    ($name:literal, $hour:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $name,
            " AS name, ",
            $hour,
            " AS hour, CAST(COALESCE(SUM(sends), 0) AS BIGINT) AS sends,
                 CAST(COALESCE(SUM(verified), 0) AS BIGINT) AS verified,
                 CAST(COALESCE(SUM(refused), 0) AS BIGINT) AS refused
             FROM guard_hours WHERE hour >= $1 AND hour < $2 ",
            $rest
        )
    };
}

impl GuardHours {
    /// The hour of the oldest minute in the history; `None` if there is none.
    pub async fn first(&self) -> Result<Option<i64>, EngineError> {
        let sql = "SELECT MIN(minute) AS minute FROM guard_history";
        let minute = |row: &Row| row.get::<Option<i64>>("minute");
        let first = self.pool.one("find the first minute", sql, &[], minute).await?;
        Ok(first.map(|minute| minute.div_euclid(60)))
    }

    /// Each hour from `from` on that was counted: the hour, how often, and when last.
    pub async fn rolled(&self, from: i64) -> Result<Vec<(i64, i64, Timestamp)>, EngineError> {
        let sql = "SELECT hour, times, at FROM guard_rolled WHERE hour >= $1 ORDER BY hour";
        let of = |row: &Row| Ok((row.get("hour")?, row.get("times")?, row.time("at")?));
        self.pool.rows("read which hours are counted", sql, args![from], of).await
    }

    /// Counts an hour and replaces what was counted of it before. `times` is how often it had been counted when the caller
    /// looked, 0 for never. Returns `false` if somebody else counted it meanwhile: then nothing changed.
    pub async fn roll(&self, hour: i64, times: i64, now: Timestamp) -> Result<bool, EngineError> {
        self.pool
            .transaction("count an hour", async |work| {
                let claimed = if times == 0 {
                    let sql = "INSERT INTO guard_rolled (hour, times, at) VALUES ($1, 1, $2)
                         ON CONFLICT (hour) DO NOTHING";
                    work.run(sql, args![hour, now]).await?
                } else {
                    let sql = "UPDATE guard_rolled SET times = times + 1, at = $3
                         WHERE hour = $1 AND times = $2";
                    work.run(sql, args![hour, times, now]).await?
                };
                if claimed == 0 {
                    work.undo().await?;
                    return Ok(false);
                }
                work.run("DELETE FROM guard_hours WHERE hour = $1", args![hour]).await?;
                work.run("DELETE FROM sign_in_hours WHERE hour = $1", args![hour]).await?;
                let sql = "INSERT INTO guard_hours (hour, country, operator_prefix, sends, verified, refused)
                     SELECT $1, country, operator_prefix, CAST(SUM(sends) AS BIGINT),
                         CAST(SUM(verified) AS BIGINT), CAST(SUM(refused) AS BIGINT)
                     FROM guard_history WHERE minute >= $2 AND minute < $3 GROUP BY country, operator_prefix";
                work.run(sql, args![hour, hour * 60, (hour + 1) * 60]).await?;
                // The id of a session begins with the time at which it began.
                let sql = "INSERT INTO sign_in_hours (hour, method, sign_ins)
                     SELECT $1, method, COUNT(*) FROM sessions WHERE id >= $2 AND id < $3 GROUP BY method";
                let began = |hour: i64| rng::id_v7_min(hour * HOUR_MS);
                work.run(sql, args![hour, began(hour), began(hour + 1)]).await?;
                Ok(true)
            })
            .await
    }

    /// The conversions of these hours, from the first to before the second, of all countries or of one.
    pub async fn total(
        &self,
        from: i64,
        to: i64,
        country: Option<&str>,
    ) -> Result<Conversions, EngineError> {
        let sql = sums!("''", "CAST(0 AS BIGINT)", "AND ($3 IS NULL OR country = $3)");
        let args = args![from, to, country];
        Ok(self.pool.one("sum conversions", sql, args, conversions).await?.conversions)
    }

    /// The conversions of each hour, in order.
    pub async fn by_hour(&self, from: i64, to: i64) -> Result<Vec<ConversionsOf>, EngineError> {
        let sql = sums!("''", "hour", "GROUP BY hour ORDER BY hour");
        self.pool.rows("sum conversions by hour", sql, args![from, to], conversions).await
    }

    /// The conversions of each country, in their order.
    pub async fn by_country(&self, from: i64, to: i64) -> Result<Vec<ConversionsOf>, EngineError> {
        let sql = sums!("country", "CAST(0 AS BIGINT)", "GROUP BY country ORDER BY country");
        self.pool.rows("sum conversions by country", sql, args![from, to], conversions).await
    }

    /// The conversions of a country's prefixes, those with the most requests first, `most` at most.
    pub async fn by_prefix(
        &self,
        from: i64,
        to: i64,
        country: &str,
        most: u32,
    ) -> Result<Vec<ConversionsOf>, EngineError> {
        let sql = sums!(
            "operator_prefix",
            "CAST(0 AS BIGINT)",
            "AND country = $3 GROUP BY operator_prefix ORDER BY 3 DESC, 1 LIMIT $4"
        );
        let args = args![from, to, country, most];
        self.pool.rows("sum conversions by prefix", sql, args, conversions).await
    }

    /// The conversions of this time, counted now, minute by minute.
    pub async fn live(&self, from: Timestamp, to: Timestamp) -> Result<Conversions, EngineError> {
        let sql = "SELECT '' AS name, CAST(0 AS BIGINT) AS hour, CAST(COALESCE(SUM(sends), 0) AS BIGINT) AS sends,
                 CAST(COALESCE(SUM(verified), 0) AS BIGINT) AS verified,
                 CAST(COALESCE(SUM(refused), 0) AS BIGINT) AS refused
             FROM guard_history WHERE minute >= $1 AND minute < $2";
        let args = args![guard::minute_of(from.ms()), guard::minute_of(to.ms())];
        Ok(self.pool.one("count conversions", sql, args, conversions).await?.conversions)
    }

    /// How many sessions began in these hours, each with its hour, in order.
    pub async fn sign_ins(&self, from: i64, to: i64) -> Result<Vec<(i64, i64)>, EngineError> {
        let sql = "SELECT hour, CAST(SUM(sign_ins) AS BIGINT) AS sign_ins FROM sign_in_hours
             WHERE hour >= $1 AND hour < $2 GROUP BY hour ORDER BY hour";
        let of = |row: &Row| Ok((row.get("hour")?, row.get("sign_ins")?));
        self.pool.rows("sum sign-ins", sql, args![from, to], of).await
    }

    /// How many sessions began in this time, counted now.
    pub async fn live_sign_ins(&self, from: Timestamp, to: Timestamp) -> Result<i64, EngineError> {
        let sql = "SELECT COUNT(*) AS sign_ins FROM sessions WHERE id >= $1 AND id < $2";
        let args = args![rng::id_v7_min(from.ms()), rng::id_v7_min(to.ms())];
        self.pool.one("count sign-ins", sql, args, |row| row.get("sign_ins")).await
    }

    /// Removes hours older than 90 days.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), EngineError> {
        let before = now.ms().div_euclid(HOUR_MS) - KEPT_HOURS;
        self.pool
            .transaction("remove old hours", async |work| {
                for sql in [
                    "DELETE FROM guard_hours WHERE hour < $1",
                    "DELETE FROM sign_in_hours WHERE hour < $1",
                    "DELETE FROM guard_rolled WHERE hour < $1",
                ] {
                    work.run(sql, args![before]).await?;
                }
                Ok(())
            })
            .await
    }
}

fn conversions(row: &Row) -> Result<ConversionsOf, sqlx::Error> {
    let conversions = Conversions {
        sends: row.get("sends")?,
        verified: row.get("verified")?,
        refused: row.get("refused")?,
    };
    Ok(ConversionsOf { name: row.get("name")?, hour: row.get("hour")?, conversions })
}
