//! Figures by the hour, counted in the background, so that no page of the console counts messages one by one. Any number of
//! gateways may run this: an hour that one has counted is not due for the others, and of two who count it at once one
//! writes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use accounts::GuardHours;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use ledger::hours::{Hours, hour_of, hour_start};
use service::connections::Connections;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(15);
/// For each time that counting takes, so many go by without it.
const REST: u32 = 9;
/// The hour that runs, and those just over, are counted again after this.
const AGAIN_MS: i64 = 60 * 1000;
/// Receipts that come later than this change no figure.
const SETTLED_MS: i64 = 72 * 60 * 60 * 1000;
/// The ledger keeps a message for 30 days. Hours that it may have begun to drop are not counted any more.
const KEPT_HOURS: i64 = 30 * 24 - 2;
/// Old hours are removed so often.
const SWEEP_EVERY_MS: i64 = 60 * 60 * 1000;

/// Counts the hours that are due until `stop`.
pub(crate) async fn run(engines: Connections, stop: CancellationToken) {
    let mut sweep_at = Timestamp::from_ms(0);
    while !stop.is_cancelled() {
        let now = engines.clock.now();
        if let Err(error) = roll_due(&engines, &stop).await {
            tracing::warn!(error = format!("{error:#}"), "figures not counted, trying again");
        }
        if now >= sweep_at {
            match sweep(&engines, now).await {
                Ok(()) => sweep_at = now.plus_ms(SWEEP_EVERY_MS),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "cannot remove old figures");
                }
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

async fn sweep(engines: &Connections, now: Timestamp) -> Result<(), EngineError> {
    Hours::new(&engines.sql).sweep(now).await?;
    GuardHours::new(&engines.sql).sweep(now).await
}

/// Counts every hour that is due, the newest first, and rests in between.
async fn roll_due(engines: &Connections, stop: &CancellationToken) -> Result<(), EngineError> {
    let (hours, guard) = (Hours::new(&engines.sql), GuardHours::new(&engines.sql));
    let now = engines.clock.now();
    let oldest = hour_of(now) - KEPT_HOURS;
    let rolled = hours.rolled(oldest).await?.into_iter().map(|it| (it.hour, (it.times, it.at)));
    for (hour, times) in due(hours.first().await?, &rolled.collect(), now) {
        let begun = Instant::now();
        hours.roll(hour, times, engines.clock.now()).await?;
        if rest(begun, stop).await {
            return Ok(());
        }
    }
    let rolled = guard.rolled(oldest).await?.into_iter().map(|(hour, n, at)| (hour, (n, at)));
    // Sign-ins by password have no message, and count with the guard's hours.
    let first = guard.first().await?.or(Some(hour_of(now)));
    for (hour, times) in due(first, &rolled.collect(), now) {
        let begun = Instant::now();
        guard.roll(hour, times, engines.clock.now()).await?;
        if rest(begun, stop).await {
            return Ok(());
        }
    }
    Ok(())
}

/// Leaves the database to others for a while. Returns whether to stop.
async fn rest(begun: Instant, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(begun.elapsed() * REST)).await.is_none()
}

/// The hours that are due, the newest first, with how often each was counted. `first` is the oldest hour that has anything.
fn due(
    first: Option<i64>,
    rolled: &HashMap<i64, (i64, Timestamp)>,
    now: Timestamp,
) -> Vec<(i64, i64)> {
    let Some(first) = first else { return Vec::new() };
    let this = hour_of(now);
    let hours = (first.max(this - KEPT_HOURS)..=this).rev();
    hours
        .filter_map(|hour| match rolled.get(&hour) {
            None => Some((hour, 0)),
            Some((times, at)) => is_due(hour, *at, now).then_some((hour, *times)),
        })
        .collect()
}

/// Whether an hour that was counted `at` that time is to be counted again: the older it is, the longer it can wait.
fn is_due(hour: i64, at: Timestamp, now: Timestamp) -> bool {
    let end = hour_start(hour + 1).ms();
    let age = now.ms() - end;
    at.ms() < end + SETTLED_MS && now.ms() - at.ms() >= AGAIN_MS.max(age / 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 500_000;
    const MINUTE_MS: i64 = 60_000;

    /// So many minutes after the hour has begun.
    fn minutes(n: i64) -> Timestamp {
        hour_start(HOUR).plus_ms(n * MINUTE_MS)
    }

    #[test]
    fn an_hour_is_counted_each_minute_while_it_runs_and_ever_less_often_after() {
        let mut counted = minutes(0);
        let mut at = Vec::new();
        for minute in 1..=100 * 60 {
            if is_due(HOUR, counted, minutes(minute)) {
                counted = minutes(minute);
                at.push(minute);
            }
        }
        assert_eq!(at[..60], (1..=60).collect::<Vec<_>>());
        let between = |n: usize| at[n + 1] - at[n];
        assert!((60..at.len() - 1).all(|n| between(n) >= between(n - 1)), "{at:?}");
        assert!(at.len() < 120, "{at:?}");
        // Counted once more after all receipts that count have come, and then never again.
        assert!(counted >= minutes(60 * 73), "{at:?}");
        assert!(!is_due(HOUR, counted, minutes(60 * 24 * 20)));
    }

    #[test]
    fn a_gateway_that_was_away_counts_what_it_missed_newest_first_and_nothing_that_is_dropped() {
        let now = minutes(30);
        assert_eq!(due(None, &HashMap::new(), now), []);
        assert_eq!(
            due(Some(HOUR - 2), &HashMap::new(), now),
            [(HOUR, 0), (HOUR - 1, 0), (HOUR - 2, 0)]
        );
        let all = due(Some(0), &HashMap::new(), now);
        assert_eq!(all.last(), Some(&(HOUR - KEPT_HOURS, 0)));
        // Counted while it ran, and then nobody was there.
        let rolled = HashMap::from([
            (HOUR, (3, now)),
            (HOUR - 1, (7, minutes(-30))),
            (HOUR - 2, (9, hour_start(HOUR - 1).plus_ms(SETTLED_MS))),
        ]);
        assert_eq!(due(Some(HOUR - 2), &rolled, now), [(HOUR - 1, 7)]);
    }
}
