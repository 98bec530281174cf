//! How a call to a provider ended, written down.

use super::super::sql::args;
use super::rows::{By, STANDING, history, insert, raise, standing};
use super::{Ledger, Moved, NewMessage, rank};
use crate::engine_error::EngineError;
use crate::ids::AttemptId;
use crate::timestamp::Timestamp;
use crate::vocabulary::{Reason, Status};

/// How a call to a provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    Begun,
    Accepted,
    Throttled,
    Unavailable,
    Rejected,
    Filtered,
    /// May have been accepted.
    Unknown,
}

impl AttemptState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Accepted => "accepted",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::Filtered => "filtered",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [
            Self::Begun,
            Self::Accepted,
            Self::Throttled,
            Self::Unavailable,
            Self::Rejected,
            Self::Filtered,
            Self::Unknown,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

/// The end of an attempt, and what it means for its message.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    pub state: AttemptState,
    pub provider_message_id: Option<&'a str>,
    pub provider_code: Option<&'a str>,
    pub segments: Option<u32>,
    /// The message's new state, when this call decides it.
    pub status: Option<(Status, Option<Reason>)>,
    /// When the provider is to be asked how it ended, should no receipt have told.
    pub follow_up_at: Option<Timestamp>,
}

/// A receipt may have come first: then the attempt stays accepted.
const FINISH_ATTEMPT: &str = "UPDATE sms_attempts SET
        state = CASE WHEN state = 'accepted' THEN state ELSE $2 END,
        ended_at = COALESCE(ended_at, $3),
        provider_message_id = COALESCE($4, provider_message_id),
        provider_code = COALESCE($5, provider_code),
        follow_up_at = COALESCE(follow_up_at, $6)
    WHERE attempt_id = $1 AND state IN ('begun', 'unknown', 'accepted')
    RETURNING message_id, provider";
/// The three statements of an attempt's end in one round trip.
const FINISH_POSTGRES: &str = "WITH attempt AS (
        UPDATE sms_attempts SET
            state = CASE WHEN state = 'accepted' THEN state ELSE $2 END,
            ended_at = COALESCE(ended_at, $3),
            provider_message_id = COALESCE($4, provider_message_id),
            provider_code = COALESCE($5, provider_code),
            follow_up_at = COALESCE(follow_up_at, $6)
        WHERE attempt_id = $1 AND state IN ('begun', 'unknown', 'accepted')
        RETURNING message_id, provider),
    message AS (
        UPDATE sms_ledger l SET
            state = CASE WHEN l.rank < $7 THEN $8 ELSE l.state END,
            reason = CASE WHEN l.rank < $7 THEN $9 ELSE l.reason END,
            provider = CASE WHEN l.rank < $7 THEN attempt.provider ELSE COALESCE(l.provider, attempt.provider) END,
            provider_message_id = CASE WHEN l.rank < $7 THEN COALESCE($4, l.provider_message_id) ELSE COALESCE(l.provider_message_id, $4) END,
            segments = COALESCE(l.segments, $10),
            updated_at = CASE WHEN l.rank < $7 THEN $3 ELSE l.updated_at END,
            rank = CASE WHEN l.rank < $7 THEN $7 ELSE l.rank END
        FROM attempt WHERE l.message_id = attempt.message_id
        RETURNING l.message_id, request_id, country, channel, l.state, rank, reason, l.provider, l.provider_message_id, segments),
    history AS (
        INSERT INTO sms_history (message_id, rank, state, reason, at)
        SELECT message_id, rank, state, reason, $3 FROM message ON CONFLICT (message_id, rank) DO NOTHING RETURNING message_id)
    SELECT message.*, EXISTS (SELECT 1 FROM history) AS changed,
        EXISTS (SELECT 1 FROM sms_receipts WHERE attempt_id = $1) AS kept
    FROM message";
/// An end that only a message without an accepted call comes to.
const END: &str = "UPDATE sms_ledger SET state = $3, rank = $2, reason = $4, updated_at = $5
    WHERE message_id = $1 AND rank < 30";

impl Ledger {
    /// Writes down how a call ended. Safe to repeat, and safe when a receipt told the end before.
    ///
    /// `None` when the ledger has no such attempt any more.
    pub async fn finish(
        &self,
        attempt_id: AttemptId,
        finish: &Finish<'_>,
        now: Timestamp,
    ) -> Result<Option<Moved>, EngineError> {
        let (moved, kept) = self
            .db
            .within("finish an attempt", async {
                if self.db.is_postgres() {
                    self.finish_postgres(attempt_id, finish, now).await
                } else {
                    self.finish_sqlite(attempt_id, finish, now).await
                }
            })
            .await?;
        if kept {
            let after = self.apply_kept(attempt_id, now).await?;
            if let (Some(before), Some(after)) = (&moved, after) {
                let changed = before.changed || after.changed;
                return Ok(Some(Moved { changed, ..after }));
            }
        }
        Ok(moved)
    }

    async fn finish_postgres(
        &self,
        attempt_id: AttemptId,
        finish: &Finish<'_>,
        now: Timestamp,
    ) -> Result<(Option<Moved>, bool), sqlx::Error> {
        let (status, reason) = finish.status.unwrap_or((Status::Accepted, None));
        // A rank that raises nothing, when the call decides nothing.
        let to = finish.status.map_or(0, |(status, _)| rank(status));
        let mut work = self.db.statement().await?;
        let row = work
            .optional(
                FINISH_POSTGRES,
                args![
                    attempt_id.uuid(),
                    finish.state.as_str(),
                    now,
                    finish.provider_message_id,
                    finish.provider_code,
                    finish.follow_up_at,
                    to,
                    status.as_str(),
                    reason.map(Reason::as_str),
                    finish.segments,
                ],
            )
            .await?;
        work.done().await?;
        let Some(row) = row else { return Ok((None, false)) };
        let moved = Moved { changed: row.get("changed")?, standing: standing(&row)? };
        Ok((Some(moved), row.get("kept")?))
    }

    async fn finish_sqlite(
        &self,
        attempt_id: AttemptId,
        finish: &Finish<'_>,
        now: Timestamp,
    ) -> Result<(Option<Moved>, bool), sqlx::Error> {
        let mut work = self.db.transaction().await?;
        let attempt = work
            .optional(
                FINISH_ATTEMPT,
                args![
                    attempt_id.uuid(),
                    finish.state.as_str(),
                    now,
                    finish.provider_message_id,
                    finish.provider_code,
                    finish.follow_up_at,
                ],
            )
            .await?;
        let Some(attempt) = attempt else {
            work.undo().await?;
            return Ok((None, false));
        };
        let provider: String = attempt.get("provider")?;
        let by =
            By { provider: &provider, id: finish.provider_message_id, segments: finish.segments };
        let moved = raise(&mut work, attempt.get("message_id")?, finish.status, by, now).await?;
        let kept = work
            .optional(
                "SELECT status FROM sms_receipts WHERE attempt_id = $1",
                args![attempt_id.uuid()],
            )
            .await?
            .is_some();
        work.done().await?;
        Ok((moved, kept))
    }

    /// Settles a doubt: an attempt whose end nobody wrote counts from now on as one that may have been accepted.
    pub async fn give_up_on(
        &self,
        attempt_id: AttemptId,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        self.db
            .within("give up on an attempt", async {
                let mut work = self.db.statement().await?;
                work.run(
                    "UPDATE sms_attempts SET state = 'unknown', ended_at = $2 WHERE attempt_id = $1 AND state = 'begun'",
                    args![attempt_id.uuid(), now],
                )
                .await?;
                work.done().await
            })
            .await
    }

    /// Ends a message that no provider accepted: dropped, or given up. One that was accepted stays as it is.
    pub async fn end(
        &self,
        message: &NewMessage<'_>,
        status: Status,
        reason: Option<Reason>,
        now: Timestamp,
    ) -> Result<Moved, EngineError> {
        self.db
            .within("end a message", async {
                let id = message.message_id.uuid();
                let mut work = self.db.transaction().await?;
                let first = insert(&mut work, message, status, reason, now).await?;
                let raised = first || {
                    let reason = reason.map(Reason::as_str);
                    let end = args![id, rank(status), status.as_str(), reason, now];
                    let raised = work.run(END, end).await? == 1;
                    if raised {
                        history(&mut work, id, status, reason, now).await?;
                    }
                    raised
                };
                let row = work.one(STANDING, args![id]).await?;
                work.done().await?;
                Ok(Moved { changed: raised, standing: standing(&row)? })
            })
            .await
    }
}
