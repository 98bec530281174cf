//! The ledger as history: what was sent to whom, when, by which provider, at what cost, and how it ended.

use uuid::Uuid;

use super::rows::{message_state, parsed};
use super::{AttemptState, Ledger, MessageState};
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::args;

/// What to search for.
#[derive(Clone, Copy)]
pub enum Search<'a> {
    /// The newest messages.
    Newest,
    Phone(&'a str),
    Request(RequestId),
    Message(MessageId),
}

/// One message. Has no `Debug`: it holds a whole phone number.
#[derive(Clone)]
pub struct Entry {
    pub message_state: MessageState,
    /// `None` once it was erased.
    pub phone_number: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub not_after: Timestamp,
}

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

macro_rules! entries {
    ($condition:literal) => {
        concat!(
            "SELECT message_id, request_id, phone_number, country, channel, state, rank, reason, provider, provider_message_id, segments, created_at, updated_at, not_after FROM sms_ledger ",
            $condition,
            " ORDER BY created_at DESC, message_id DESC LIMIT $1"
        )
    };
}

impl Ledger {
    /// The matching messages, newest first.
    pub async fn find(&self, search: Search<'_>, most: u32) -> Result<Vec<Entry>, EngineError> {
        self.db
            .within("search the ledger", async {
                let mut work = self.db.reading().await?;
                let rows = match search {
                    Search::Newest => work.rows(entries!(""), args![most]).await?,
                    Search::Phone(phone) => {
                        work.rows(entries!("WHERE phone_number = $2"), args![most, phone]).await?
                    }
                    Search::Request(id) => {
                        work.rows(entries!("WHERE request_id = $2"), args![most, id.uuid()]).await?
                    }
                    Search::Message(id) => {
                        work.rows(entries!("WHERE message_id = $2"), args![most, id.uuid()]).await?
                    }
                };
                work.done().await?;
                rows.iter()
                    .map(|row| {
                        Ok(Entry {
                            message_state: message_state(row)?,
                            phone_number: row.get("phone_number")?,
                            created_at: row.time("created_at")?,
                            updated_at: row.time("updated_at")?,
                            not_after: row.time("not_after")?,
                        })
                    })
                    .collect()
            })
            .await
    }

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
