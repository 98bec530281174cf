//! The ledger as staff read it: lists of messages and all that is known of one. It changes nothing, and needs no right to.

use uuid::Uuid;

use super::history::{AttemptEntry, Change, attempts_of, history_of};
use super::rows::message_state;
use domain::engine_error::EngineError;
use domain::ids::{MessageId, RequestId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use sql::{Pool, Row, args};

/// A message, as a list shows it.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: MessageId,
    /// `None`: a notice, which no client requested.
    pub request_id: Option<RequestId>,
    /// `None`: the account was deleted.
    pub phone_number: Option<E164>,
    pub country: String,
    pub channel: Channel,
    pub status: Status,
    pub reason: Option<Reason>,
    pub provider: Option<String>,
    pub provider_message_id: Option<String>,
    pub segments: Option<u32>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When its code is over.
    pub not_after: Timestamp,
}

/// Where a page of messages ends: the next one begins before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub created_at: Timestamp,
    pub id: MessageId,
}

/// Which messages a list shows; `None` shows all.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFilter<'a> {
    pub status: Option<Status>,
    pub reason: Option<Reason>,
    pub provider: Option<&'a str>,
    /// ISO 3166.
    pub country: Option<&'a str>,
    pub channel: Option<Channel>,
    pub since: Option<Timestamp>,
    pub phone_number: Option<&'a E164>,
}

/// Reads the ledger.
#[derive(Clone, Debug)]
pub struct Reader {
    db: Pool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT message_id, request_id, phone_number, country, channel, state, reason, provider,
                 provider_message_id, segments, created_at, updated_at, not_after FROM sms_ledger ",
            $rest
        )
    };
}

impl Message {
    pub fn cursor(&self) -> Cursor {
        Cursor { created_at: self.created_at, id: self.id }
    }
}

impl Reader {
    pub fn new(db: &Pool) -> Self {
        Self { db: db.clone() }
    }

    /// Messages that the filter lets through, newest first, after the cursor.
    pub async fn page(
        &self,
        filter: MessageFilter<'_>,
        before: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Message>, EngineError> {
        let last = Timestamp::from_ms(i64::MAX);
        let before = before.map_or((last, Uuid::max()), |at| (at.created_at, at.id.uuid()));
        let since = filter.since.unwrap_or(Timestamp::from_ms(i64::MIN));
        let arguments = args![
            since,
            before.0,
            before.1,
            filter.status.map(Status::as_str),
            filter.reason.map(Reason::as_str),
            filter.provider,
            filter.country,
            filter.channel.map(Channel::as_str),
            limit,
            filter.phone_number,
        ];
        let act = "list messages";
        // A phone has few messages: its own index finds them. Any other list goes by time.
        if filter.phone_number.is_some() {
            let sql = select!(
                "WHERE phone_number = $10 AND created_at >= $1 AND (created_at, message_id) < ($2, $3)
                   AND ($4 IS NULL OR state = $4) AND ($5 IS NULL OR reason = $5) AND ($6 IS NULL OR provider = $6)
                   AND ($7 IS NULL OR country = $7) AND ($8 IS NULL OR channel = $8)
                 ORDER BY created_at DESC, message_id DESC LIMIT $9"
            );
            return self.db.rows(act, sql, arguments, message).await;
        }
        let sql = select!(
            "WHERE created_at >= $1 AND (created_at, message_id) < ($2, $3)
               AND ($4 IS NULL OR state = $4) AND ($5 IS NULL OR reason = $5) AND ($6 IS NULL OR provider = $6)
               AND ($7 IS NULL OR country = $7) AND ($8 IS NULL OR channel = $8)
             ORDER BY created_at DESC, message_id DESC LIMIT $9"
        );
        self.db.rows(act, sql, &arguments[..9], message).await
    }

    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, EngineError> {
        let sql = select!("WHERE message_id = $1");
        self.db.optional("read a message", sql, args![id.uuid()], message).await
    }

    /// The messages of a code request: its text, and perhaps the call that followed.
    pub async fn of_request(&self, request: RequestId) -> Result<Vec<Message>, EngineError> {
        let sql = select!("WHERE request_id = $1 ORDER BY created_at, message_id");
        self.db.rows("read a request's messages", sql, args![request.uuid()], message).await
    }

    /// The calls that were made to providers for a message, in order.
    pub async fn attempts(&self, message: MessageId) -> Result<Vec<AttemptEntry>, EngineError> {
        attempts_of(&self.db, message).await
    }

    /// The changes of a message's state, in order.
    pub async fn history(&self, message: MessageId) -> Result<Vec<Change>, EngineError> {
        history_of(&self.db, message).await
    }

    /// How many messages since then ended in each state, and for which reason.
    pub async fn totals(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Status, Option<Reason>, i64)>, EngineError> {
        let sql =
            "SELECT state, reason, COUNT(*) AS messages FROM sms_ledger WHERE created_at >= $1
             GROUP BY state, reason";
        let of =
            |row: &Row| Ok((row.word("state")?, row.maybe_word("reason")?, row.get("messages")?));
        self.db.rows("count messages", sql, args![since], of).await
    }
}

fn message(row: &Row) -> Result<Message, sqlx::Error> {
    let phone_number = match row.get::<Option<String>>("phone_number")? {
        Some(_) => Some(row.e164("phone_number")?),
        None => None,
    };
    let state = message_state(row)?;
    Ok(Message {
        id: state.message_id,
        request_id: state.request_id,
        phone_number,
        country: state.country,
        channel: state.channel,
        status: state.status,
        reason: state.reason,
        provider: state.provider,
        provider_message_id: state.provider_message_id,
        segments: state.segments,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        not_after: row.time("not_after")?,
    })
}
