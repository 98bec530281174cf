//! The ledger as history: which calls were made for a message, at what cost, and how its state changed.

use uuid::Uuid;

use super::rows::parsed;
use super::{AttemptState, Ledger};
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::args;

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
        self.db
            .within("read a message's attempts", async {
                let mut work = self.db.reading().await?;
                let rows = work
                    .rows(
                        "SELECT attempt_id, provider, number, state, started_at, ended_at, provider_message_id, provider_code, final_state, price
                            FROM sms_attempts WHERE message_id = $1 ORDER BY number",
                        args![message.uuid()],
                    )
                    .await?;
                work.done().await?;
                rows.iter()
                    .map(|row| {
                        let final_state: Option<String> = row.get("final_state")?;
                        Ok(AttemptEntry {
                            attempt_id: AttemptId::from_uuid(row.get::<Uuid>("attempt_id")?),
                            provider: row.get("provider")?,
                            number: u32::try_from(row.get::<i64>("number")?).unwrap_or_default(),
                            state: row.get::<String>("state")?.parse().ok(),
                            started_at: row.time("started_at")?,
                            ended_at: row.maybe_time("ended_at")?,
                            provider_message_id: row.get("provider_message_id")?,
                            provider_code: row.get("provider_code")?,
                            final_state: final_state
                                .map(|state| parsed("final_state", &state))
                                .transpose()?,
                            price: row.get("price")?,
                        })
                    })
                    .collect()
            })
            .await
    }

    /// The changes of a message's state, in order.
    pub async fn history(&self, message: MessageId) -> Result<Vec<Change>, EngineError> {
        self.db
            .within("read a message's history", async {
                let mut work = self.db.reading().await?;
                let rows = work
                    .rows(
                        "SELECT state, reason, at FROM sms_history WHERE message_id = $1 ORDER BY at, rank",
                        args![message.uuid()],
                    )
                    .await?;
                work.done().await?;
                rows.iter()
                    .map(|row| {
                        let reason: Option<String> = row.get("reason")?;
                        Ok(Change {
                            status: parsed("state", &row.get::<String>("state")?)?,
                            reason: reason.map(|r| parsed("reason", &r)).transpose()?,
                            at: row.time("at")?,
                        })
                    })
                    .collect()
            })
            .await
    }
}
