//! Events decided in a transaction, on their way to the broker.
//!
//! A row is claimed with a lease, published, and marked. If its gateway dies in between, another claims it once the
//! lease is over: delivery is at least once, in the order of creation unless something fails.

use serde::Serialize;
use uuid::Uuid;

use super::Outbox;
use domain::engine_error::EngineError;
use domain::event::{Envelope, Event, UserDeleted};
use domain::ids::{EventId, UserId};
use domain::rng;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// The lease of a claim. Far above the time that a batch takes to publish, far below the 60 s of P1.
const LEASE_MS: i64 = 30_000;

/// An encoded event, ready to be written with the change that it reports.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub id: EventId,
    pub kind: &'static str,
    pub addressed: bool,
    pub body: String,
}

impl Prepared {
    /// # Errors
    /// If the event is larger than an event may be.
    pub fn new<E: Event>(envelope: &Envelope<E>) -> anyhow::Result<Self> {
        let body = String::from_utf8(envelope.encode()?)?;
        Ok(Self { id: envelope.id, kind: E::TYPE, addressed: E::ADDRESSED, body })
    }

    /// The gateway's own event about something that happened now.
    pub(super) fn of<E: Event + Serialize>(
        now: Timestamp,
        traceparent: Option<&str>,
        data: E,
    ) -> Result<Self, sqlx::Error> {
        let traceparent = traceparent.map(str::to_owned);
        Self::new(&Envelope::with_id(event_id(now), now, "gateway", traceparent, data))
            .map_err(|cause| sqlx::Error::Encode(cause.into()))
    }

    pub(super) async fn write(&self, work: &mut Work, now: Timestamp) -> Result<(), sqlx::Error> {
        self.write_of(work, None, now).await
    }

    /// Writes a message to a user, which [`take_back_texts`] can remove until it is published.
    pub(super) async fn write_for(
        &self,
        work: &mut Work,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        self.write_of(work, Some(user), now).await
    }

    async fn write_of(
        &self,
        work: &mut Work,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO outbox (id, kind, addressed, body, created_at, user_id)
             VALUES ($1, $2, $3, $4, $5, $6)";
        work.run(sql, args![self.id, self.kind, self.addressed, &self.body, now, user])
            .await
            .map(drop)
    }
}

/// An encoded event that lacks ids which only the database knows: its text, cut where they stand. So the event is sent
/// byte for byte as it was encoded.
#[derive(Serialize)]
pub(super) struct CutEvent {
    id: EventId,
    pub kind: &'static str,
    addressed: bool,
    pieces: Vec<String>,
}

impl CutEvent {
    pub(super) fn at(places: &[String], event: Prepared) -> Self {
        let Prepared { id, kind, addressed, body } = event;
        let pieces = places.iter().fold(vec![body.as_str()], |pieces, place| {
            pieces.into_iter().flat_map(|piece| piece.split(place.as_str())).collect()
        });
        Self { id, kind, addressed, pieces: pieces.into_iter().map(str::to_owned).collect() }
    }

    /// The event, with this account's id.
    pub(super) fn of(&self, user: UserId) -> Prepared {
        self.with(&user.to_string())
    }

    /// The event, with this text where it was cut.
    pub(super) fn with(&self, text: &str) -> Prepared {
        let body = self.pieces.join(text);
        Prepared { id: self.id, kind: self.kind, addressed: self.addressed, body }
    }
}

/// Removes the messages to a user that the broker has not taken yet: sent later, they would put the user's number back
/// into the ledger of deliveries.
pub(super) async fn take_back_texts(work: &mut Work, user: UserId) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM outbox WHERE user_id = $1 AND kind LIKE $2 AND published_at IS NULL";
    // Of any version: a gateway of the version before may have written it.
    work.run(sql, args![user, "sms.requested.%"]).await.map(drop)
}

/// The id of an event or of a block: a UUIDv7 of the caller's time.
pub(super) fn new_id(now: Timestamp) -> Uuid {
    rng::id_v7(now.ms())
}

fn event_id(now: Timestamp) -> EventId {
    EventId::from_uuid(new_id(now))
}

/// A claimed event.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    pub id: EventId,
    /// Its type, which is its routing key.
    pub kind: String,
    /// Whether one of our own queues must take it.
    pub addressed: bool,
    pub body: Vec<u8>,
    pub created_at: Timestamp,
}

impl Outbox {
    /// Claims up to `limit` waiting events, oldest first, for 30 s. No other gateway gets them meanwhile.
    pub async fn take(&self, limit: u32, now: Timestamp) -> Result<Vec<OutboxEvent>, EngineError> {
        self.pool
            .statement("claim events", async |work| {
                let sql = locking!(
                    work,
                    "UPDATE outbox SET claimed_until = $2 WHERE id IN (
                     SELECT id FROM outbox WHERE published_at IS NULL AND claimed_until <= $1
                     ORDER BY id LIMIT $3",
                    " FOR UPDATE SKIP LOCKED",
                    ") RETURNING id, kind, addressed, body, created_at"
                );
                let rows = work.rows(sql, args![now, now.plus_ms(LEASE_MS), limit]).await?;
                let mut events = rows.iter().map(outbox_event).collect::<Result<Vec<_>, _>>()?;
                events.sort_by_key(|event| event.id);
                Ok(events)
            })
            .await
    }

    /// Marks events that the broker confirmed. Their bodies are forgotten.
    pub async fn done(&self, ids: &[EventId], now: Timestamp) -> Result<(), EngineError> {
        let kinds = self.outbox_mark(ids, Some(now), "mark events as published").await?;
        if kinds.iter().any(|kind| kind == UserDeleted::TYPE) {
            // Until now the event held the id of the account; its page must not keep it.
            self.pool.forget_log().await;
        }
        Ok(())
    }

    /// Releases events that could not be published: any gateway may claim them at once.
    pub async fn release(&self, ids: &[EventId]) -> Result<(), EngineError> {
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
        body: row.get::<String>("body")?.into_bytes(),
        created_at: row.time("created_at")?,
    })
}
