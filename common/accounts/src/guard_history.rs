//! What the pumping guard observed: counts by minute for the replay, and the last state of each net for staff.

use serde_json::json;

use super::GuardHistory;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use domain::vocabulary::PumpingGuard;
use guard::{Finding, Kind, Tally, minute_of};
use sql::{Row, args};

/// A quarter: long enough to test a rule on last month's attack and on a season's legitimate traffic.
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// Rows per statement.
const BATCH: usize = 500;

/// The last known state of a net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetRow {
    /// `prefix` or `country`.
    pub kind: String,
    pub name: String,
    pub country: String,
    /// `open`, `blocked` or `probing`. The next code request probes a block that is over.
    pub state: String,
    pub mode: String,
    pub sends: i64,
    pub verified: i64,
    /// Consecutive blocks.
    pub level: i64,
    pub until: Option<Timestamp>,
    pub changed_at: Timestamp,
}

/// Sends of a country or a prefix over a time, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub country: String,
    /// `None`: the whole country.
    pub operator_prefix: Option<String>,
    pub sends: i64,
    pub verified: i64,
    pub refused: i64,
}

impl GuardHistory {
    /// What the countries sent since then, those with the most sends and refusals first.
    pub async fn by_country(
        &self,
        since: Timestamp,
        most: u32,
    ) -> Result<Vec<Converted>, EngineError> {
        let sql = "SELECT country, NULL AS operator_prefix, CAST(SUM(sends) AS BIGINT) AS sends,
                 CAST(SUM(verified) AS BIGINT) AS verified, CAST(SUM(refused) AS BIGINT) AS refused
             FROM guard_history WHERE minute >= $1
             GROUP BY country ORDER BY SUM(sends) + SUM(refused) DESC, country LIMIT $2";
        let args = args![minute_of(since.ms()), most];
        self.pool.rows("read the conversion of countries", sql, args, converted).await
    }

    /// The prefixes of which the guard refused requests since then, those with the most first.
    pub async fn refused_by_prefix(
        &self,
        since: Timestamp,
        most: u32,
    ) -> Result<Vec<Converted>, EngineError> {
        let sql = "SELECT country, operator_prefix, CAST(SUM(sends) AS BIGINT) AS sends,
                 CAST(SUM(verified) AS BIGINT) AS verified, CAST(SUM(refused) AS BIGINT) AS refused
             FROM guard_history WHERE minute >= $1
             GROUP BY operator_prefix, country HAVING SUM(refused) > 0
             ORDER BY SUM(refused) DESC, operator_prefix, country LIMIT $2";
        let args = args![minute_of(since.ms()), most];
        self.pool.rows("read what the guard refused", sql, args, converted).await
    }

    /// Adds counts to the history. All or nothing, so that a failed call can be repeated.
    pub async fn add(&self, tallies: &[Tally]) -> Result<(), EngineError> {
        if tallies.is_empty() {
            return Ok(());
        }
        // In one order over all batches, so that two gateways do not wait for each other's rows.
        let mut tallies: Vec<&Tally> = tallies.iter().collect();
        tallies.sort_by_key(|t| (t.minute, &t.operator_prefix, &t.country));
        self.pool.transaction("write the guard's history", async |work| {
            for batch in tallies.chunks(BATCH) {
                let rows: Vec<_> = batch
                    .iter()
                    .map(|t| json!([t.minute, t.operator_prefix, t.country, t.sends, t.verified, t.refused]))
                    .collect();
                let rows = json!(rows).to_string();
                let sql = if work.is_postgres() {
                    "INSERT INTO guard_history AS h (minute, operator_prefix, country, sends, verified, refused)
                     SELECT (r->>0)::bigint, r->>1, r->>2, (r->>3)::bigint, (r->>4)::bigint, (r->>5)::bigint
                       FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS t (r, place) ORDER BY place
                     ON CONFLICT (minute, operator_prefix, country) DO UPDATE SET sends = h.sends + EXCLUDED.sends,
                         verified = h.verified + EXCLUDED.verified, refused = h.refused + EXCLUDED.refused"
                } else {
                    "INSERT INTO guard_history AS h (minute, operator_prefix, country, sends, verified, refused)
                     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                            json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
                       FROM json_each($1) WHERE true
                     ON CONFLICT (minute, operator_prefix, country) DO UPDATE SET sends = h.sends + excluded.sends,
                         verified = h.verified + excluded.verified, refused = h.refused + excluded.refused"
                };
                work.run(sql, args![&rows]).await?;
            }
            Ok(())
        })
        .await
    }

    /// A page of the history from `from` to before `to`, after the row `after`, in the order of its minutes. The last
    /// page is shorter than `most`.
    pub async fn page(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<&Tally>,
        most: u32,
    ) -> Result<Vec<Tally>, EngineError> {
        let first = Tally { minute: i64::MIN, ..Tally::default() };
        let after = after.unwrap_or(&first);
        let sql = "SELECT minute, operator_prefix, country, sends, verified, refused FROM guard_history
             WHERE minute >= $1 AND minute < $2 AND (minute, operator_prefix, country) > ($3, $4, $5)
             ORDER BY minute, operator_prefix, country LIMIT $6";
        let (from, to) = (minute_of(from.ms()), minute_of(to.ms()));
        let args = args![from, to, after.minute, &after.operator_prefix, &after.country, most];
        self.pool.rows("read the guard's history", sql, args, tally).await
    }

    /// Removes history older than 90 days, an hour of it at a time. Returns whether there may be more.
    pub async fn sweep(&self, now: Timestamp) -> Result<bool, EngineError> {
        let before = minute_of(now.ms() - KEPT_MS);
        let sql = "DELETE FROM guard_history
             WHERE minute < $1 AND minute < (SELECT min(minute) + 60 FROM guard_history)";
        let removed = self.pool.run("sweep the guard's history", sql, args![before]).await?;
        Ok(removed > 0)
    }

    /// Records a net's new state, unless a newer one is recorded.
    pub async fn net_changed(
        &self,
        found: &Finding,
        mode: PumpingGuard,
    ) -> Result<(), EngineError> {
        let change = &found.change;
        let name =
            if change.kind == Kind::Prefix { &found.operator_prefix } else { &found.country };
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let sql = "INSERT INTO guard_nets AS n
                 (kind, name, country, state, mode, sends, verified, level, until, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (kind, name) DO UPDATE SET country = EXCLUDED.country, state = EXCLUDED.state,
                 mode = EXCLUDED.mode, sends = EXCLUDED.sends, verified = EXCLUDED.verified, level = EXCLUDED.level,
                 until = EXCLUDED.until, changed_at = EXCLUDED.changed_at
             WHERE n.changed_at <= EXCLUDED.changed_at";
        let args = args![
            change.kind.as_str(),
            name,
            &found.country,
            change.state.as_str(),
            mode.as_str(),
            count(change.sends),
            count(change.verified),
            change.level,
            change.until,
            found.at
        ];
        self.pool.run("record a state of the guard", sql, args).await.map(drop)
    }

    /// How many nets are blocked now, of each country that has any.
    pub async fn blocked(&self, now: Timestamp) -> Result<Vec<(String, u32)>, EngineError> {
        let sql = "SELECT country, COUNT(*) AS nets FROM guard_nets
             WHERE state = 'blocked' AND until > $1 GROUP BY country";
        let country = |row: &Row| {
            let nets = u32::try_from(row.get::<i64>("nets")?).unwrap_or(u32::MAX);
            Ok((row.get("country")?, nets))
        };
        self.pool.rows("count the blocked nets", sql, args![now], country).await
    }

    /// The nets that were ever blocked, the last changed first.
    pub async fn nets(&self) -> Result<Vec<NetRow>, EngineError> {
        let sql =
            "SELECT kind, name, country, state, mode, sends, verified, level, until, changed_at
             FROM guard_nets ORDER BY changed_at DESC, kind, name LIMIT 1000";
        self.pool.rows("read the states of the guard", sql, &[], net).await
    }
}

fn converted(row: &Row) -> Result<Converted, sqlx::Error> {
    Ok(Converted {
        country: row.get("country")?,
        operator_prefix: row.get("operator_prefix")?,
        sends: row.get("sends")?,
        verified: row.get("verified")?,
        refused: row.get("refused")?,
    })
}

fn tally(row: &Row) -> Result<Tally, sqlx::Error> {
    Ok(Tally {
        minute: row.get("minute")?,
        operator_prefix: row.get("operator_prefix")?,
        country: row.get("country")?,
        sends: row.get("sends")?,
        verified: row.get("verified")?,
        refused: row.get("refused")?,
    })
}

fn net(row: &Row) -> Result<NetRow, sqlx::Error> {
    Ok(NetRow {
        kind: row.get("kind")?,
        name: row.get("name")?,
        country: row.get("country")?,
        state: row.get("state")?,
        mode: row.get("mode")?,
        sends: row.get("sends")?,
        verified: row.get("verified")?,
        level: row.get("level")?,
        until: row.maybe_time("until")?,
        changed_at: row.time("changed_at")?,
    })
}
