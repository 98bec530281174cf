//! Events decided in a transaction, and how they are written with it. `outbox_entries.rs` tells how they get to the
//! broker.

use serde::Serialize;
use uuid::Uuid;

use domain::event::{Envelope, Event};
use domain::ids::{EventId, UserId};
use domain::rng;
use domain::timestamp::Timestamp;
use sql::{Work, args};

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
        let Self { id, kind, addressed, body } = self;
        let whole = Stored { id: *id, kind, addressed: *addressed, pieces: [body] };
        write_entry(work, &[whole], "", user, now).await
    }
}

/// An event as an entry of the outbox has it.
#[derive(Serialize)]
pub(super) struct Stored<'a> {
    pub id: EventId,
    pub kind: &'a str,
    pub addressed: bool,
    pub pieces: [&'a str; 1],
}

/// The events of an entry, as its column has them.
pub(super) fn list<E: Serialize>(events: &[E]) -> Result<String, sqlx::Error> {
    serde_json::to_string(events).map_err(|e| sqlx::Error::Encode(e.into()))
}

/// Writes one entry: events that are published in this order, each its pieces joined by `joined_by`.
async fn write_entry<E: Serialize>(
    work: &mut Work,
    events: &[E],
    joined_by: &str,
    user: Option<UserId>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let events = list(events)?;
    let sql = "INSERT INTO outbox_entries (events, joined_by, created_at, user_id) VALUES ($1, $2, $3, $4)";
    work.run(sql, args![&events, joined_by, now, user]).await.map(drop)
}

/// An encoded event that lacks ids which only the database knows: its text, cut where they stand. So the event is sent
/// byte for byte as it was encoded.
#[derive(Serialize)]
pub(super) struct CutEvent {
    id: EventId,
    kind: &'static str,
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

    /// Writes one entry of these events, each with this text where it was cut.
    pub(super) async fn write_all(
        work: &mut Work,
        events: &[Self],
        text: &str,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        write_entry(work, events, text, None, now).await
    }
}

/// Removes the messages to a user that the broker has not taken yet: sent later, they would put the user's number back
/// into the ledger of deliveries.
pub(super) async fn take_back_texts(work: &mut Work, user: UserId) -> Result<(), sqlx::Error> {
    // Only texts carry a user (`write_for`), and each is an entry of its own.
    let sql = "DELETE FROM outbox_entries WHERE user_id = $1";
    work.run(sql, args![user]).await?;
    // Of any version: a gateway of the version before may have written it.
    let sql = "DELETE FROM outbox WHERE user_id = $1 AND kind LIKE $2 AND published_at IS NULL";
    work.run(sql, args![user, "sms.requested.%"]).await.map(drop)
}

/// The id of an event or of a block: a UUIDv7 of the caller's time.
pub(super) fn new_id(now: Timestamp) -> Uuid {
    rng::id_v7(now.ms())
}

fn event_id(now: Timestamp) -> EventId {
    EventId::from_uuid(new_id(now))
}
