//! Counts an hour from the ledger, and removes what is over.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::columns::{self, COUNT_POSTGRES, COUNT_SQLITE, WRITE_POSTGRES, WRITE_SQLITE};
use super::{Figures, HOUR_MS, Hours, Rolled, hour_of, hour_start};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::{Row, args};

/// What one statement counts: a busy hour is too much for the time that a statement has.
const SLICE_MS: i64 = HOUR_MS / 6;
/// Longer than the ledger keeps its messages, so that a month can be compared with the one before.
const KEPT_HOURS: i64 = 90 * 24;

/// Country, provider, channel.
type Key = (String, String, String);

const REASONS: &str =
    "SELECT l.country, COALESCE(l.provider, '') AS provider, l.reason, COUNT(*) AS messages,
        COALESCE((SELECT a.provider_code FROM sms_attempts a
            WHERE a.message_id = l.message_id AND a.provider_code IS NOT NULL
            ORDER BY a.number DESC LIMIT 1), '') AS code
    FROM sms_ledger l WHERE l.created_at >= $1 AND l.created_at < $2 AND l.reason IS NOT NULL
    GROUP BY 1, 2, 3, 5";
const WRITE_REASONS_POSTGRES: &str = "INSERT INTO delivery_reasons SELECT * FROM json_populate_recordset(NULL::delivery_reasons, $1::json)";
const WRITE_REASONS_SQLITE: &str =
    "INSERT INTO delivery_reasons (hour, country, provider, reason, code, messages)
    SELECT json_extract(value, '$.hour'), json_extract(value, '$.country'), json_extract(value, '$.provider'),
        json_extract(value, '$.reason'), json_extract(value, '$.code'), json_extract(value, '$.messages')
    FROM json_each($1)";

impl Hours {
    /// The hour of the oldest message in the ledger; `None` if it has none.
    pub async fn first(&self) -> Result<Option<i64>, EngineError> {
        let sql = "SELECT MIN(created_at) AS at FROM sms_ledger";
        let at = |row: &Row| row.maybe_time("at");
        Ok(self.db.one("find the first message", sql, &[], at).await?.map(hour_of))
    }

    /// When each hour from `from` on was counted last, in order. An hour that was never counted is not among them.
    pub async fn rolled(&self, from: i64) -> Result<Vec<Rolled>, EngineError> {
        let sql = "SELECT hour, times, at FROM delivery_rolled WHERE hour >= $1 ORDER BY hour";
        let of = |row: &Row| {
            Ok(Rolled { hour: row.get("hour")?, times: row.get("times")?, at: row.time("at")? })
        };
        self.db.rows("read which hours are counted", sql, args![from], of).await
    }

    /// Counts an hour from the ledger and replaces what was counted of it before. `times` is how often it had been counted
    /// when the caller looked, 0 for never. Returns `false` if somebody else counted it meanwhile: then nothing changed.
    pub async fn roll(&self, hour: i64, times: i64, now: Timestamp) -> Result<bool, EngineError> {
        let (rows, reasons) = (self.count(hour).await?, self.reasons(hour).await?);
        self.db
            .transaction("count an hour", async |work| {
                let claimed = if times == 0 {
                    let sql = "INSERT INTO delivery_rolled (hour, times, at) VALUES ($1, 1, $2)
                         ON CONFLICT (hour) DO NOTHING";
                    work.run(sql, args![hour, now]).await?
                } else {
                    let sql = "UPDATE delivery_rolled SET times = times + 1, at = $3
                         WHERE hour = $1 AND times = $2";
                    work.run(sql, args![hour, times, now]).await?
                };
                if claimed == 0 {
                    work.undo().await?;
                    return Ok(false);
                }
                work.run("DELETE FROM delivery_hours WHERE hour = $1", args![hour]).await?;
                work.run("DELETE FROM delivery_reasons WHERE hour = $1", args![hour]).await?;
                let (write, write_reasons) = if work.is_postgres() {
                    (WRITE_POSTGRES, WRITE_REASONS_POSTGRES)
                } else {
                    (&**WRITE_SQLITE, WRITE_REASONS_SQLITE)
                };
                work.run(write, args![&rows]).await?;
                work.run(write_reasons, args![&reasons]).await?;
                Ok(true)
            })
            .await
    }

    /// The rows of an hour, as JSON.
    async fn count(&self, hour: i64) -> Result<String, EngineError> {
        let (start, end) = (hour_start(hour), hour_start(hour + 1));
        let mut sums: BTreeMap<Key, Figures> = BTreeMap::new();
        let mut from = start;
        while from < end {
            let to = from.plus_ms(SLICE_MS);
            for (key, figures) in self.counted(from, to).await? {
                sums.entry(key).or_default().add(&figures);
            }
            from = to;
        }
        let rows = sums.iter().map(|((country, provider, channel), figures)| {
            let mut row = columns::members(figures);
            row.insert("hour".to_owned(), hour.into());
            for (name, value) in
                [("country", country), ("provider", provider), ("channel", channel)]
            {
                row.insert(name.to_owned(), value.as_str().into());
            }
            Value::Object(row)
        });
        Ok(Value::Array(rows.collect()).to_string())
    }

    /// What the ledger holds of this time, counted.
    pub(super) async fn counted(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Key, Figures)>, EngineError> {
        let sql: &'static str = if self.db.is_postgres() { &COUNT_POSTGRES } else { &COUNT_SQLITE };
        let of = |row: &Row| {
            let key = (row.get("country")?, row.get("provider")?, row.get("channel")?);
            Ok((key, columns::figures(row)?))
        };
        self.db.rows("count messages", sql, args![from, to], of).await
    }

    async fn reasons(&self, hour: i64) -> Result<String, EngineError> {
        let of = |row: &Row| {
            Ok(json!({
                "hour": hour,
                "country": row.get::<String>("country")?,
                "provider": row.get::<String>("provider")?,
                "reason": row.get::<String>("reason")?,
                "code": row.get::<String>("code")?,
                "messages": row.get::<i64>("messages")?,
            }))
        };
        let args = args![hour_start(hour), hour_start(hour + 1)];
        let rows = self.db.rows("count reasons", REASONS, args, of).await?;
        Ok(Value::Array(rows).to_string())
    }

    /// Removes hours older than 90 days.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), EngineError> {
        let before = hour_of(now) - KEPT_HOURS;
        self.db
            .transaction("remove old hours", async |work| {
                for sql in [
                    "DELETE FROM delivery_hours WHERE hour < $1",
                    "DELETE FROM delivery_reasons WHERE hour < $1",
                    "DELETE FROM delivery_rolled WHERE hour < $1",
                ] {
                    work.run(sql, args![before]).await?;
                }
                Ok(())
            })
            .await
    }
}
