//! Runs a rule of the pumping guard over the recorded history, page by page: three months of a busy deployment do not fit
//! into memory. The command and the console both replay here.

use std::time::Duration;

use accounts::GuardHistory;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use guard::{MINUTE_MS, Replay, Report, Rule, Tally};
use tokio::time::Instant;

/// History rows per database page.
const PAGE: u32 = 5000;

/// How far a replay goes before it stops with what it has.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub rows: u64,
    pub time: Duration,
}

/// What a rule would have done.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub report: Report,
    pub rows: u64,
    /// The end of what was replayed, if a bound was met before the end of the period.
    pub stopped_at: Option<Timestamp>,
}

/// Replays from `from` to before `to`. `seen` hears of each page's rows.
///
/// # Errors
/// If the database is away.
pub async fn replay(
    history: &GuardHistory,
    rule: Rule,
    (from, to): (Timestamp, Timestamp),
    bounds: Option<Bounds>,
    mut seen: impl FnMut(usize),
) -> Result<Replayed, EngineError> {
    let started = Instant::now();
    let mut replay = Replay::new(rule);
    let (mut rows, mut after): (u64, Option<Tally>) = (0, None);
    loop {
        let page = history.page(from, to, after.as_ref(), PAGE).await?;
        for row in &page {
            replay.feed(row);
        }
        rows += page.len() as u64;
        seen(page.len());
        let is_last = page.len() < PAGE as usize;
        after = page.into_iter().next_back();
        let is_over =
            bounds.is_some_and(|most| rows >= most.rows || started.elapsed() >= most.time);
        if is_last || is_over {
            let last = after.map(|row| Timestamp::from_ms((row.minute + 1) * MINUTE_MS));
            let stopped_at = last.filter(|_| !is_last);
            return Ok(Replayed { report: replay.finish(), rows, stopped_at });
        }
        // A page is some milliseconds of work: others have their turn.
        tokio::task::yield_now().await;
    }
}
