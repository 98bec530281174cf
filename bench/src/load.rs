//! The load: open loops that keep their pace, closed loops that go as fast as they are answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::http::Api;

const TEXT_LIMIT: Duration = Duration::from_secs(30);
/// Before the first look into the inbox: a look costs the gateway and Redis something, so there should be one.
const FIRST_LOOK: Duration = Duration::from_millis(60);
const NEXT_LOOK: Duration = Duration::from_millis(20);

/// Begins `one` for each of 0 to `count`, so many a second, whatever became of those before: a slow system gets a queue
/// and not a slower load. Gives what they gave, in their order.
pub async fn open_loop<T, F>(count: usize, per_second: u32, one: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        let work = one(number);
        running.spawn(async move { (number, work.await) });
    }
    in_order(running.join_all().await)
}

/// Runs `one` for each of 0 to `count`, `at_once` at a time. Gives the seconds that it took.
pub async fn closed_loop<F>(
    count: usize,
    at_once: usize,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let (next, one) = (Arc::clone(&next), one.clone());
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let work = one(number);
                work.await;
            }
        });
    }
    running.join_all().await;
    started.elapsed().as_secs_f64()
}

fn in_order<T>(mut numbered: Vec<(usize, T)>) -> Vec<T> {
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, value)| value).collect()
}

/// The code in the only text to a phone, once it came.
pub async fn only_code(api: &Api, phone: &str) -> String {
    let asked = Instant::now();
    tokio::time::sleep(FIRST_LOOK).await;
    loop {
        let messages = api.messages(phone).await;
        if let Some(code) = messages.first().and_then(|message| message["code"].as_str()) {
            return code.to_owned();
        }
        assert!(asked.elapsed() < TEXT_LIMIT, "no text within {TEXT_LIMIT:?}");
        tokio::time::sleep(NEXT_LOOK).await;
    }
}

/// The smallest value that so many hundredths of them do not exceed, in milliseconds.
pub fn percentile(values: &mut [Duration], hundredths: usize) -> f64 {
    values.sort_unstable();
    let at = (values.len() * hundredths).div_ceil(100).clamp(1, values.len()) - 1;
    values[at].as_secs_f64() * 1_000.0
}
