//! The outbox of the former version: an event a row, written by its gateways while this version is rolled out. Their
//! publishers and ours share it by its own rules, for one release.
//!
//! A row is claimed with a lease, published, and marked. If its gateway dies in between, another claims it once the
//! lease is over: delivery is at least once.

use super::Outbox;
use super::outbox_entries::OutboxEvent;
use domain::engine_error::EngineError;
use domain::event::{Event as _, UserDeleted};
use domain::ids::EventId;
use domain::timestamp::Timestamp;
use sql::{Row, args};

/// The lease of a claim. Far above the time that a batch takes to publish, far below the 60 s of P1.
const LEASE_MS: i64 = 30_000;

impl Outbox {
    /// Claims up to `limit` waiting events, oldest first, for 30 s. No other gateway gets them meanwhile.
    pub async fn former_take(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<OutboxEvent>, EngineError> {
        self.pool
            .statement("claim events", async |work| {
                let sql = locking!(
                    work,
                    "UPDATE outbox SET claimed_until = $2 WHERE id IN (
                     SELECT id FROM outbox WHERE published_at IS NULL AND claimed_until <= $1
                     ORDER BY id LIMIT $3",
                    " FOR UPDATE SKIP LOCKED",
                    ") RETURNING id, kind, addressed, body"
                );
                let rows = work.rows(sql, args![now, now.plus_ms(LEASE_MS), limit]).await?;
                let mut events = rows.iter().map(outbox_event).collect::<Result<Vec<_>, _>>()?;
                events.sort_by_key(|event| event.id);
                Ok(events)
            })
            .await
    }

    /// Marks events that the broker confirmed. Their bodies are forgotten.
    pub async fn former_done(&self, ids: &[EventId], now: Timestamp) -> Result<(), EngineError> {
        let kinds = self.outbox_mark(ids, Some(now), "mark events as published").await?;
        if kinds.iter().any(|kind| kind == UserDeleted::TYPE) {
            // Until now the event held the id of the account; its page must not keep it.
            self.pool.forget_log().await;
        }
        Ok(())
    }

    /// Releases events that could not be published: any gateway may claim them at once.
    pub async fn former_release(&self, ids: &[EventId]) -> Result<(), EngineError> {
        self.outbox_mark(ids, None, "release claimed events").await.map(drop)
    }

    /// The kinds of the events that were marked.
    async fn outbox_mark(
        &self,
        ids: &[EventId],
        published_at: Option<Timestamp>,
        act: &'static str,
    ) -> Result<Vec<String>, EngineError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.pool
            .statement(act, async |work| {
                let ids = serde_json::to_string(ids).map_err(|e| sqlx::Error::Encode(e.into()))?;
                // A published event is identified by kind and time; its body, or the user it was for, would keep a
                // deleted account's id for a day.
                let sql = if work.is_postgres() {
                    "UPDATE outbox SET published_at = $2, claimed_until = 0,
                     body = CASE WHEN $2::bigint IS NULL THEN body ELSE '' END,
                     user_id = CASE WHEN $2::bigint IS NULL THEN user_id END
                 WHERE published_at IS NULL
                 AND id IN (SELECT value::uuid FROM json_array_elements_text($1::json))
                 RETURNING kind"
                } else {
                    "UPDATE outbox SET published_at = $2, claimed_until = 0,
                     body = CASE WHEN $2 IS NULL THEN body ELSE '' END,
                     user_id = CASE WHEN $2 IS NULL THEN user_id END
                 WHERE published_at IS NULL
                 AND id IN (SELECT unhex(value, '-') FROM json_each($1))
                 RETURNING kind"
                };
                let rows = work.rows(sql, args![&ids, published_at]).await?;
                rows.iter().map(|row| row.get::<String>("kind")).collect::<Result<Vec<_>, _>>()
            })
            .await
    }
}

fn outbox_event(row: &Row) -> Result<OutboxEvent, sqlx::Error> {
    Ok(OutboxEvent {
        id: EventId::from_uuid(row.get("id")?),
        kind: row.get("kind")?,
        addressed: row.get("addressed")?,
        body: row.get::<String>("body")?,
    })
}
