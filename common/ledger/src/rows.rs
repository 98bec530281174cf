//! Rows of messages and of their history, shared by all operations of the ledger.

use uuid::Uuid;

use super::{MessageState, NewMessage, Transition, rank};
use domain::ids::{MessageId, RequestId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::{Row, Work, args};

const INSERT: &str = "INSERT INTO sms_ledger (message_id, request_id, phone_number, country, channel, state, rank, reason, created_at, updated_at, not_after) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10) ON CONFLICT (message_id) DO NOTHING";
const INSERT_HISTORY: &str = "INSERT INTO sms_history (message_id, rank, state, reason, at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (message_id, rank) DO NOTHING";
/// Advances a message's state; a state of the same or a higher rank stays.
const RAISE: &str = "UPDATE sms_ledger SET
        state = CASE WHEN rank < $2 THEN $3 ELSE state END,
        reason = CASE WHEN rank < $2 THEN $4 ELSE reason END,
        provider = CASE WHEN rank < $2 THEN COALESCE($5, provider) ELSE COALESCE(provider, $5) END,
        provider_message_id = CASE WHEN rank < $2 THEN COALESCE($6, provider_message_id) ELSE COALESCE(provider_message_id, $6) END,
        segments = COALESCE(segments, $7),
        updated_at = CASE WHEN rank < $2 THEN $8 ELSE updated_at END,
        rank = CASE WHEN rank < $2 THEN $2 ELSE rank END
    WHERE message_id = $1
    RETURNING message_id, request_id, country, channel, state, rank, reason, provider, provider_message_id, segments";
pub(super) const MESSAGE_STATE: &str = "SELECT message_id, request_id, country, channel, state, rank, reason, provider, provider_message_id, segments
    FROM sms_ledger WHERE message_id = $1";

/// Inserts a new message; `false` if it already exists.
pub(super) async fn insert(
    work: &mut Work,
    message: &NewMessage<'_>,
    status: Status,
    reason: Option<Reason>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let id = message.message_id.uuid();
    let reason = reason.map(Reason::as_str);
    let new = work
        .run(
            INSERT,
            args![
                id,
                message.request_id.map(RequestId::uuid),
                message.kept_number(),
                message.country,
                message.channel.as_str(),
                status.as_str(),
                rank(status),
                reason,
                now,
                message.not_after,
            ],
        )
        .await?
        == 1;
    if new {
        history(work, id, status, reason, now).await?;
    }
    Ok(new)
}

pub(super) async fn history(
    work: &mut Work,
    message: Uuid,
    status: Status,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let row = args![message, rank(status), status.as_str(), reason, now];
    Ok(work.run(INSERT_HISTORY, row).await? == 1)
}

/// The provider and its data for a change of a message's state.
#[derive(Clone, Copy)]
pub(super) struct RaisedBy<'a> {
    pub(super) provider: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) segments: Option<u32>,
}

pub(super) async fn advance(
    work: &mut Work,
    message: Uuid,
    to: Option<(Status, Option<Reason>)>,
    by: RaisedBy<'_>,
    now: Timestamp,
) -> Result<Option<Transition>, sqlx::Error> {
    let (status, reason) = to.unwrap_or((Status::Accepted, None));
    let reason = reason.map(Reason::as_str);
    let new_rank = to.map_or(0, |(status, _)| rank(status));
    let row = work
        .optional(
            RAISE,
            args![message, new_rank, status.as_str(), reason, by.provider, by.id, by.segments, now],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    // A rank is reached only once: the insert into the history shows whether it was now.
    let raised = row.get::<i64>("rank")? == new_rank;
    let changed = raised && history(work, message, status, reason, now).await?;
    Ok(Some(Transition { changed, message_state: message_state(&row)? }))
}

pub(super) fn message_state(row: &Row) -> Result<MessageState, sqlx::Error> {
    Ok(MessageState {
        message_id: MessageId::from_uuid(row.get("message_id")?),
        request_id: row.get::<Option<Uuid>>("request_id")?.map(RequestId::from_uuid),
        country: row.get("country")?,
        channel: row.word("channel")?,
        status: row.word("state")?,
        reason: row.maybe_word("reason")?,
        provider: row.get("provider")?,
        provider_message_id: row.get("provider_message_id")?,
        segments: row.get::<Option<i64>>("segments")?.and_then(|n| u32::try_from(n).ok()),
    })
}
