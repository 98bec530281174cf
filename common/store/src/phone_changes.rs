//! The numbers that users requested to change to.

use crate::PhoneChanges;
use domain::engine_error::EngineError;
use domain::ids::UserId;

impl PhoneChanges {
    /// Remembers the number a user requested to change to: sealed, until its code expires. The last request counts.
    pub async fn note(&self, user: UserId, sealed: &str, ttl_ms: i64) -> Result<(), EngineError> {
        on_engine!(self.0, |engine| engine.note_change(user, sealed, ttl_ms))
    }

    /// The sealed number that a user requested to change to.
    pub async fn noted(&self, user: UserId) -> Result<Option<String>, EngineError> {
        on_engine!(self.0, |engine| engine.noted_change(user))
    }
}
