//! The basis of the integration tests: private engines, a fault proxy, our own processes, a client.
//!
//! A test that needs a real engine has `on_the_engines` in its path ([`both_sides!`] adds it), so that `tests/run
//! --fast` can skip it by name.

pub mod collector;
mod described;
pub mod engines;
pub mod folder;
pub mod guard;
pub mod http;
pub mod launch;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbit;
pub mod redis;
pub mod server;
pub mod stalls;
pub mod system;

use std::time::{Duration, Instant};

/// How long a test waits for what must come. It ends a test that would hang, and is no measure of speed: a machine that
/// is ten times slower than usual needs much less.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until the probe returns something; fails with `what` after `within`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    match in_time(within, &mut probe).await {
        Some(found) => found,
        None => panic!("timed out after {within:?} waiting for {what}"),
    }
}

/// Runs the probe every 20 ms until it returns something or `within` is over.
pub async fn in_time<T>(within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = probe().await {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes two tests of one body, `async fn(Side)`: `name::embedded` and `name::on_the_engines`. Both are
/// [`stalls::steady`].
#[macro_export]
macro_rules! both_sides {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                $crate::stalls::steady(async || super::$name($crate::system::Side::Embedded).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_the_engines() {
                $crate::stalls::steady(async || super::$name($crate::system::Side::Engines).await).await;
            }
        }
    )+};
}
