//! The numbers that users requested to change to.

use crate::{NotedChange, PhoneChanges};
use domain::engine_error::EngineError;
use domain::ids::{SessionId, UserId};

operations! { PhoneChanges {
    /// Remembers the number that a user requested to change to, and in which session: sealed, until its code expires.
    /// The last request counts.
    fn note(user: UserId, session: SessionId, sealed: &str, ttl_ms: i64) -> () => note_change;

    /// What a user requested last, if it is not over.
    fn noted(user: UserId) -> Option<NotedChange> => noted_change;
} }
