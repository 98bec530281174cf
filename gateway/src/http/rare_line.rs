//! Lines of the log that any client can cause: one a minute is enough.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_mins(1);

/// When such a line was last written.
#[derive(Debug, Default)]
pub(crate) struct RareLine(Option<Instant>);

impl RareLine {
    /// Whether the line is due. If so, the next one is in a minute.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= EVERY);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
