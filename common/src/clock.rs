//! The one reader of the system's time. Tests hold a clock that they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// The time of day. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far this clock runs ahead of the system's, in milliseconds. `None` in production.
    ahead_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's own time.
    pub fn system() -> Self {
        Self::default()
    }

    /// The system's time until [`Clock::advance`] moves it: for tests.
    pub fn manual() -> Self {
        Self { ahead_ms: Some(Arc::new(AtomicI64::new(0))) }
    }

    /// Milliseconds since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's time")]
    pub fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX) + self.ahead_ms()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now_ms())
    }

    /// How far ahead of the system's time this clock is. Redis scripts read the server's own time, so that gateways
    /// whose clocks differ still share one; they add this, which is 0 outside tests.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.as_ref().map_or(0, |ahead| ahead.load(Ordering::SeqCst))
    }

    /// Moves a manual clock and all its clones.
    ///
    /// # Panics
    /// On the system's clock: only a test may move time, and only a clock made for it.
    pub fn advance(&self, by: Duration) {
        let ahead = self.ahead_ms.as_ref().expect("only a manual clock can be moved");
        ahead.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}
