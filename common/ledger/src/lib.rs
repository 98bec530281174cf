//! The ledger of messages: one row per message, per attempt to hand it to a provider, and per change of its state.
//!
//! Owns the tables of messages, delivery attempts and receipts. Must never know an account, a code, or what a text
//! says.
//!
//! It prevents a redelivered job from being paid for twice (P2): an attempt is committed as `begun` before its provider
//! is called, and a message with an attempt whose end was not recorded is unconfirmed, not new. The calls that may have
//! been accepted are counted here, under the message's lock, so no number of workers exceeds the limit (W1).

use self::begin::BeginAttempt;
use self::finish::FinishAttempt;
use self::rows::{MESSAGE_STATE, message_state};
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use sql::batch::Batch;
use sql::{Pool, Row, args};

mod begin;
pub mod erase;
mod finish;
mod follow_up;
mod history;
pub mod hours;
mod reader;
mod receipts;
mod recent;
mod rows;

pub use begin::{Begin, Risk};
pub use finish::{AttemptState, Finish};
pub use follow_up::{FollowUp, MOST_QUESTIONS, Swept};
pub use history::{AttemptEntry, Change};
pub use reader::{Cursor, Message, MessageFilter, Reader, Stretch};
pub use receipts::{Applied, Receipt};
pub use recent::RecentAttempt;

/// The ledger's operations, each atomic. Cheap to clone; clones batch their hot operations together.
#[derive(Clone, Debug)]
pub struct Ledger {
    db: Pool,
    begins: Batch<BeginAttempt>,
    finishes: Batch<FinishAttempt>,
}

/// A message to send, as the ledger keeps it: without its text.
#[derive(Clone, Copy)]
pub struct NewMessage<'a> {
    pub message_id: MessageId,
    pub request_id: Option<RequestId>,
    pub phone_number: &'a E164,
    /// Whether the account of this number was deleted: the number is then not written down.
    pub of_deleted: bool,
    pub country: &'a str,
    pub channel: Channel,
    pub not_after: Timestamp,
}

impl<'a> NewMessage<'a> {
    /// The number as the ledger keeps it.
    fn kept_number(&self) -> Option<&'a E164> {
        (!self.of_deleted).then_some(self.phone_number)
    }
}

/// The state of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageState {
    pub message_id: MessageId,
    pub request_id: Option<RequestId>,
    pub country: String,
    pub channel: Channel,
    pub status: Status,
    pub reason: Option<Reason>,
    pub provider: Option<String>,
    pub provider_message_id: Option<String>,
    pub segments: Option<u32>,
}

/// The result of an operation: the message's state, and whether the operation changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub changed: bool,
    pub message_state: MessageState,
}

/// A message's attempts so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Calls that may have been accepted.
    pub risked: u32,
    /// Calls that certainly were not accepted.
    pub refused: u32,
}

/// The ledger's own rank. The public ranks treat the ends of delivery as equal; here they are ordered too, so that the
/// same receipts in any order end in the same state.
const fn rank(status: Status) -> i64 {
    match status {
        Status::Accepted | Status::Issued | Status::Sending => 20,
        Status::Sent | Status::Verified => 30,
        Status::Expired | Status::Superseded => 40,
        Status::Failed => 41,
        Status::Undelivered => 42,
        Status::Delivered => 43,
    }
}
const SENT: i64 = rank(Status::Sent);

impl Ledger {
    /// The ledger of this database. Its statements find their rows by keys ([`Pool::by_key`]), so a young table costs no
    /// more than an old one.
    pub fn new(db: &Pool) -> Self {
        let db = db.by_key();
        Self { begins: Batch::new(&db), finishes: Batch::new(&db), db }
    }

    /// The state of a message; `None` if the ledger does not know it.
    pub async fn message_state(
        &self,
        message_id: MessageId,
    ) -> Result<Option<MessageState>, EngineError> {
        let args = args![message_id.uuid()];
        self.db.optional("read a message's state", MESSAGE_STATE, args, message_state).await
    }

    /// The message's attempts so far.
    pub async fn attempt_counts(
        &self,
        message_id: MessageId,
    ) -> Result<AttemptCounts, EngineError> {
        let sql = "SELECT state FROM sms_attempts WHERE message_id = $1";
        let args = args![message_id.uuid()];
        let state = |row: &Row| row.get::<String>("state");
        let mut attempt_counts = AttemptCounts::default();
        for state in self.db.rows("count a message's attempts", sql, args, state).await? {
            match state.as_str() {
                "begun" | "accepted" | "unknown" => attempt_counts.risked += 1,
                _ => attempt_counts.refused += 1,
            }
        }
        Ok(attempt_counts)
    }

    /// The state of an attempt: a receipt marks it as accepted while its caller still waits.
    pub async fn attempt_state(
        &self,
        attempt_id: AttemptId,
    ) -> Result<Option<AttemptState>, EngineError> {
        let sql = "SELECT state FROM sms_attempts WHERE attempt_id = $1";
        let state = |row: &Row| Ok(row.get::<String>("state")?.parse().ok());
        let args = args![attempt_id.uuid()];
        self.db.optional("read an attempt's state", sql, args, state).await.map(Option::flatten)
    }
}
