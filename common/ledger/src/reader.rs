//! The ledger as staff read it: lists of messages and all that is known of one. It changes nothing, and needs no right to.

use uuid::Uuid;

use super::history::{AttemptEntry, Change, attempts_of, history_of};
use super::rows::message_state;
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId, RequestId};
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
    /// The digits with which numbers begin.
    pub prefix: Option<&'a str>,
    /// Only messages of code requests that a provider took, or that may still arrive, and whose code's life ended before
    /// this time.
    pub over_before: Option<Timestamp>,
}

/// A stretch of the ledger that was looked at.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// What was found in it, newest first.
    pub messages: Vec<Message>,
    /// Where it ended before it had as many as were asked for: the next one begins there. `None`: there are as many, or
    /// nothing is left to look at.
    pub stopped: Option<Cursor>,
}

/// The most messages that one look goes through: whoever searches for what hardly ever happens looks again.
const STRETCH: u32 = 10_000;
/// A prefix with at most so many messages is read by its own index.
const FEW: i64 = 2_000;

/// Reads the ledger.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) db: Pool,
}

/// What the filter lets through; `$1` to `$12` as in [`Reader::page`].
macro_rules! let_through {
    () => {
        "($4 IS NULL OR state = $4) AND ($5 IS NULL OR reason = $5) AND ($6 IS NULL OR provider = $6)
           AND ($7 IS NULL OR country = $7) AND ($8 IS NULL OR channel = $8)
           AND ($10 IS NULL OR (not_after < $10 AND request_id IS NOT NULL AND state IN ('sent', 'delivered')))
           AND ($11 IS NULL OR (phone_number >= $11 AND phone_number < $12))
         ORDER BY created_at DESC, message_id DESC LIMIT $9"
    };
}

/// Messages that an index finds, of which there are few. They are found first: by the order alone the server would read by
/// time until it has enough, which it never has.
macro_rules! by_index {
    ($found:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (SELECT * FROM sms_ledger WHERE ",
            $found,
            ") SELECT * FROM found WHERE created_at >= $1 AND (created_at, message_id) < ($2, $3) AND ",
            let_through!()
        )
    };
}

/// A list by time, through a stretch that ends after `$13` messages.
const BY_TIME: &str = concat!(
    "SELECT * FROM (SELECT * FROM sms_ledger WHERE created_at >= $1 AND (created_at, message_id) < ($2, $3)
         ORDER BY created_at DESC, message_id DESC LIMIT $13) stretch
     WHERE ",
    let_through!()
);
const END_OF_STRETCH: &str = "SELECT created_at, message_id FROM sms_ledger
     WHERE created_at >= $1 AND (created_at, message_id) < ($2, $3)
     ORDER BY created_at DESC, message_id DESC LIMIT 1 OFFSET $4";

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

    /// Messages that the filter lets through, newest first, after the cursor. It looks at 10,000 messages at most, unless
    /// the filter names a number, or a prefix with few.
    pub async fn page(
        &self,
        filter: MessageFilter<'_>,
        before: Option<Cursor>,
        limit: u32,
    ) -> Result<Stretch, EngineError> {
        let last = Timestamp::from_ms(i64::MAX);
        let before = before.map_or((last, Uuid::max()), |at| (at.created_at, at.id.uuid()));
        let since = filter.since.unwrap_or(Timestamp::from_ms(i64::MIN));
        let span = filter.prefix.map(span_of).unwrap_or_default();
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
            filter.over_before,
            filter.prefix.map(|_| &*span.0),
            filter.prefix.map(|_| &*span.1),
            STRETCH,
        ];
        let act = "list messages";
        // A phone has few messages, and so has many a prefix: their own index finds them. Any other list goes by time.
        let found = if let Some(number) = filter.phone_number {
            let arguments = [&arguments[..12], &args![number][..]].concat();
            Some(self.db.rows(act, by_index!("phone_number = $13"), &arguments, message).await?)
        } else if filter.prefix.is_some() && self.has_few(&span).await? {
            let sql = by_index!("phone_number >= $11 AND phone_number < $12");
            Some(self.db.rows(act, sql, &arguments[..12], message).await?)
        } else {
            None
        };
        if let Some(messages) = found {
            return Ok(Stretch { messages, stopped: None });
        }
        let messages = self.db.rows(act, BY_TIME, arguments, message).await?;
        let stopped = if messages.len() < limit as usize {
            let end = args![since, before.0, before.1, STRETCH - 1];
            self.db.optional("find the end of a stretch", END_OF_STRETCH, end, cursor).await?
        } else {
            None
        };
        Ok(Stretch { messages, stopped })
    }

    /// Whether numbers in this span have so few messages that they are better read by their index than by time.
    async fn has_few(&self, span: &(String, String)) -> Result<bool, EngineError> {
        let sql = "SELECT COUNT(*) AS messages FROM (SELECT 1 AS one FROM sms_ledger
             WHERE phone_number >= $1 AND phone_number < $2 LIMIT $3) counted";
        let args = args![&*span.0, &*span.1, FEW + 1];
        let messages = |row: &Row| row.get::<i64>("messages");
        Ok(self.db.one("count a prefix's messages", sql, args, messages).await? <= FEW)
    }

    /// A message to which a provider gave this id. The newest 100,000 are looked at first, then every attempt: an index would
    /// cost each text a tenth more of what its attempts cost the database, for a search that is rare.
    pub async fn of_provider_id(&self, id: &str) -> Result<Option<MessageId>, EngineError> {
        let newest = "SELECT message_id FROM (SELECT message_id, provider_message_id FROM sms_ledger
                 ORDER BY created_at DESC LIMIT 100000) newest WHERE provider_message_id = $1 LIMIT 1";
        let every = "SELECT message_id FROM sms_attempts WHERE provider_message_id = $1 LIMIT 1";
        let of = |row: &Row| row.get("message_id").map(MessageId::from_uuid);
        for sql in [newest, every] {
            let found = self.db.optional("find a provider's message", sql, args![id], of).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The message of a call to a provider.
    pub async fn of_attempt(&self, id: AttemptId) -> Result<Option<MessageId>, EngineError> {
        let sql = "SELECT message_id FROM sms_attempts WHERE attempt_id = $1";
        let of = |row: &Row| row.get("message_id").map(MessageId::from_uuid);
        self.db.optional("find the message of an attempt", sql, args![id.uuid()], of).await
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
}

/// The texts between which numbers lie that begin with these digits. All numbers are `+` and digits.
fn span_of(digits: &str) -> (String, String) {
    // After the digits comes the character after '9'.
    (format!("+{digits}"), format!("+{digits}:"))
}

fn cursor(row: &Row) -> Result<Cursor, sqlx::Error> {
    let id = MessageId::from_uuid(row.get("message_id")?);
    Ok(Cursor { created_at: row.time("created_at")?, id })
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
