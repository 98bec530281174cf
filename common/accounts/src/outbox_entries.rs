//! The way of events to the broker: entries are read in order, published, and deleted once the broker has them.
//!
//! One process publishes at a time: it takes the *turn*, which ends by itself should the process die. So events go out in
//! the order of their acts, none is published twice unless something fails, and no transaction stays open while the
//! broker is waited for. Delivery is at least once: what was published and not deleted is published again.

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Outbox;
use super::outbox::{Stored, list, new_id};
use domain::engine_error::EngineError;
use domain::event::{Event as _, UserDeleted};
use domain::ids::EventId;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// How long a turn lasts without a sign of its holder: beyond the 6 s that a batch can take (2 s each to read, to publish
/// and to delete), with room for clocks that differ; far below the 60 s of P1.
const TURN_MS: i64 = 10_000;

/// A process that publishes.
#[derive(Clone, Copy, Debug)]
pub struct Publisher(Uuid);

impl Publisher {
    pub fn new(now: Timestamp) -> Self {
        Self(new_id(now))
    }
}

/// An event on its way to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    pub id: EventId,
    /// Its type, which is its routing key.
    pub kind: String,
    /// Whether one of our own queues must take it.
    pub addressed: bool,
    pub body: String,
}

/// The events of one act, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the order of entries.
    pub id: i64,
    /// `None` if they cannot be read: a later version wrote them, or they are damaged.
    pub events: Option<Vec<OutboxEvent>>,
}

/// How the publishing of a batch ended.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    /// The entries of which the broker has every event.
    pub done: &'a [i64],
    /// The events that the broker has not, of entries of which it has some.
    pub rest: &'a [(i64, Vec<OutboxEvent>)],
    /// Whether the publisher goes on with the next batch. Else its turn ends.
    pub more: bool,
}

/// An event in its entry, as it is read.
#[derive(Deserialize)]
struct StoredEvent {
    id: EventId,
    kind: String,
    addressed: bool,
    pieces: Vec<String>,
}

impl Outbox {
    /// The first `most` entries behind the entry `behind`, in order; 0 is before the first. None while it is another's
    /// turn. The turn is this publisher's until [`Outbox::settle`] ends it, for 10 s at most.
    pub async fn take(
        &self,
        publisher: Publisher,
        behind: i64,
        most: u32,
        now: Timestamp,
    ) -> Result<Vec<OutboxEntry>, EngineError> {
        self.pool
            .statement("read the outbox", async |work| {
                let rows = if work.is_postgres() {
                    let sql = "SELECT id, events, joined_by FROM latchkey_outbox_take_1($1, $2, $3, $4, $5)";
                    work.rows(sql, args![publisher.0, now, TURN_MS, behind, most]).await?
                } else {
                    take_sqlite(work, publisher, behind, most, now).await?
                };
                rows.iter().map(entry).collect()
            })
            .await
    }

    /// When the first entry was written that the broker does not have yet; `None` if none waits.
    pub async fn oldest(&self) -> Result<Option<Timestamp>, EngineError> {
        let sql = "SELECT created_at FROM outbox_entries ORDER BY id LIMIT 1";
        let act = "read the age of the outbox";
        self.pool.optional(act, sql, &[], |row| row.time("created_at")).await
    }

    /// Deletes what the broker has. Returns whether all of it is deleted: a deletion may just be taking one back.
    pub async fn settle(
        &self,
        publisher: Publisher,
        settled: Settled<'_>,
    ) -> Result<bool, EngineError> {
        let (kept, of_deleted) = self
            .pool
            .statement("delete published events", async |work| {
                let rest = rests(settled.rest)?;
                if work.is_postgres() {
                    let done: Vec<_> = settled.done.iter().copied().map(Some).collect();
                    let sql = "SELECT latchkey_outbox_settle_1($1, $2, $3::jsonb, $4) AS kept";
                    let args = args![publisher.0, &done, &rest, settled.more];
                    return Ok((work.one(sql, args).await?.get("kept")?, false));
                }
                let steps =
                    async |work: &mut Work| settle_sqlite(work, publisher, settled, &rest).await;
                Ok((0_i64, work.transaction(steps).await?))
            })
            .await?;
        if of_deleted {
            // Until now the event held the id of a deleted account; its page must not keep it.
            self.pool.forget_log().await;
        }
        Ok(kept == 0)
    }
}

/// The steps of `outbox_take.postgres.sql`.
async fn take_sqlite(
    work: &mut Work,
    publisher: Publisher,
    behind: i64,
    most: u32,
    now: Timestamp,
) -> Result<Vec<Row>, sqlx::Error> {
    let sql = "SELECT 1 AS waits FROM outbox_entries WHERE id > $1 ORDER BY id LIMIT 1";
    if work.optional(sql, args![behind]).await?.is_none() {
        let sql =
            "UPDATE outbox_turn SET held_until = 0 WHERE one AND holder = $1 AND held_until > 0";
        work.run(sql, args![publisher.0]).await?;
        return Ok(Vec::new());
    }
    let sql = "UPDATE outbox_turn SET holder = $1, held_until = $2 + $3
         WHERE one AND (holder = $1 OR held_until <= $2 OR held_until > $2 + 2 * $3)";
    if work.run(sql, args![publisher.0, now, TURN_MS]).await? == 0 {
        return Ok(Vec::new());
    }
    let sql = "SELECT id, events, joined_by FROM outbox_entries WHERE id > $1 ORDER BY id LIMIT $2";
    work.rows(sql, args![behind, most]).await
}

/// The steps of `outbox_settle.postgres.sql`. Returns whether the events held the id of a deleted account.
async fn settle_sqlite(
    work: &mut Work,
    publisher: Publisher,
    settled: Settled<'_>,
    rest: &str,
) -> Result<bool, sqlx::Error> {
    let done = serde_json::Value::from(settled.done).to_string();
    let sql = "DELETE FROM outbox_entries WHERE id IN (SELECT value FROM json_each($1))
         RETURNING events LIKE $2 AS of_deleted";
    let of_deleted = format!("%{}%", UserDeleted::TYPE);
    let rows = work.rows(sql, args![&done, &of_deleted]).await?;
    let sql = "UPDATE outbox_entries SET events = value ->> 'events' FROM json_each($1)
         WHERE outbox_entries.id = value ->> 'id'";
    work.run(sql, args![rest]).await?;
    if !settled.more {
        let sql = "UPDATE outbox_turn SET held_until = 0 WHERE one AND holder = $1";
        work.run(sql, args![publisher.0]).await?;
    }
    rows.iter().try_fold(false, |any, row| Ok(any | row.get::<bool>("of_deleted")?))
}

/// The entries of which some events are left, with these.
fn rests(rest: &[(i64, Vec<OutboxEvent>)]) -> Result<String, sqlx::Error> {
    let mut rests = Vec::with_capacity(rest.len());
    for (id, events) in rest {
        let events: Vec<_> = events.iter().map(OutboxEvent::stored).collect();
        rests.push(json!({ "id": id, "events": list(&events)? }));
    }
    Ok(serde_json::Value::from(rests).to_string())
}

impl OutboxEvent {
    fn stored(&self) -> Stored<'_> {
        let Self { id, kind, addressed, body } = self;
        Stored { id: *id, kind, addressed: *addressed, pieces: [body] }
    }
}

fn entry(row: &Row) -> Result<OutboxEntry, sqlx::Error> {
    let joined_by: String = row.get("joined_by")?;
    let events = serde_json::from_str::<Vec<StoredEvent>>(&row.get::<String>("events")?).ok();
    let events = events.map(|events| {
        let whole = |StoredEvent { id, kind, addressed, pieces }| OutboxEvent {
            id,
            kind,
            addressed,
            body: pieces.join(&joined_by),
        };
        events.into_iter().map(whole).collect()
    });
    Ok(OutboxEntry { id: row.get("id")?, events })
}
