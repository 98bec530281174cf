//! The only reader of the system time. Tests use a clock that they can advance.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// Returns the host's time, to show when something was: the start of a span. What is decided by a time takes it from a
/// [`Clock`].
#[expect(clippy::disallowed_methods, reason = "the only place that reads the system time")]
pub fn host_time() -> SystemTime {
    SystemTime::now()
}

/// A clock. Cheap to clone; clones of a manual clock advance together.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "all fields are milliseconds")]
pub struct Clock {
    /// How far this clock is ahead of the system time. `None` in production.
    ahead_ms: Option<Arc<AtomicI64>>,
    /// The error of this host's time; 0 outside tests.
    wrong_by_ms: i64,
    /// The correction that a following clock adds to the host's time. `None`: it follows no other clock.
    correction_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Creates a clock that shows the system time.
    pub fn system() -> Self {
        Self::default()
    }

    /// Creates a clock that shows the system time until [`Clock::advance`] moves it, for tests.
    pub fn manual() -> Self {
        Self { ahead_ms: Some(Arc::new(AtomicI64::new(0))), ..Self::default() }
    }

    /// Creates the clock of a host whose time is wrong by `ms`, for tests.
    pub fn wrong_by(ms: i64) -> Self {
        Self { wrong_by_ms: ms, ..Self::default() }
    }

    /// Creates a clock that equals this one until [`Clock::correct`] sets its correction. This clock and other clocks
    /// created from it are unaffected.
    #[must_use]
    pub fn following(&self) -> Self {
        Self { correction_ms: Some(Arc::new(AtomicI64::new(0))), ..self.clone() }
    }

    /// Sets the correction of a following clock and all its clones. Has no effect on other clocks.
    pub fn correct(&self, by_ms: i64) {
        if let Some(correction) = &self.correction_ms {
            correction.store(by_ms, Ordering::SeqCst);
        }
    }

    /// Returns the last value passed to [`Clock::correct`].
    pub fn correction_ms(&self) -> i64 {
        self.correction_ms.as_ref().map_or(0, |correction| correction.load(Ordering::SeqCst))
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let since_epoch = host_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let host_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        host_ms
            .saturating_add(self.wrong_by_ms)
            .saturating_add(self.ahead_ms())
            .saturating_add(self.correction_ms())
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now_ms())
    }

    /// Returns how far this clock is ahead of the system time; 0 outside tests. Redis scripts read the server's time,
    /// so that gateways whose clocks differ share one, and add this value.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.as_ref().map_or(0, |ahead| ahead.load(Ordering::SeqCst))
    }

    /// Advances a manual clock and all its clones.
    ///
    /// # Panics
    /// If the clock is not manual: only tests may move time.
    pub fn advance(&self, by: Duration) {
        let ahead = self.ahead_ms.as_ref().expect("only a manual clock can be moved");
        ahead.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}
