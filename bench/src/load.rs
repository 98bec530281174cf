//! The load: open loops with a fixed rate, and closed loops that go as fast as responses arrive.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The pace of a load.
#[derive(Clone, Copy)]
pub enum Pace {
    /// An open loop: this many start each second, regardless of the earlier ones. A slow system gets a queue instead of
    /// a slower load.
    ASecond(u32),
    /// A closed loop: this many run at any time; each starts when another ends.
    AtOnce(usize),
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ASecond(rate) => write!(f, "{rate} started per second"),
            Self::AtOnce(many) => write!(f, "{many} at once"),
        }
    }
}

/// Runs `one` for each number of the range at this pace. Returns the results in order and the elapsed seconds.
pub async fn run<T, F>(
    pace: Pace,
    numbers: Range<usize>,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) -> (Vec<T>, f64)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let started = Instant::now();
    let mut done = match pace {
        Pace::ASecond(rate) => open_loop(numbers, rate, one).await,
        Pace::AtOnce(many) => closed_loop(numbers, many, one).await,
    };
    done.sort_by_key(|(number, _)| *number);
    let took = started.elapsed().as_secs_f64();
    (done.into_iter().map(|(_, value)| value).collect(), took)
}

async fn open_loop<T, F>(
    numbers: Range<usize>,
    per_second: u32,
    one: impl Fn(usize) -> F,
) -> Vec<(usize, T)>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in numbers {
        ticks.tick().await;
        let work = one(number);
        running.spawn(async move { (number, work.await) });
    }
    running.join_all().await
}

async fn closed_loop<T, F>(
    numbers: Range<usize>,
    at_once: usize,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Vec<(usize, T)>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let (next, one) = (Arc::clone(&next), one.clone());
        running.spawn(async move {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return done;
                }
                let work = one(number);
                done.push((number, work.await));
            }
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

/// Returns the given percentile in milliseconds.
pub fn percentile(values: &[Duration], hundredths: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let at = (values.len() * hundredths).div_ceil(100).clamp(1, values.len()) - 1;
    values[at].as_secs_f64() * 1_000.0
}
