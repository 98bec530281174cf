//! What runs: a row for each process, which it writes every few seconds and removes when it stops. Nothing depends on it.
//!
//! Times are the database's own, so that a process whose clock is wrong is neither gone nor here for longer.

use super::Processes;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};
use uuid::Uuid;

/// The most rows that are read: a deployment has tens.
const MOST: u32 = 500;

/// A process, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Chosen anew at each start.
    pub instance: Uuid,
    /// `gateway`, `otp-worker`, `sms-worker` or `all-in-one`.
    pub part: String,
    pub version: String,
    /// By its host's clock.
    pub started_at: Timestamp,
    /// By the database's clock.
    pub seen_at: Timestamp,
    /// How far its host's clock is ahead of the database's, in milliseconds.
    pub skew_ms: i64,
    /// A JSON object: what its parts say of themselves.
    pub report: String,
}

/// What a process says of itself: see [`Process`].
#[derive(Clone, Copy, Debug)]
pub struct Beat<'a> {
    pub instance: Uuid,
    pub part: &'a str,
    pub version: &'a str,
    pub started_at: Timestamp,
    pub report: &'a str,
}

impl Processes {
    /// Writes the row of a process: it is seen now. `clock` is its host's. Returns [`Process::skew_ms`].
    pub async fn beat(&self, beat: &Beat<'_>, clock: &Clock) -> Result<i64, EngineError> {
        self.pool
            .statement("report a process", async |work| {
                let asked_ms = clock.now_ms();
                let now = database_now(work, clock).await?;
                // The answer was made half-way between question and answer, as far as anybody knows.
                let skew_ms = asked_ms.midpoint(clock.now_ms()) - now.ms();
                work.run(
                    "INSERT INTO processes (instance, part, version, started_at, seen_at, skew_ms, report)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (instance) DO UPDATE SET seen_at = $5, skew_ms = $6, report = $7",
                    args![
                        beat.instance,
                        beat.part,
                        beat.version,
                        beat.started_at,
                        now,
                        skew_ms,
                        beat.report,
                    ],
                )
                .await?;
                Ok(skew_ms)
            })
            .await
    }

    /// Removes the row of a process that stops.
    pub async fn end(&self, instance: Uuid) -> Result<(), EngineError> {
        let sql = "DELETE FROM processes WHERE instance = $1";
        self.pool.run("forget a process", sql, args![instance]).await.map(drop)
    }

    /// Every process that was seen lately, by part and start, and the database's time now.
    pub async fn all(&self, clock: &Clock) -> Result<(Vec<Process>, Timestamp), EngineError> {
        let sql =
            "SELECT instance, part, version, started_at, seen_at, skew_ms, report FROM processes
             ORDER BY part, started_at, instance LIMIT $1";
        self.pool
            .read("read the processes", async |work| {
                let rows = work.rows(sql, args![MOST]).await?;
                let rows: Result<Vec<_>, _> = rows.iter().map(process).collect();
                Ok((rows?, database_now(work, clock).await?))
            })
            .await
    }
}

/// The database's own time. A test that moves its clock moves this one with it.
async fn database_now(work: &mut Work, clock: &Clock) -> Result<Timestamp, sqlx::Error> {
    let sql = if work.is_postgres() {
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now"
    } else {
        "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now"
    };
    Ok(work.one(sql, &[]).await?.time("now")?.plus_ms(clock.ahead_ms()))
}

fn process(row: &Row) -> Result<Process, sqlx::Error> {
    Ok(Process {
        instance: row.get("instance")?,
        part: row.get("part")?,
        version: row.get("version")?,
        started_at: row.time("started_at")?,
        seen_at: row.time("seen_at")?,
        skew_ms: row.get("skew_ms")?,
        report: row.get("report")?,
    })
}
