//! The one reader of the system's time. Tests hold a clock that they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// The time of day. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "all are milliseconds, and say so")]
pub struct Clock {
    /// How far this clock runs ahead of the system's, in milliseconds. `None` in production.
    ahead_ms: Option<Arc<AtomicI64>>,
    /// How wrong this host's time is; 0 but in tests.
    wrong_by_ms: i64,
    /// What a clock that follows another's adds to its host's time. `None`: it follows none.
    correction_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's own time.
    pub fn system() -> Self {
        Self::default()
    }

    /// The system's time until [`Clock::advance`] moves it: for tests.
    pub fn manual() -> Self {
        Self { ahead_ms: Some(Arc::new(AtomicI64::new(0))), ..Self::default() }
    }

    /// The time of a host whose clock is wrong by so much: for tests.
    pub fn wrong_by(ms: i64) -> Self {
        Self { wrong_by_ms: ms, ..Self::default() }
    }

    /// A clock that runs as this one until [`Clock::correct`] says how far that is from the time to go by. This one, and
    /// other clocks made from it, stay as they are.
    #[must_use]
    pub fn following(&self) -> Self {
        Self { correction_ms: Some(Arc::new(AtomicI64::new(0))), ..self.clone() }
    }

    /// Corrects a following clock and all its clones by so much of its host's time. Any other clock stays as it is.
    pub fn correct(&self, by_ms: i64) {
        if let Some(correction) = &self.correction_ms {
            correction.store(by_ms, Ordering::SeqCst);
        }
    }

    /// What [`Clock::correct`] said last.
    pub fn correction_ms(&self) -> i64 {
        self.correction_ms.as_ref().map_or(0, |correction| correction.load(Ordering::SeqCst))
    }

    /// Milliseconds since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's time")]
    pub fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let host_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        host_ms
            .saturating_add(self.wrong_by_ms)
            .saturating_add(self.ahead_ms())
            .saturating_add(self.correction_ms())
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
