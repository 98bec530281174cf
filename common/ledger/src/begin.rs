//! Begins an attempt to hand a message to a provider: committed before the call.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::rows::{MESSAGE_STATE, insert, message_state};
use super::{Ledger, MessageState, NewMessage, SENT};
use domain::engine_error::EngineError;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Status};
use sql::batch::{Act, column};
use sql::{Pool, Work, args};

/// The result of [`Ledger::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The attempt is committed: the provider may be called. `risked` earlier calls may have been accepted.
    Start { number: u32, risked: u32 },
    /// The message was already accepted, or has ended. Nothing is to be sent.
    Settled(MessageState),
    /// An attempt was begun and its end is not recorded: its worker is still busy, or died. See [`Ledger::give_up_on`].
    Unconfirmed { attempt_id: AttemptId, provider: String, started_at: Timestamp },
    /// A call ended at this time without a clear answer: a receipt may still settle it, until [`Risk::unsettled_since`]
    /// is as late.
    Unsettled { ended_at: Timestamp },
    /// The maximum of calls may have been accepted: no further one.
    Exhausted,
    /// These providers may have accepted it, and the caller does not know: try another provider first.
    Elsewhere(Vec<String>),
}

/// What another call for a message may risk.
#[derive(Clone, Copy, Debug)]
pub struct Risk<'a> {
    /// So many calls of one message may ever have been accepted.
    pub most: u32,
    /// The providers that the caller knows may have accepted one.
    pub doubtful: &'a [String],
    /// A call that ended later without a clear answer may still be settled by a receipt: no other is begun.
    pub unsettled_since: Timestamp,
}

const INSERT_ATTEMPT: &str = "INSERT INTO sms_attempts (attempt_id, message_id, provider, number, state, started_at) \
    VALUES ($1, $2, $3, $4, 'begun', $5)";
/// Begins the first deliveries of jobs, which are nearly all, in one round trip and one commit. The jobs whose attempts
/// come back have begun. In the order of ids, so that two workers with the same jobs never deadlock.
const BEGIN_POSTGRES: &str = "WITH job AS (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::uuid[], $9::text[])
            AS job (message_id, request_id, phone_number, country, channel, at, not_after, attempt_id, provider)),
    message AS (
        INSERT INTO sms_ledger (message_id, request_id, phone_number, country, channel, state, rank, reason, created_at, updated_at, not_after)
        SELECT message_id, request_id, phone_number, country, channel, 'sending', 20, NULL, at, at, not_after FROM job ORDER BY message_id
        ON CONFLICT (message_id) DO NOTHING RETURNING message_id),
    attempt AS (
        INSERT INTO sms_attempts (attempt_id, message_id, provider, number, state, started_at)
        SELECT job.attempt_id, message_id, job.provider, 1, 'begun', job.at FROM message JOIN job USING (message_id)
        RETURNING attempt_id),
    history AS (
        INSERT INTO sms_history (message_id, rank, state, reason, at)
        SELECT message_id, 20, 'sending', NULL, job.at FROM message JOIN job USING (message_id))
    SELECT attempt_id FROM attempt";

/// The first attempt of a message that the ledger does not know.
#[derive(Clone)]
pub(super) struct BeginAttempt {
    message_id: MessageId,
    request_id: Option<RequestId>,
    phone_number: Option<E164>,
    country: String,
    channel: Channel,
    at: Timestamp,
    not_after: Timestamp,
    attempt_id: AttemptId,
    provider: String,
}

impl Act for BeginAttempt {
    type Key = Uuid;
    /// Whether it has begun; if not, the message was known.
    type Answer = bool;
    const NAME: &'static str = "begin an attempt";
    /// An attempt that its caller abandoned would be unconfirmed.
    const FOR_ITS_CALLER: bool = true;
    /// Adds to the time to a code, so it is short, and a lone text waits only right after a burst. While several are on
    /// their way, larger statements cost the server less for each.
    const LINGER: Duration = Duration::from_millis(4);

    fn key(&self) -> Uuid {
        self.message_id.uuid()
    }

    async fn write(db: &Pool, acts: &[Self]) -> Result<Vec<Option<bool>>, EngineError> {
        db.statement("begin attempts", async |work| {
            let rows = work
                .rows(
                    BEGIN_POSTGRES,
                    args![
                        &column(acts, |first| Some(first.message_id.uuid())),
                        &column(acts, |first| first.request_id.map(RequestId::uuid)),
                        &column(acts, |first| first.phone_number.as_ref().map(E164::expose)),
                        &column(acts, |first| Some(first.country.as_str())),
                        &column(acts, |first| Some(first.channel.as_str())),
                        &column(acts, |first| Some(first.at.ms())),
                        &column(acts, |first| Some(first.not_after.ms())),
                        &column(acts, |first| Some(first.attempt_id.uuid())),
                        &column(acts, |first| Some(first.provider.as_str())),
                    ],
                )
                .await?;
            let begun = rows.iter().map(|row| row.get("attempt_id"));
            let begun = begun.collect::<Result<HashSet<Uuid>, _>>()?;
            Ok(acts.iter().map(|first| Some(begun.contains(&first.attempt_id.uuid()))).collect())
        })
        .await
    }
}

impl Ledger {
    /// Commits that `attempt_id` is about to hand this message to `provider`. A worker may call a provider only after a
    /// [`Begin::Start`] of its own attempt.
    pub async fn begin(
        &self,
        message: &NewMessage<'_>,
        attempt_id: AttemptId,
        provider: &str,
        risk: Risk<'_>,
        now: Timestamp,
    ) -> Result<Begin, EngineError> {
        if self.db.is_postgres() {
            let first = BeginAttempt {
                message_id: message.message_id,
                request_id: message.request_id,
                phone_number: message.kept_number().cloned(),
                country: message.country.to_owned(),
                channel: message.channel,
                at: now,
                not_after: message.not_after,
                attempt_id,
                provider: provider.to_owned(),
            };
            if self.begins.write(first).await? {
                return Ok(Begin::Start { number: 1, risked: 0 });
            }
        }
        self.db
            .transaction("begin an attempt", async |work| {
                let first = insert(work, message, Status::Sending, None, now).await?;
                let begin = if first {
                    Begin::Start { number: 1, risked: 0 }
                } else {
                    match judge(work, message.message_id, risk).await? {
                        Retriable::Go { unknown, .. }
                            if unknown.iter().any(|name| name == provider)
                                && !risk.doubtful.iter().any(|name| name == provider) =>
                        {
                            Begin::Elsewhere(unknown)
                        }
                        Retriable::Go { number, risked, .. } => Begin::Start { number, risked },
                        Retriable::Stop(begin) => begin,
                    }
                };
                if let Begin::Start { number, .. } = begin {
                    let id = message.message_id.uuid();
                    work.run(INSERT_ATTEMPT, args![attempt_id.uuid(), id, provider, number, now])
                        .await?;
                } else {
                    work.undo().await?;
                }
                Ok(begin)
            })
            .await
    }
}

/// What the earlier attempts of a message mean for another one.
enum Retriable {
    /// It may begin. These providers may have accepted an earlier one.
    Go {
        number: u32,
        risked: u32,
        unknown: Vec<String>,
    },
    Stop(Begin),
}

/// Whether a known message may be retried. Locks it until the transaction's end.
async fn judge(
    work: &mut Work,
    message_id: MessageId,
    risk: Risk<'_>,
) -> Result<Retriable, sqlx::Error> {
    // SQLite has no row locks and needs none: the transaction locks the whole file.
    let locked = if work.is_postgres() {
        "SELECT message_id, request_id, country, channel, state, rank, reason, provider, provider_message_id, segments
            FROM sms_ledger WHERE message_id = $1 FOR UPDATE"
    } else {
        MESSAGE_STATE
    };
    let message = work.one(locked, args![message_id.uuid()]).await?;
    if message.get::<i64>("rank")? >= SENT {
        return Ok(Retriable::Stop(Begin::Settled(message_state(&message)?)));
    }
    let sql = "SELECT attempt_id, provider, state, started_at, ended_at, number FROM sms_attempts
        WHERE message_id = $1 ORDER BY number";
    let attempts = work.rows(sql, args![message_id.uuid()]).await?;
    let (mut number, mut risked, mut unknown, mut unsettled) = (1, 0, Vec::new(), None);
    for attempt in attempts {
        match attempt.get::<String>("state")?.as_str() {
            "begun" => {
                return Ok(Retriable::Stop(Begin::Unconfirmed {
                    attempt_id: AttemptId::from_uuid(attempt.get("attempt_id")?),
                    provider: attempt.get("provider")?,
                    started_at: attempt.time("started_at")?,
                }));
            }
            "accepted" | "unknown" => {
                risked += 1;
                unknown.push(attempt.get("provider")?);
                unsettled = unsettled.max(attempt.maybe_time("ended_at")?);
            }
            _ => {}
        }
        number = u32::try_from(attempt.get::<i64>("number")?).unwrap_or(u32::MAX - 1) + 1;
    }
    Ok(match unsettled {
        Some(ended_at) if ended_at > risk.unsettled_since => {
            Retriable::Stop(Begin::Unsettled { ended_at })
        }
        _ if risked >= risk.most => Retriable::Stop(Begin::Exhausted),
        _ => Retriable::Go { number, risked, unknown },
    })
}
