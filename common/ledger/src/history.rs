//! The ledger as history: which calls were made for a message, at what cost, and how its state changed.

use super::{AttemptState, Ledger};
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::{Pool, Row, args};

/// One call to a provider.
#[derive(Clone, Debug)]
pub struct AttemptEntry {
    pub attempt_id: AttemptId,
    pub provider: String,
    pub number: u32,
    pub state: Option<AttemptState>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub provider_message_id: Option<String>,
    pub provider_code: Option<String>,
    pub final_state: Option<Status>,
    pub final_reason: Option<Reason>,
    /// As the provider writes it: amount and currency.
    pub price: Option<String>,
}

/// One change of a message's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub status: Status,
    pub reason: Option<Reason>,
    pub at: Timestamp,
}

impl Ledger {
    /// The calls that were made for a message, in order.
    pub async fn attempts(&self, message: MessageId) -> Result<Vec<AttemptEntry>, EngineError> {
        attempts_of(&self.db, message).await
    }

    /// The changes of a message's state, in order.
    pub async fn history(&self, message: MessageId) -> Result<Vec<Change>, EngineError> {
        history_of(&self.db, message).await
    }
}

pub(super) async fn attempts_of(
    db: &Pool,
    message: MessageId,
) -> Result<Vec<AttemptEntry>, EngineError> {
    let sql =
        "SELECT attempt_id, provider, number, state, started_at, ended_at, provider_message_id,
             provider_code, final_state, final_reason, price
         FROM sms_attempts WHERE message_id = $1 ORDER BY number";
    db.rows("read a message's attempts", sql, args![message.uuid()], attempt_entry).await
}

pub(super) async fn history_of(db: &Pool, message: MessageId) -> Result<Vec<Change>, EngineError> {
    let sql = "SELECT state, reason, at FROM sms_history WHERE message_id = $1 ORDER BY at, rank";
    db.rows("read a message's history", sql, args![message.uuid()], change).await
}

fn attempt_entry(row: &Row) -> Result<AttemptEntry, sqlx::Error> {
    Ok(AttemptEntry {
        attempt_id: AttemptId::from_uuid(row.get("attempt_id")?),
        provider: row.get("provider")?,
        number: u32::try_from(row.get::<i64>("number")?).unwrap_or_default(),
        state: row.get::<String>("state")?.parse().ok(),
        started_at: row.time("started_at")?,
        ended_at: row.maybe_time("ended_at")?,
        provider_message_id: row.get("provider_message_id")?,
        provider_code: row.get("provider_code")?,
        final_state: row.maybe_word("final_state")?,
        final_reason: row.maybe_word("final_reason")?,
        price: row.get("price")?,
    })
}

fn change(row: &Row) -> Result<Change, sqlx::Error> {
    Ok(Change {
        status: row.word("state")?,
        reason: row.maybe_word("reason")?,
        at: row.time("at")?,
    })
}
