//! Records how a call to a provider ended.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::rows::{MESSAGE_STATE, RaisedBy, advance, history, insert, message_state};
use super::{Ledger, NewMessage, Transition, rank};
use domain::engine_error::EngineError;
use domain::ids::AttemptId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::batch::{Act, column};
use sql::{Pool, Work, args};

string_enum! {
    /// How a call to a provider ended.
    pub enum AttemptState {
        Begun = "begun",
        Accepted = "accepted",
        Throttled = "throttled",
        Unavailable = "unavailable",
        Rejected = "rejected",
        Filtered = "filtered",
        /// May have been accepted.
        Unknown = "unknown",
    }
}

/// The end of an attempt, and what it means for its message.
#[derive(Clone, Debug)]
pub struct Finish {
    pub state: AttemptState,
    pub provider_message_id: Option<String>,
    pub provider_code: Option<String>,
    pub segments: Option<u32>,
    /// The message's new state, if this call decides it.
    pub status: Option<(Status, Option<Reason>)>,
    /// When to query the provider for the outcome, if no receipt has arrived.
    pub follow_up_at: Option<Timestamp>,
}

impl Finish {
    /// An end about which the provider said nothing, and which decides nothing for the message.
    pub const fn of(state: AttemptState) -> Self {
        Self {
            state,
            provider_message_id: None,
            provider_code: None,
            segments: None,
            status: None,
            follow_up_at: None,
        }
    }
}

/// If a receipt came first, the attempt stays accepted.
const FINISH_ATTEMPT: &str = "UPDATE sms_attempts SET
        state = CASE WHEN state = 'accepted' THEN state ELSE $2 END,
        ended_at = COALESCE(ended_at, $3),
        provider_message_id = COALESCE($4, provider_message_id),
        provider_code = COALESCE($5, provider_code),
        follow_up_at = COALESCE(follow_up_at, $6)
    WHERE attempt_id = $1 AND state IN ('begun', 'unknown', 'accepted')
    RETURNING message_id, provider";
/// Records the ends of attempts in one round trip and one commit. Rows are locked in the order of ids, attempts before
/// messages, as receipts do one by one, so there is no deadlock. Of two ends of one message one is applied, and the other
/// comes back without a message.
///
/// Each row is looked up by itself (`LATERAL`), and what is written is an upsert of rows that are there, so it finds each
/// by its key as well: an `UPDATE .. FROM`, or an `EXISTS`, may be planned as one read of a whole index, and is on tables
/// that were nearly empty when they were analysed.
const FINISH_POSTGRES: &str = "WITH job AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[])
            AS job (attempt_id, ended_as, at, sent_id, code, next_at, new_rank, status, reason, segments) ORDER BY attempt_id),
    known AS MATERIALIZED (
        SELECT job.*, a.message_id, a.provider, a.number, a.started_at FROM job CROSS JOIN LATERAL (
            SELECT message_id, provider, number, started_at FROM sms_attempts
            WHERE attempt_id = job.attempt_id AND state IN ('begun', 'unknown', 'accepted') FOR NO KEY UPDATE) a),
    attempt AS (
        INSERT INTO sms_attempts AS a (attempt_id, message_id, provider, number, started_at, state, ended_at,
            provider_message_id, provider_code, follow_up_at)
        SELECT attempt_id, message_id, provider, number, started_at, ended_as, at, sent_id, code, next_at FROM known
        ON CONFLICT (attempt_id) DO UPDATE SET
            state = CASE WHEN a.state = 'accepted' THEN a.state ELSE excluded.state END,
            ended_at = COALESCE(a.ended_at, excluded.ended_at),
            provider_message_id = COALESCE(excluded.provider_message_id, a.provider_message_id),
            provider_code = COALESCE(excluded.provider_code, a.provider_code),
            follow_up_at = COALESCE(a.follow_up_at, excluded.follow_up_at)),
    locked AS MATERIALIZED (
        SELECT one.*, l.request_id, l.country, l.channel, l.created_at, l.not_after FROM (
            SELECT DISTINCT ON (message_id) * FROM known ORDER BY message_id, attempt_id) one CROSS JOIN LATERAL (
            SELECT request_id, country, channel, created_at, not_after FROM sms_ledger
            WHERE message_id = one.message_id FOR NO KEY UPDATE) l),
    message AS (
        INSERT INTO sms_ledger AS l (message_id, request_id, country, channel, created_at, not_after,
            rank, state, reason, provider, provider_message_id, segments, updated_at)
        SELECT message_id, request_id, country, channel, created_at, not_after,
            new_rank, COALESCE(status, ''), reason, provider, sent_id, segments, at FROM locked
        ON CONFLICT (message_id) DO UPDATE SET
            state = CASE WHEN l.rank < excluded.rank THEN excluded.state ELSE l.state END,
            reason = CASE WHEN l.rank < excluded.rank THEN excluded.reason ELSE l.reason END,
            provider = CASE WHEN l.rank < excluded.rank THEN excluded.provider ELSE COALESCE(l.provider, excluded.provider) END,
            provider_message_id = CASE WHEN l.rank < excluded.rank
                THEN COALESCE(excluded.provider_message_id, l.provider_message_id)
                ELSE COALESCE(l.provider_message_id, excluded.provider_message_id) END,
            segments = COALESCE(l.segments, excluded.segments),
            updated_at = CASE WHEN l.rank < excluded.rank THEN excluded.updated_at ELSE l.updated_at END,
            rank = GREATEST(l.rank, excluded.rank)
        RETURNING l.message_id, l.request_id, l.country, l.channel, l.state, l.rank, l.reason, l.provider,
            l.provider_message_id, l.segments, l.updated_at),
    history AS (
        INSERT INTO sms_history (message_id, rank, state, reason, at)
        SELECT message_id, rank, state, reason, updated_at FROM message ON CONFLICT (message_id, rank) DO NOTHING RETURNING message_id)
    SELECT known.attempt_id AS attempt, message.*,
        COALESCE(message.message_id IN (SELECT message_id FROM history), false) AS changed,
        (SELECT true FROM sms_receipts r WHERE r.attempt_id = known.attempt_id LIMIT 1) IS NOT NULL AS kept
    FROM known LEFT JOIN (SELECT attempt_id, message.* FROM locked JOIN message USING (message_id)) message USING (attempt_id)";

/// The end of an attempt, to be written with others.
#[derive(Clone)]
pub(super) struct FinishAttempt {
    attempt_id: AttemptId,
    at: Timestamp,
    finish: Finish,
}

impl Act for FinishAttempt {
    type Key = Uuid;
    /// The message's state, and whether receipts are kept for the attempt.
    type Answer = (Option<Transition>, bool);
    const NAME: &'static str = "finish an attempt";
    /// The call was made: its end is worth recording even without a caller.
    const FOR_ITS_CALLER: bool = false;
    /// The text is on its way. Only `sent` at the client waits for this, and a worker that dies meanwhile leaves the same
    /// doubt as one that dies before its answer arrived (W1): so not longer.
    const LINGER: Duration = Duration::from_millis(10);
    const LINGERS_ALONE: bool = true;

    fn key(&self) -> Uuid {
        self.attempt_id.uuid()
    }

    async fn write(db: &Pool, acts: &[Self]) -> Result<Vec<Option<Self::Answer>>, EngineError> {
        db.statement("finish attempts", async |work| {
            let rows = work
                .rows(
                    FINISH_POSTGRES,
                    args![
                        &column(acts, |ended| Some(ended.attempt_id.uuid())),
                        &column(acts, |ended| Some(ended.finish.state.as_str())),
                        &column(acts, |ended| Some(ended.at.ms())),
                        &column(acts, |ended| ended.finish.provider_message_id.as_deref()),
                        &column(acts, |ended| ended.finish.provider_code.as_deref()),
                        &column(acts, |ended| ended.finish.follow_up_at.map(Timestamp::ms)),
                        // If the call decides nothing, a rank that advances nothing.
                        &column(acts, |ended| Some(
                            ended.finish.status.map_or(0, |(to, _)| rank(to))
                        )),
                        &column(acts, |ended| ended
                            .finish
                            .status
                            .map(|(status, _)| status.as_str())),
                        &column(acts, |ended| ended.finish.status?.1.map(Reason::as_str)),
                        &column(acts, |ended| ended.finish.segments.map(i64::from)),
                    ],
                )
                .await?;
            let mut told = HashMap::with_capacity(rows.len());
            for row in rows {
                let attempt: Uuid = row.get("attempt")?;
                let answer = if row.get::<Option<Uuid>>("message_id")?.is_some() {
                    let moved = Transition {
                        changed: row.get("changed")?,
                        message_state: message_state(&row)?,
                    };
                    Some((Some(moved), row.get("kept")?))
                } else if acts.len() > 1 {
                    None
                } else {
                    Some((None, false))
                };
                told.insert(attempt, answer);
            }
            let unknown = || Some((None, false));
            Ok(acts
                .iter()
                .map(|ended| told.remove(&ended.attempt_id.uuid()).unwrap_or_else(unknown))
                .collect())
        })
        .await
    }
}

/// An end that applies only to a message without an accepted call.
const END: &str = "UPDATE sms_ledger SET state = $3, rank = $2, reason = $4, updated_at = $5
    WHERE message_id = $1 AND rank < 30";

impl Ledger {
    /// Records how a call ended. Safe to repeat, and safe if a receipt reported the end before.
    ///
    /// `None` if the ledger no longer has this attempt.
    pub async fn finish(
        &self,
        attempt_id: AttemptId,
        finish: &Finish,
        now: Timestamp,
    ) -> Result<Option<Transition>, EngineError> {
        let (moved, kept) = if self.db.is_postgres() {
            let ended = FinishAttempt { attempt_id, at: now, finish: finish.clone() };
            self.finishes.write(ended).await?
        } else {
            self.db
                .transaction("finish an attempt", async |work| {
                    finish_sqlite(work, attempt_id, finish, now).await
                })
                .await?
        };
        if kept {
            let after = self.apply_kept(attempt_id, now).await?;
            if let (Some(before), Some(after)) = (&moved, after) {
                let changed = before.changed || after.changed;
                return Ok(Some(Transition { changed, ..after }));
            }
        }
        Ok(moved)
    }

    /// Counts an attempt without a recorded end as one that may have been accepted. By `ended_at` its call was over.
    pub async fn give_up_on(
        &self,
        attempt_id: AttemptId,
        ended_at: Timestamp,
    ) -> Result<(), EngineError> {
        let sql = "UPDATE sms_attempts SET state = 'unknown', ended_at = $2
             WHERE attempt_id = $1 AND state = 'begun'";
        let args = args![attempt_id.uuid(), ended_at];
        self.db.run("give up on an attempt", sql, args).await.map(drop)
    }

    /// Ends a message that no provider accepted: dropped, or given up. An accepted one stays as it is.
    pub async fn end(
        &self,
        message: &NewMessage<'_>,
        status: Status,
        reason: Option<Reason>,
        now: Timestamp,
    ) -> Result<Transition, EngineError> {
        self.db
            .transaction("end a message", async |work| {
                let id = message.message_id.uuid();
                let first = insert(work, message, status, reason, now).await?;
                let raised = first || {
                    let reason = reason.map(Reason::as_str);
                    let end = args![id, rank(status), status.as_str(), reason, now];
                    let raised = work.run(END, end).await? == 1;
                    if raised {
                        history(work, id, status, reason, now).await?;
                    }
                    raised
                };
                let row = work.one(MESSAGE_STATE, args![id]).await?;
                Ok(Transition { changed: raised, message_state: message_state(&row)? })
            })
            .await
    }
}

async fn finish_sqlite(
    work: &mut Work,
    attempt_id: AttemptId,
    finish: &Finish,
    now: Timestamp,
) -> Result<(Option<Transition>, bool), sqlx::Error> {
    let attempt = work
        .optional(
            FINISH_ATTEMPT,
            args![
                attempt_id.uuid(),
                finish.state.as_str(),
                now,
                finish.provider_message_id.as_deref(),
                finish.provider_code.as_deref(),
                finish.follow_up_at,
            ],
        )
        .await?;
    let Some(attempt) = attempt else {
        work.undo().await?;
        return Ok((None, false));
    };
    let provider: String = attempt.get("provider")?;
    let by = RaisedBy {
        provider: &provider,
        id: finish.provider_message_id.as_deref(),
        segments: finish.segments,
    };
    let moved = advance(work, attempt.get("message_id")?, finish.status, by, now).await?;
    let kept = work
        .optional("SELECT status FROM sms_receipts WHERE attempt_id = $1", args![attempt_id.uuid()])
        .await?
        .is_some();
    Ok((moved, kept))
}
