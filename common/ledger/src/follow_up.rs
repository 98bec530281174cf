//! The ledger's own upkeep: follow-up queries to providers, and the removal of old data.

use super::Ledger;
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Status};
use sql::{Row, args};

/// A message is kept this long; then only its count is.
const KEPT_MS: i64 = 30 * DAY_MS;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a receipt is kept whose send never became known.
const ORPHAN_KEPT_MS: i64 = 3 * DAY_MS;

/// An attempt whose provider is due for a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    pub attempt_id: AttemptId,
    pub message_id: MessageId,
    pub provider: String,
    pub provider_message_id: String,
    pub channel: Channel,
    /// `None`: no receipt reported its end. Otherwise the provider should forget its text and report its price.
    pub final_state: Option<Status>,
    /// The number of this query, of [`MOST_QUESTIONS`] since the last news.
    pub number: u32,
}

/// The most queries about an attempt without news.
pub const MOST_QUESTIONS: u32 = 5;

/// What a sweep dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub messages: u64,
    pub receipts: u64,
}

/// An upsert of rows that are there: it finds each by its key, however young the table is.
const CLAIM_POSTGRES: &str = "WITH due AS MATERIALIZED (
        SELECT attempt_id, message_id, provider, number, state, started_at FROM sms_attempts
        WHERE follow_up_at <= $1 ORDER BY follow_up_at LIMIT $3 FOR UPDATE SKIP LOCKED)
    INSERT INTO sms_attempts AS a (attempt_id, message_id, provider, number, state, started_at)
    SELECT attempt_id, message_id, provider, number, state, started_at FROM due
    ON CONFLICT (attempt_id) DO UPDATE SET follow_ups = a.follow_ups + 1,
        follow_up_at = CASE WHEN a.follow_ups >= 4 THEN NULL ELSE $1 + $2 * (1 << CAST(a.follow_ups AS integer)) END
    RETURNING a.attempt_id, a.message_id, a.provider, a.provider_message_id, a.final_state, a.follow_ups,
        (SELECT channel FROM sms_ledger l WHERE l.message_id = a.message_id) AS channel";
const CLAIM_SQLITE: &str = "UPDATE sms_attempts SET follow_ups = follow_ups + 1,
        follow_up_at = CASE WHEN follow_ups >= 4 THEN NULL ELSE $1 + $2 * (1 << follow_ups) END
    WHERE attempt_id IN (SELECT attempt_id FROM sms_attempts WHERE follow_up_at <= $1 ORDER BY follow_up_at LIMIT $3)
    RETURNING attempt_id, message_id, provider, provider_message_id, final_state, follow_ups,
        (SELECT channel FROM sms_ledger l WHERE l.message_id = sms_attempts.message_id) AS channel";
const TOTALS: &str = "INSERT INTO sms_totals (day, country, channel, provider, state, reason, messages, segments)
    SELECT created_at / 86400000, country, channel, COALESCE(provider, ''), state, COALESCE(reason, ''), count(*), COALESCE(sum(segments), 0)
        FROM sms_ledger WHERE created_at < $1 GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (day, country, channel, provider, state, reason) DO UPDATE SET
        messages = sms_totals.messages + excluded.messages, segments = sms_totals.segments + excluded.segments";
/// One statement, so that two concurrent sweeps count each message once: only the one that deletes it counts it.
const SWEEP_POSTGRES: &str = "WITH gone AS (
        DELETE FROM sms_ledger WHERE message_id IN (
            SELECT message_id FROM sms_ledger WHERE created_at < $1 ORDER BY created_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
        RETURNING created_at, country, channel, provider, state, reason, segments),
    counted AS (
        INSERT INTO sms_totals (day, country, channel, provider, state, reason, messages, segments)
        SELECT created_at / 86400000, country, channel, COALESCE(provider, ''), state, COALESCE(reason, ''), count(*), COALESCE(sum(segments), 0)::bigint
            FROM gone GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (day, country, channel, provider, state, reason) DO UPDATE SET
            messages = sms_totals.messages + excluded.messages, segments = sms_totals.segments + excluded.segments)
    SELECT count(*) AS gone FROM gone";

impl Ledger {
    /// Claims up to `most` attempts whose providers are due for a query, so that no other worker queries them too. Each
    /// comes again after a wait that doubles from `again_after_ms`, five times in all, until [`Ledger::followed_up`].
    pub async fn due_follow_ups(
        &self,
        now: Timestamp,
        again_after_ms: i64,
        most: u32,
    ) -> Result<Vec<FollowUp>, EngineError> {
        self.db
            .statement("claim follow-ups", async |work| {
                let sql = if work.is_postgres() { CLAIM_POSTGRES } else { CLAIM_SQLITE };
                let rows = work.rows(sql, args![now, again_after_ms, most]).await?;
                let due = rows.iter().map(follow_up).filter_map(Result::transpose);
                due.collect()
            })
            .await
    }

    /// Stops the queries about an attempt until `again_at`, if its end is still the one in `follow_up`.
    pub async fn followed_up(
        &self,
        follow_up: &FollowUp,
        price: Option<&str>,
        again_at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let sql = "UPDATE sms_attempts SET price = COALESCE($3, price),
                 follow_up_at = CASE WHEN COALESCE(final_state, '') = $2 THEN $4 ELSE follow_up_at END
             WHERE attempt_id = $1";
        let was = follow_up.final_state.map_or("", Status::as_str);
        let args = args![follow_up.attempt_id.uuid(), was, price, again_at];
        self.db.run("end a follow-up", sql, args).await.map(drop)
    }

    /// Counts messages older than 30 days into totals and drops them, and drops receipts that were not claimed within 3
    /// days. Up to 5000 messages a call on PostgreSQL: call again while it drops as many.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, EngineError> {
        self.db
            .transaction("sweep the ledger", async |work| {
                let before = now.plus_ms(-KEPT_MS);
                let messages = if work.is_postgres() {
                    let row = work.one(SWEEP_POSTGRES, args![before]).await?;
                    u64::try_from(row.get::<i64>("gone")?).unwrap_or_default()
                } else {
                    work.run(TOTALS, args![before]).await?;
                    let sql = "DELETE FROM sms_ledger WHERE created_at < $1";
                    work.run(sql, args![before]).await?
                };
                let orphans = "DELETE FROM sms_receipts WHERE received_at < $1";
                let receipts = work.run(orphans, args![now.plus_ms(-ORPHAN_KEPT_MS)]).await?;
                Ok(Swept { messages, receipts })
            })
            .await
    }
}

/// `None` without the provider's id: there is nothing to query.
fn follow_up(row: &Row) -> Result<Option<FollowUp>, sqlx::Error> {
    let Some(provider_message_id) = row.get("provider_message_id")? else { return Ok(None) };
    Ok(Some(FollowUp {
        attempt_id: AttemptId::from_uuid(row.get("attempt_id")?),
        message_id: MessageId::from_uuid(row.get("message_id")?),
        provider: row.get("provider")?,
        provider_message_id,
        channel: row.word("channel")?,
        final_state: row.maybe_word("final_state")?,
        number: u32::try_from(row.get::<i64>("follow_ups")?).unwrap_or(u32::MAX),
    }))
}
