//! Starts of work on messages that may crash a process.

use crate::CrashCounts;
use domain::engine_error::EngineError;

/// How long the starts of a message are remembered after the last one.
pub(crate) const STARTS_KEPT_MS: i64 = 3_600_000;

impl CrashCounts {
    /// Counts the starts of work on a redelivered message, so that one that crashes its process is recognised before it
    /// does so again (P11). Forgotten an hour after the last start.
    pub async fn count(&self, message: &str) -> Result<u32, EngineError> {
        on_engine!(self.0, |engine| engine.count_start(message))
    }

    /// The counted starts of a message that are not forgotten.
    pub async fn get(&self, message: &str) -> Result<u32, EngineError> {
        on_engine!(self.0, |engine| engine.starts(message))
    }

    /// Forgets the starts of a message: the process survived it.
    pub async fn forget(&self, message: &str) -> Result<(), EngineError> {
        on_engine!(self.0, |engine| engine.forget_starts(message))
    }
}
