//! Limits that do not depend on a code.

use crate::Limits;
use domain::engine_error::EngineError;

/// How long [`Limits::count_distinct`] remembers: longer than a login can be repeated (contract, ruling 32).
pub const DISTINCT_KEPT_SECS: u64 = 60;

impl Limits {
    /// Counts a login by an address. Returns the wait if it exceeds the limit. A `most` of 0 disables the limit.
    pub async fn count_login(&self, ip_key: &str, most: u64) -> Result<Option<u64>, EngineError> {
        on_engine!(self.0, |engine| engine.count_login(ip_key, most))
    }

    /// Whether `member` is among the first `most` different ones under this key. A repeated member counts once.
    pub async fn count_distinct(
        &self,
        key: &str,
        member: &str,
        most: u32,
    ) -> Result<bool, EngineError> {
        on_engine!(self.0, |engine| engine.count_distinct(key, member, most))
    }
}
