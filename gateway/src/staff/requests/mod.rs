//! Every text and call, from the ledger.

pub(crate) mod export;
pub(crate) mod meaning;
pub(crate) mod one;
mod search;

use domain::ids::{MessageId, RequestId, UserId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use ledger::{Cursor, Message, MessageFilter};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

use self::search::Wanted;
pub(crate) use self::search::prefix;

/// The statuses that a message in the ledger has.
pub(crate) const STATUSES: [Status; 5] =
    [Status::Sending, Status::Sent, Status::Delivered, Status::Undelivered, Status::Failed];

/// A text or a call, as a list shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageRow, examples(json!({
    "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "is_notice": false,
    "created_at": "2026-11-30T10:15:00.000Z",
    "phone_number": "+1415***71",
    "country": "US",
    "channel": "sms",
    "provider": "twilio",
    "status": "delivered",
    "reason": null,
})))]
pub(crate) struct MessageRow {
    /// Of its request; a notice, which nobody requested, has one of its own.
    pub id: Uuid,
    /// Whether it tells an account's owner of a change, and holds no code.
    pub is_notice: bool,
    #[schema(value_type = words::Time)]
    pub created_at: Timestamp,
    /// Masked; null: the account was deleted.
    #[schema(required = true)]
    pub phone_number: Option<String>,
    /// ISO 3166.
    pub country: String,
    #[schema(value_type = words::Channel)]
    pub channel: Channel,
    /// The one that was called last; null: none yet.
    #[schema(required = true)]
    pub provider: Option<String>,
    #[schema(value_type = words::Status)]
    pub status: Status,
    #[schema(value_type = Option<words::Reason>, required = true)]
    pub reason: Option<Reason>,
}

impl MessageRow {
    pub fn of(message: &Message) -> Self {
        Self {
            id: message.request_id.map_or(message.id.uuid(), RequestId::uuid),
            is_notice: message.request_id.is_none(),
            created_at: message.created_at,
            phone_number: message.phone_number.as_ref().map(E164::to_string),
            country: message.country.clone(),
            channel: message.channel,
            provider: message.provider.clone(),
            status: message.status,
            reason: message.reason,
        }
    }
}

/// A page of texts and calls, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageList, examples(json!({
    "items": [{
        "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
        "is_notice": false,
        "created_at": "2026-11-30T10:15:00.000Z",
        "phone_number": "+1415***71",
        "country": "US",
        "channel": "sms",
        "provider": "twilio",
        "status": "delivered",
        "reason": null,
    }],
    "next": "1796033700000.019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "looked_until": null,
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct MessageList {
    pub items: Vec<MessageRow>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    pub next: Option<String>,
    /// Until when was looked, if the page is not full and there may be more: what is searched for is rare, and `next` looks
    /// further back.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub looked_until: Option<Timestamp>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// Which texts and calls a list shows; `None` shows all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Filter<'a> {
    pub status: Option<Status>,
    pub reason: Option<Reason>,
    pub provider: Option<&'a str>,
    /// ISO 3166.
    pub country: Option<&'a str>,
    pub channel: Option<Channel>,
    pub since: Option<Timestamp>,
    /// Those to the number of this account: an address holds an id, and no number.
    pub user: Option<UserId>,
    /// The digits with which numbers begin: see [`prefix`].
    pub prefix: Option<&'a str>,
    /// Only those that were sent, whose code's life is over, and with whose code nobody signed in: no session of the
    /// number's account began between the request and the end. A code that changed a number counts as unused, and so does
    /// one of an account that was deleted.
    pub is_unverified: bool,
}

/// Reads a page of texts and calls: `rows` of them, after the cursor.
///
/// # Errors
/// 404 if the filter names an account that does not exist.
pub(crate) async fn list(
    app: &App,
    filter: Filter<'_>,
    before: Option<Cursor>,
    rows: u32,
) -> Result<MessageList, ApiError> {
    let now = app.engines.clock.now();
    let number = match filter.user {
        Some(id) => Some(app.accounts.get(id).await?.ok_or(ApiError::NotFound)?.phone_number),
        None => None,
    };
    let messages = MessageFilter {
        status: filter.status,
        reason: filter.reason,
        provider: filter.provider,
        country: filter.country,
        channel: filter.channel,
        since: filter.since,
        phone_number: number.as_ref(),
        prefix: filter.prefix,
        over_before: filter.is_unverified.then_some(now),
    };
    let wanted = Wanted { messages, is_unverified: filter.is_unverified };
    let found = search::read(app, wanted, before, rows, now).await?;
    Ok(MessageList {
        items: found.messages.iter().map(MessageRow::of).collect(),
        next: found.next.map(written),
        looked_until: found.looked_until,
        as_of: now,
    })
}

fn written(cursor: Cursor) -> String {
    format!("{}.{}", cursor.created_at.ms(), cursor.id)
}

/// Reads a cursor that a page gave as its `next`.
pub(crate) fn cursor(text: &str) -> Option<Cursor> {
    let (at, id) = text.split_once('.')?;
    let id: MessageId = id.parse().ok()?;
    Some(Cursor { created_at: Timestamp::from_ms(at.parse().ok()?), id })
}
