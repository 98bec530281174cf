//! Reads what was counted.

use super::columns::{BY_HOUR, CELLS, TOTAL, figures};
use super::{Cell, Figures, Hours, HoursFilter, ReasonCount, Step};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use sql::{Arg, Row, args};

impl HoursFilter<'_> {
    fn args(&self) -> [Arg<'_>; 5] {
        *args![self.from, self.to, self.country, self.provider, self.channel.map(Channel::as_str)]
    }
}

impl Hours {
    /// The sum of what the filter lets through.
    pub async fn total(&self, filter: HoursFilter<'_>) -> Result<Figures, EngineError> {
        let sql: &'static str = &TOTAL;
        self.db.one("sum hours", sql, &filter.args(), figures).await
    }

    /// The sums by country and provider, in their order.
    pub async fn cells(&self, filter: HoursFilter<'_>) -> Result<Vec<Cell>, EngineError> {
        let sql: &'static str = &CELLS;
        let of = |row: &Row| {
            let (country, provider) = (row.get("country")?, row.get("provider")?);
            Ok(Cell { country, provider, figures: figures(row)? })
        };
        self.db.rows("sum hours by country and provider", sql, &filter.args(), of).await
    }

    /// The sums of each hour, in order. Hours without messages are not among them.
    pub async fn by_hour(
        &self,
        filter: HoursFilter<'_>,
    ) -> Result<Vec<(i64, Figures)>, EngineError> {
        let sql: &'static str = &BY_HOUR;
        let of = |row: &Row| Ok((row.get("hour")?, figures(row)?));
        self.db.rows("sum each hour", sql, &filter.args(), of).await
    }

    /// The sums of each 24 hours from the filter's first hour on, by country and provider.
    pub async fn by_day(&self, filter: HoursFilter<'_>) -> Result<Vec<Step>, EngineError> {
        let sql = "SELECT $1 + (hour - $1) / 24 * 24 AS step, country, provider,
                 CAST(SUM(messages) AS BIGINT) AS messages, CAST(SUM(delivered) AS BIGINT) AS delivered
             FROM delivery_hours WHERE hour >= $1 AND hour < $2 AND ($3 IS NULL OR country = $3)
                 AND ($4 IS NULL OR provider = $4) AND ($5 IS NULL OR channel = $5)
             GROUP BY 1, country, provider ORDER BY country, provider, 1";
        self.db.rows("sum each day", sql, &filter.args(), step).await
    }

    /// Why messages did not arrive, the most frequent first, `most` at most.
    pub async fn reasons_of(
        &self,
        filter: HoursFilter<'_>,
        most: u32,
    ) -> Result<Vec<ReasonCount>, EngineError> {
        let sql = "SELECT reason, provider, code, CAST(SUM(messages) AS BIGINT) AS messages
             FROM delivery_reasons WHERE hour >= $1 AND hour < $2 AND ($3 IS NULL OR country = $3)
                 AND ($4 IS NULL OR provider = $4)
             GROUP BY reason, provider, code ORDER BY 4 DESC, reason, provider, code LIMIT $5";
        let of = |row: &Row| {
            Ok(ReasonCount {
                reason: row.word("reason")?,
                provider: row.get("provider")?,
                code: row.get("code")?,
                messages: row.get("messages")?,
            })
        };
        let args = args![filter.from, filter.to, filter.country, filter.provider, most];
        self.db.rows("sum reasons", sql, args, of).await
    }

    /// What the ledger holds of this time, counted now and not by the hour.
    pub async fn live(&self, from: Timestamp, to: Timestamp) -> Result<Figures, EngineError> {
        let mut sum = Figures::default();
        for (_, figures) in self.counted(from, to).await? {
            sum.add(&figures);
        }
        Ok(sum)
    }

    /// The newest of the filter's hours that has messages of this status and reason, going by what was counted.
    pub async fn newest(
        &self,
        status: Option<Status>,
        reason: Option<Reason>,
        filter: HoursFilter<'_>,
    ) -> Result<Option<i64>, EngineError> {
        let sql = "SELECT MAX(hour) AS hour FROM delivery_hours h WHERE hour >= $1 AND hour < $2
             AND ($3 IS NULL OR country = $3) AND ($4 IS NULL OR provider = $4)
             AND ($5 IS NULL OR channel = $5)
             AND CASE $6 WHEN 'sending' THEN sending WHEN 'sent' THEN sent WHEN 'delivered' THEN delivered
                 WHEN 'undelivered' THEN undelivered WHEN 'failed' THEN failed
                 WHEN 'expired' THEN dropped WHEN 'superseded' THEN dropped ELSE messages END > 0
             AND ($7 IS NULL OR EXISTS (SELECT 1 FROM delivery_reasons r WHERE r.hour = h.hour
                 AND r.country = h.country AND r.provider = h.provider AND r.reason = $7))";
        let hour = |row: &Row| row.get("hour");
        let mut args = filter.args().to_vec();
        args.push(Arg::from(status.map_or("", Status::as_str)));
        args.push(Arg::from(reason.map(Reason::as_str)));
        self.db.one("find an hour", sql, &args, hour).await
    }
}

fn step(row: &Row) -> Result<Step, sqlx::Error> {
    Ok(Step {
        country: row.get("country")?,
        provider: row.get("provider")?,
        hour: row.get("step")?,
        messages: row.get("messages")?,
        delivered: row.get("delivered")?,
    })
}
