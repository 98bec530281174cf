//! Receipts: later reports from a provider about an attempt.

use super::rows::{RaisedBy, advance};
use super::{Ledger, SENT, Transition, rank};
use domain::engine_error::EngineError;
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use sql::{Work, args};

/// A provider's report on an attempt, in our words. Any report proves that the attempt was accepted.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub attempt_id: AttemptId,
    /// [`Status::Sent`] for everything in transit, or an end.
    pub status: Status,
    pub reason: Option<Reason>,
    pub provider_message_id: Option<String>,
    pub provider_code: Option<String>,
    /// Amount and currency, if the report includes them.
    pub price: Option<String>,
    /// When to query the provider again, if this report is news.
    pub follow_up_at: Option<Timestamp>,
}

/// The result of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Its attempt is known. `current`: the message has the state of this receipt, by this one or by an earlier
    /// duplicate. `taken_at`: when the provider took the attempt; if it did not say so before, now.
    Known { moved: Transition, current: bool, taken_at: Timestamp },
    /// Kept until its attempt is known.
    Kept,
}

const TAKE: &str = "UPDATE sms_attempts SET
        state = 'accepted',
        ended_at = COALESCE(ended_at, $2),
        provider_message_id = COALESCE(provider_message_id, $3),
        provider_code = COALESCE($4, provider_code),
        price = COALESCE($9, price),
        follow_up_at = CASE WHEN final_rank < $5 THEN $6 WHEN state <> 'accepted' THEN COALESCE(follow_up_at, $6) ELSE follow_up_at END,
        follow_ups = CASE WHEN final_rank < $5 THEN 0 ELSE follow_ups END,
        final_state = CASE WHEN final_rank < $5 THEN $7 ELSE final_state END,
        final_reason = CASE WHEN final_rank < $5 THEN $8 ELSE final_reason END,
        final_rank = CASE WHEN final_rank < $5 THEN $5 ELSE final_rank END
    WHERE attempt_id = $1
    RETURNING message_id, provider, ended_at";
const KEEP: &str = "INSERT INTO sms_receipts (attempt_id, status, reason, provider_message_id, provider_code, received_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (attempt_id, status) DO NOTHING";
const TAKE_KEPT: &str = "DELETE FROM sms_receipts WHERE attempt_id = $1
    RETURNING status, reason, provider_message_id, provider_code";

impl Ledger {
    /// Applies a receipt by rank. Safe if it is duplicated, late, or earlier than other receipts or the send's
    /// response.
    pub async fn apply_receipt(
        &self,
        receipt: &Receipt,
        now: Timestamp,
    ) -> Result<Applied, EngineError> {
        self.db
            .transaction("apply a receipt", async |work| {
                if let Some(known) = apply(work, receipt, now).await? {
                    return Ok(known);
                }
                let args = args![
                    receipt.attempt_id.uuid(),
                    receipt.status.as_str(),
                    receipt.reason.map(Reason::as_str),
                    receipt.provider_message_id.as_deref(),
                    receipt.provider_code.as_deref(),
                    now,
                ];
                work.run(KEEP, args).await?;
                Ok(Applied::Kept)
            })
            .await
    }

    /// Applies the kept receipts of an attempt that is now known.
    pub(super) async fn apply_kept(
        &self,
        attempt_id: AttemptId,
        now: Timestamp,
    ) -> Result<Option<Transition>, EngineError> {
        self.db
            .transaction("apply kept receipts", async |work| {
                let rows = work.rows(TAKE_KEPT, args![attempt_id.uuid()]).await?;
                let mut last: Option<Transition> = None;
                for row in rows {
                    let receipt = Receipt {
                        attempt_id,
                        status: row.word("status")?,
                        reason: row.maybe_word("reason")?,
                        provider_message_id: row.get("provider_message_id")?,
                        provider_code: row.get("provider_code")?,
                        price: None,
                        follow_up_at: None,
                    };
                    if let Some(Applied::Known { moved, .. }) = apply(work, &receipt, now).await? {
                        let changed = moved.changed || last.is_some_and(|last| last.changed);
                        last = Some(Transition { changed, ..moved });
                    }
                }
                Ok(last)
            })
            .await
    }
}

async fn apply(
    work: &mut Work,
    receipt: &Receipt,
    now: Timestamp,
) -> Result<Option<Applied>, sqlx::Error> {
    let is_end = rank(receipt.status) > SENT;
    let attempt = work
        .optional(
            TAKE,
            args![
                receipt.attempt_id.uuid(),
                now,
                receipt.provider_message_id.as_deref(),
                receipt.provider_code.as_deref(),
                if is_end { rank(receipt.status) } else { 0 },
                receipt.follow_up_at,
                receipt.status.as_str(),
                receipt.reason.map(Reason::as_str),
                receipt.price.as_deref(),
            ],
        )
        .await?;
    let Some(attempt) = attempt else { return Ok(None) };
    let (message, provider): (uuid::Uuid, String) =
        (attempt.get("message_id")?, attempt.get("provider")?);
    let taken_at = attempt.time("ended_at")?;
    let id = receipt.provider_message_id.as_deref();
    let by = RaisedBy { provider: &provider, id, segments: None };
    // Comes first, to lock the message: two receipts of two attempts must not both miss the other's.
    let sent = advance(work, message, Some((Status::Sent, None)), by, now).await?;
    let Some(sent) = sent else { return Ok(None) };
    if !is_end {
        let current = sent.message_state.status == receipt.status;
        return Ok(Some(Applied::Known { moved: sent, current, taken_at }));
    }
    let Some(end) = end_of(work, message).await? else {
        return Ok(Some(Applied::Known { moved: sent, current: false, taken_at }));
    };
    let Some(ended) = advance(work, message, Some(end), by, now).await? else { return Ok(None) };
    let moved = Transition { changed: sent.changed || ended.changed, ..ended };
    let current = moved.message_state.status == receipt.status;
    Ok(Some(Applied::Known { moved, current, taken_at }))
}

/// What the ends of its attempts mean for a message. A failed attempt decides nothing while another may still arrive.
async fn end_of(
    work: &mut Work,
    message: uuid::Uuid,
) -> Result<Option<(Status, Option<Reason>)>, sqlx::Error> {
    let sql = "SELECT state, final_state, final_reason FROM sms_attempts
                WHERE message_id = $1 AND state IN ('begun', 'accepted') ORDER BY final_rank DESC, number";
    let attempts = work.rows(sql, args![message]).await?;
    let mut open = false;
    let mut best = None;
    for attempt in attempts {
        let Some(status) = attempt.maybe_word("final_state")? else {
            open = true;
            continue;
        };
        if best.is_none() {
            best = Some((status, attempt.maybe_word("final_reason")?));
        }
    }
    Ok(best.filter(|(status, _)| *status == Status::Delivered || !open))
}
