//! Subscribes to status changes and wakes the waiters.

use std::time::Duration;

use deadpool_redis::redis::{AsyncCommands as _, RedisError};
use futures::StreamExt as _;

use super::primary::Primary;
use super::{CONNECT_WITHIN, unique};
use crate::watchers::StatusWatchers;

/// How often the subscription's connection is tested.
const ROUND_EVERY: Duration = Duration::from_secs(5);
const STATUS_CHANNEL: &str = "lk:status";

/// Subscribes to all status changes and wakes the waiters, as long as the process runs.
///
/// The waiters do not poll, so this one connection must be known to work: a message of our own makes a round trip on
/// it, and if it does not come back in time, the connection is replaced.
pub(super) async fn follow(primary: Primary, watchers: StatusWatchers) {
    loop {
        // Whatever ends it, the next connection wakes all waiters, and they read what changed meanwhile.
        let _ = subscribe(&primary, &watchers).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn subscribe(primary: &Primary, watchers: &StatusWatchers) -> Result<(), RedisError> {
    let in_time = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connect = async {
        let client = primary.client().await?;
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(STATUS_CHANNEL).await?;
        let lane = client.get_multiplexed_async_connection().await?;
        Ok::<_, RedisError>((subscription, lane))
    };
    let (mut subscription, mut lane) =
        tokio::time::timeout(CONNECT_WITHIN * 2, connect).await.map_err(|_| in_time())??;
    watchers.wake_all();
    let round = format!("round:{}", unique());
    let mut changes = subscription.on_message();
    let mut heard = tokio::time::Instant::now();
    let mut every = tokio::time::interval(ROUND_EVERY);
    loop {
        tokio::select! {
            change = changes.next() => {
                let Some(change) = change else { return Ok(()) };
                let word = change.get_payload::<String>().unwrap_or_default();
                if word == round {
                    heard = tokio::time::Instant::now();
                } else if let Ok(request) = word.parse() {
                    watchers.wake(request);
                }
            }
            _ = every.tick() => {
                if heard.elapsed() > ROUND_EVERY * 2 {
                    return Err(in_time());
                }
                lane.publish::<_, _, ()>(STATUS_CHANNEL, &round).await?;
            }
        }
    }
}
