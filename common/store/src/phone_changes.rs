//! The numbers that users requested to change to.

use crate::PhoneChanges;
use domain::engine_error::EngineError;
use domain::ids::UserId;

operations! { PhoneChanges {
    /// Remembers the number a user requested to change to: sealed, until its code expires. The last request counts.
    fn note(user: UserId, sealed: &str, ttl_ms: i64) -> () => note_change;

    /// The sealed number that a user requested to change to.
    fn noted(user: UserId) -> Option<String> => noted_change;
} }
