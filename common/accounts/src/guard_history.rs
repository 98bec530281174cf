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

impl GuardHistory {
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

    /// The nets that were ever blocked, the last changed first.
    pub async fn nets(&self) -> Result<Vec<NetRow>, EngineError> {
        let sql =
            "SELECT kind, name, country, state, mode, sends, verified, level, until, changed_at
             FROM guard_nets ORDER BY changed_at DESC, kind, name LIMIT 1000";
        self.pool.rows("read the states of the guard", sql, &[], net).await
    }
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
