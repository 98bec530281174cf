//! How long units of work take, as `latchkey_engine_seconds` shows it (contract, section 11).

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Histogram, histogram};

use super::POSTGRES;

/// The operations that are told apart, by the name that their act has in errors: those of a sign-in and of its text. All
/// else is `other`.
const OPERATIONS: [(&str, &str); 4] = [
    ("sign in", "sign_in"),
    ("refresh a session", "refresh"),
    ("begin attempts", "begin_attempts"),
    ("finish attempts", "finish_attempts"),
];
const OTHER: &str = "other";

/// Kept, because each is on the way of every sign-in. A process installs its recorder before it has a database.
static POSTGRES_TIMES: LazyLock<[Histogram; 5]> = LazyLock::new(|| {
    [0, 1, 2, 3, 4].map(|at| {
        let operation = OPERATIONS.get(at).map_or(OTHER, |(_, operation)| *operation);
        histogram!("latchkey_engine_seconds", "engine" => "postgresql", "operation" => operation)
    })
});

/// Records how long a unit of work took, with the wait for a connection and whatever its end was. SQLite, a part of this
/// process, has no round trips.
pub(super) fn record(engine: &str, act: &str, took: Duration) {
    if engine == POSTGRES {
        let at = OPERATIONS.iter().position(|(known, _)| *known == act);
        POSTGRES_TIMES[at.unwrap_or(OPERATIONS.len())].record(took);
    }
}
