//! Classifies a database error: the engine is away, or the request is at fault.

use anyhow::anyhow;

use domain::engine_error::EngineError;

/// Away or broken, with a message that repeats no user's data: PostgreSQL repeats the offending value in messages of
/// classes 22 and 23 and in every `DETAIL`.
pub(super) fn judged(engine: &'static str, act: &'static str, cause: sqlx::Error) -> EngineError {
    let away = is_away(&cause);
    let contended = engine == super::POSTGRES && is_lock(&cause);
    let cause = match cause {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default().into_owned();
            let constraint =
                error.constraint().map_or_else(String::new, |name| format!(" by {name}"));
            let repeats_values =
                engine == super::POSTGRES && (code.starts_with("22") || code.starts_with("23"));
            let message = if repeats_values { "refused" } else { error.message() };
            let text = format!("{act}: {message}{constraint} ({code})");
            if contended { Contended(text).into() } else { anyhow!(text) }
        }
        other => anyhow::Error::new(other).context(act),
    };
    if away { EngineError::away(engine, cause) } else { EngineError::broken(engine, cause) }
}

/// Another transaction has what this one needs; the engine is well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Contended(String);

/// Whether the work failed only because another transaction holds a lock.
pub(super) fn is_contended(error: &EngineError) -> bool {
    matches!(error, EngineError::Away { cause, .. } if cause.is::<Contended>())
}

#[cfg(test)]
pub(super) fn contended() -> EngineError {
    EngineError::away(super::POSTGRES, Contended("a row is locked".to_owned()))
}

/// Lock timeout, serialization failure, deadlock.
fn is_lock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "55P03" | "40001" | "40P01"))
}

fn is_away(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match error {
        // A connection that is cut in the middle of a message appears as a protocol error.
        E::Io(_)
        | E::Tls(_)
        | E::Protocol(_)
        | E::PoolTimedOut
        | E::PoolClosed
        | E::WorkerCrashed => true,
        E::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                postgres_is_away(&code)
            } else {
                sqlite_is_away(&code)
            }
        }
        _ => false,
    }
}

/// SQLSTATE, PostgreSQL's appendix A.
fn postgres_is_away(code: &str) -> bool {
    match code {
        // Lock timeout, query cancelled (our statement timeout), read-only transaction (a standby);
        // serialization failure and deadlock: a retry may well succeed;
        // idle in transaction for too long: we were slow, but no request is at fault;
        // password or role refused: an operator has to fix it, and then it works again.
        "55P03" | "57014" | "25006" | "40001" | "40P01" | "25P03" | "25P04" | "28000" | "28P01" => {
            true
        }
        // Connection exceptions; no resources (full, too many); shutdown, crash, cannot connect now; system errors.
        _ => ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)),
    }
}

/// SQLite's primary result codes: busy 5, locked 6, no memory 7, read-only 8, I/O 10, full 13, cannot open 14.
fn sqlite_is_away(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_engine_is_away_and_a_bad_statement_is_not() {
        for code in [
            "08006", "53100", "53300", "57P01", "57P03", "57014", "55P03", "25006", "40P01",
            "58030",
        ] {
            assert!(postgres_is_away(code), "{code}");
        }
        for code in ["23505", "22P02", "42P01", "42501", "P0001", "25P02", ""] {
            assert!(!postgres_is_away(code), "{code}");
        }
        for code in ["5", "261", "517", "8", "13", "14", "3338"] {
            assert!(sqlite_is_away(code), "{code}");
        }
        for code in ["1", "11", "19", "2067", ""] {
            assert!(!sqlite_is_away(code), "{code}");
        }
        assert!(judged("x", "y", sqlx::Error::PoolTimedOut).is_away());
        assert!(!judged("x", "y", sqlx::Error::RowNotFound).is_away());
    }
}
