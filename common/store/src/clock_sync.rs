//! The time of the code store, for processes on other hosts that depend on it.
//!
//! The scripts that every gateway shares set the expiry of a text in Redis time. A worker that compared it with its own
//! clock would send stale texts, or none, whenever that clock is wrong.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::DeliveryStore;
use domain::clock::Clock;
use domain::engine_error::EngineError;

const EVERY: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Corrects `clock`, which follows `host`, by the store's time. With embedded engines there is one clock and nothing to
/// correct.
///
/// # Errors
/// When the store does not answer; the clock then keeps its last correction.
pub async fn follow_once(
    store: &DeliveryStore,
    host: &Clock,
    clock: &Clock,
) -> Result<(), EngineError> {
    let sent_ms = host.now_ms();
    let store_time = store.now().await?;
    let trip_ms = host.now_ms() - sent_ms;
    if trip_ms < 0 {
        // The host's own clock was changed in between.
        return Ok(());
    }
    // The store read its time during the round trip: half the trip is the best estimate, with an error of at most that
    // half. A smaller difference is ignored, so that the clock does not jitter.
    let wanted_ms = store_time.ms() - (sent_ms + trip_ms / 2);
    if (wanted_ms - clock.correction_ms()).abs() > trip_ms / 2 + 1 {
        clock.correct(wanted_ms);
    }
    Ok(())
}

/// Waits for the first reading of the store's time: before it, no expiry can be judged.
pub async fn first(store: &DeliveryStore, host: &Clock, clock: &Clock, stop: &CancellationToken) {
    let reading = async {
        while let Err(error) = follow_once(store, host, clock).await {
            tracing::warn!(error = format!("{error:#}"), "cannot read the store's time");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    stop.run_until_cancelled(reading).await;
    let off_ms = clock.correction_ms();
    if off_ms.unsigned_abs() > 1_000 {
        tracing::warn!(off_ms, "this host's clock differs from the store's, using the store's");
    }
}

/// Follows the store's time until `stop`; while the store is unavailable, the last correction holds.
pub async fn follow(store: &DeliveryStore, host: &Clock, clock: &Clock, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Some(Err(error)) = stop.run_until_cancelled(follow_once(store, host, clock)).await {
            tracing::debug!(error = format!("{error:#}"), "cannot read the store's time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn an_embedded_store_corrects_nothing() {
        let host = Clock::wrong_by(3_600_000);
        let clock = host.following();
        follow_once(&Store::memory(host.clone()).for_delivery(), &host, &clock).await.unwrap();
        assert_eq!(clock.correction_ms(), 0);
    }

    #[test]
    fn a_corrected_clock_moves_its_clones_and_not_its_host() {
        let host = Clock::wrong_by(3_600_000);
        let (clock, other) = (host.following(), host.following());
        clock.clone().correct(-3_600_000);
        let true_ms = Clock::system().now_ms();
        assert!((clock.now_ms() - true_ms).abs() < 1_000);
        for uncorrected in [host, other] {
            assert!(uncorrected.now_ms() - true_ms >= 3_600_000);
        }
        assert_eq!(clock.ahead_ms(), 0, "the offset that scripts add to the store's own time");
    }
}
