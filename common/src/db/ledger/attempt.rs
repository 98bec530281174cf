//! An attempt to hand a message to a provider: its beginning, which is committed before the call, and its end.

use super::super::sql::{Work, args};
use super::rows::{STANDING, insert, standing};
use super::{Ledger, NewMessage, SENT, Standing};
use crate::engine_error::EngineError;
use crate::ids::{AttemptId, MessageId, RequestId};
use crate::timestamp::Timestamp;
use crate::vocabulary::Status;

/// What [`Ledger::begin`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The attempt is committed: the provider may be called. `risked` earlier calls may have been accepted.
    Start { number: u32, risked: u32 },
    /// The message was accepted or came to its end before. Nothing is to be sent.
    Settled(Standing),
    /// An attempt was begun and its end is not written: its worker is at it, or died. See [`Ledger::give_up_on`].
    InDoubt { attempt_id: AttemptId, provider: String, started_at: Timestamp },
    /// As many calls as are allowed may have been accepted: no further one.
    Spent,
}

const INSERT_ATTEMPT: &str = "INSERT INTO sms_attempts (attempt_id, message_id, provider, number, state, started_at) \
    VALUES ($1, $2, $3, $4, 'begun', $5)";
/// The first delivery of a job, which is nearly every one, in one round trip.
const BEGIN_POSTGRES: &str = "WITH message AS (
        INSERT INTO sms_ledger (message_id, request_id, phone_number, country, channel, state, rank, reason, created_at, updated_at, not_after)
        VALUES ($1, $2, $3, $4, $5, 'sending', 20, NULL, $6, $6, $7) ON CONFLICT (message_id) DO NOTHING RETURNING message_id),
    attempt AS (
        INSERT INTO sms_attempts (attempt_id, message_id, provider, number, state, started_at)
        SELECT $8, message_id, $9, 1, 'begun', $6 FROM message),
    history AS (
        INSERT INTO sms_history (message_id, rank, state, reason, at) SELECT message_id, 20, 'sending', NULL, $6 FROM message)
    SELECT count(*) AS begun FROM message";

impl Ledger {
    /// Commits that `attempt_id` is about to hand this message to `provider`. Nobody may call a provider without a
    /// [`Begin::Start`] of his own attempt. At most `most_risked` calls of one message may ever have been accepted.
    pub async fn begin(
        &self,
        message: &NewMessage<'_>,
        attempt_id: AttemptId,
        provider: &str,
        most_risked: u32,
        now: Timestamp,
    ) -> Result<Begin, EngineError> {
        self.db
            .within("begin an attempt", async {
                if self.db.is_postgres()
                    && self.begin_first(message, attempt_id, provider, now).await?
                {
                    return Ok(Begin::Start { number: 1, risked: 0 });
                }
                let mut work = self.db.transaction().await?;
                let first = insert(&mut work, message, Status::Sending, None, now).await?;
                let begin = if first {
                    Begin::Start { number: 1, risked: 0 }
                } else {
                    judge(&mut work, message.message_id, most_risked).await?
                };
                if let Begin::Start { number, .. } = begin {
                    let id = message.message_id.uuid();
                    work.run(INSERT_ATTEMPT, args![attempt_id.uuid(), id, provider, number, now])
                        .await?;
                    work.done().await?;
                } else {
                    work.undo().await?;
                }
                Ok(begin)
            })
            .await
    }

    async fn begin_first(
        &self,
        message: &NewMessage<'_>,
        attempt_id: AttemptId,
        provider: &str,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let mut work = self.db.statement().await?;
        let row = work
            .one(
                BEGIN_POSTGRES,
                args![
                    message.message_id.uuid(),
                    message.request_id.map(RequestId::uuid),
                    message.phone_number,
                    message.country,
                    message.channel.as_str(),
                    now,
                    message.not_after,
                    attempt_id.uuid(),
                    provider,
                ],
            )
            .await?;
        work.done().await?;
        Ok(row.get::<i64>("begun")? == 1)
    }
}

/// Whether a message that is known may be tried again. Locks it until the transaction's end.
async fn judge(
    work: &mut Work,
    message_id: MessageId,
    most_risked: u32,
) -> Result<Begin, sqlx::Error> {
    // SQLite has no row locks, nor needs them: the transaction has the whole file.
    let locked = if work.is_postgres() {
        "SELECT message_id, request_id, country, channel, state, rank, reason, provider, provider_message_id, segments
            FROM sms_ledger WHERE message_id = $1 FOR UPDATE"
    } else {
        STANDING
    };
    let message = work.one(locked, args![message_id.uuid()]).await?;
    if message.get::<i64>("rank")? >= SENT {
        return Ok(Begin::Settled(standing(&message)?));
    }
    let attempts = work
        .rows(
            "SELECT attempt_id, provider, state, started_at, number FROM sms_attempts WHERE message_id = $1 ORDER BY number",
            args![message_id.uuid()],
        )
        .await?;
    let (mut number, mut risked) = (1, 0);
    for attempt in attempts {
        match attempt.get::<String>("state")?.as_str() {
            "begun" => {
                return Ok(Begin::InDoubt {
                    attempt_id: AttemptId::from_uuid(attempt.get("attempt_id")?),
                    provider: attempt.get("provider")?,
                    started_at: attempt.time("started_at")?,
                });
            }
            "accepted" | "unknown" => risked += 1,
            _ => {}
        }
        number = u32::try_from(attempt.get::<i64>("number")?).unwrap_or(u32::MAX - 1) + 1;
    }
    Ok(if risked >= most_risked { Begin::Spent } else { Begin::Start { number, risked } })
}
