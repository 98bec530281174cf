//! Keys that are accepted once.

use crate::ReplayGuard;
use domain::engine_error::EngineError;

impl ReplayGuard {
    /// Whether this key is seen for the first time within `kept_secs`. Among concurrent callers exactly one gets
    /// `true`.
    pub async fn first_time(&self, key: &str, kept_secs: u64) -> Result<bool, EngineError> {
        on_engine!(self.0, |engine| engine.first_time(key, kept_secs))
    }
}
