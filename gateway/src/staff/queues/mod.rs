//! The queues between the services, and the messages that were dead-lettered in them.

mod acts;
mod letters;

use std::str::FromStr;
use std::time::Duration;

use bus::{Queue, QueueCounts};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::ToSchema;

pub(crate) use self::acts::{Done, DoneLetter, MOST_AT_ONCE, Pick, Stopped, drop_letters, replay};
pub(crate) use self::letters::{Letter, LetterDetail, ReasonCount};
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::processes::{self, Process, Waiting, WorkerQueue};

/// The longest that reading from the broker takes: a page never hangs.
const READ_WITHIN: Duration = Duration::from_millis(1200);
/// The most dead letters of a queue that a list shows, the oldest first. Each is a round trip to the broker.
pub(crate) const MOST_SHOWN: usize = 200;
/// The longest id of a message, in bytes: an AMQP short string.
pub(crate) const LONGEST_ID: usize = 255;

/// The id of a message in an address. A longer one is none that a broker takes.
pub(crate) struct LetterId(pub String);

impl FromStr for LetterId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() <= LONGEST_ID { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// The queues, and dead letters of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queues, examples(json!({
    "as_of": "2026-11-30T10:24:10.000Z",
    "embedded": false,
    "queues": [{
        "queue": "otp-worker",
        "ready": 0,
        "unacked": 2,
        "oldest_ms": 140,
        "consumers": 1,
        "waiting": [{ "delay_ms": 5000, "messages": 1 }],
        "dead": 1,
        "reasons": [{ "reason": "unknown_version", "letters": 1, "late": 1 }],
        "letters": "yes",
    }],
    "letters": [{
        "queue": "otp-worker",
        "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a12",
        "kind": "otp.requested.v9",
        "reason": "unknown_version",
        "attempts": 1,
        "first_at": "2026-11-30T10:15:00.000Z",
        "dead_at": "2026-11-30T10:15:00.120Z",
        "bytes": 412,
        "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
        "not_after": "2026-11-30T10:20:00.000Z",
        "is_late": true,
    }],
})))]
pub(crate) struct QueuesView {
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
    /// Whether the queues are in this process's memory.
    pub embedded: bool,
    pub queues: Vec<QueueView>,
    /// The dead letters that the filter lets through, the oldest first.
    pub letters: Vec<Letter>,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueView {
    #[schema(value_type = words::QueueName)]
    pub queue: &'static str,
    /// Messages that wait for a worker; null: nobody knows.
    #[schema(required = true)]
    pub ready: Option<u32>,
    /// Messages in the hands of workers, as they said within the last 15 s.
    pub unacked: u32,
    /// The age of the oldest message that a worker has or has put off, in milliseconds; null: no worker runs.
    #[schema(required = true)]
    pub oldest_ms: Option<i64>,
    #[schema(required = true)]
    pub consumers: Option<u32>,
    /// Messages that wait for a retry, by delay.
    pub waiting: Vec<Waiting>,
    /// Dead letters, without those that somebody reads at this moment.
    #[schema(required = true)]
    pub dead: Option<u32>,
    /// Why the first 200 of them are there, the most frequent first.
    pub reasons: Vec<ReasonCount>,
    /// Whether its dead letters could be read.
    pub letters: Readable,
}

/// Whether dead letters could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Readable {
    Yes,
    /// The broker cannot be reached, or did not answer in time.
    Away,
    /// The broker's definitions give this gateway no right to: they are of a former release.
    Refused,
}

/// Which dead letters a list shows; `None` shows all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LetterFilter<'a> {
    pub queue: Option<Queue>,
    pub reason: Option<&'a str>,
    /// The type that they were published with.
    pub kind: Option<&'a str>,
}

impl LetterFilter<'_> {
    fn takes(&self, letter: &Letter) -> bool {
        self.queue.is_none_or(|queue| queue.as_str() == letter.queue)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.kind.is_none_or(|kind| kind == letter.kind)
    }
}

impl Readable {
    fn of(error: &EngineError) -> Self {
        if error.is_away() { Self::Away } else { Self::Refused }
    }
}

/// Every queue as it is now, and its dead letters.
pub(crate) async fn read(app: &App, filter: LetterFilter<'_>) -> Result<QueuesView, ApiError> {
    let now = app.engines.clock.now();
    let both = Queue::ALL.map(|queue| one(app, queue, now));
    let (processes, read) = tokio::join!(processes::read(app), futures::future::join_all(both));
    let processes = processes?;
    let (mut queues, mut all) = (Vec::new(), Vec::new());
    for (queue, (counts, letters)) in Queue::ALL.into_iter().zip(read) {
        let readable = letters.as_ref().map_or_else(|why| *why, |_| Readable::Yes);
        let letters = letters.unwrap_or_default();
        let reasons = ReasonCount::of(&letters);
        queues.push(view(queue, &counts, &processes, reasons, readable));
        all.extend(letters.into_iter().filter(|letter| filter.takes(letter)));
    }
    all.sort_by_key(|letter| letter.dead_at);
    let embedded = matches!(app.config.engines, config::EngineSettings::Embedded { .. });
    Ok(QueuesView { as_of: now, embedded, queues, letters: all })
}

/// One dead letter; `None`: it is not there, or somebody else reads it at this moment.
pub(crate) async fn letter(
    app: &App,
    queue: Queue,
    id: &str,
) -> Result<Result<Option<LetterDetail>, Readable>, ApiError> {
    let now = app.engines.clock.now();
    Ok(match timeout(READ_WITHIN, app.engines.bus.dead_show(queue, id)).await {
        Ok(Ok(found)) => Ok(found.map(|detail| LetterDetail::of(queue, detail, now))),
        Ok(Err(error)) => Err(Readable::of(&error)),
        Err(_) => Err(Readable::Away),
    })
}

/// What the broker says of a queue, and its dead letters. One after the other: while the letters are read, the broker counts
/// none of them.
async fn one(
    app: &App,
    queue: Queue,
    now: Timestamp,
) -> (QueueCounts, Result<Vec<Letter>, Readable>) {
    let (bus, deadline) = (&app.engines.bus, Instant::now() + READ_WITHIN);
    let counts = match timeout_at(deadline, bus.counts(queue)).await {
        Ok(Ok(counts)) => counts,
        Ok(Err(error)) if !error.is_away() => QueueCounts::default(),
        Ok(Err(_)) | Err(_) => return (QueueCounts::default(), Err(Readable::Away)),
    };
    if counts.dead == Some(0) {
        return (counts, Ok(Vec::new()));
    }
    let letters = match timeout_at(deadline, bus.dead_details(queue, MOST_SHOWN)).await {
        Ok(Ok(letters)) => {
            Ok(letters.into_iter().map(|detail| Letter::of(queue, &detail, now)).collect())
        }
        Ok(Err(error)) => Err(Readable::of(&error)),
        Err(_) => Err(Readable::Away),
    };
    (counts, letters)
}

/// What the broker does not tell this gateway, the workers know.
fn view(
    queue: Queue,
    counts: &QueueCounts,
    processes: &[Process],
    reasons: Vec<ReasonCount>,
    letters: Readable,
) -> QueueView {
    let workers = processes::workers_of(processes, queue);
    let told = |of: fn(&WorkerQueue) -> Option<u32>| workers.iter().copied().filter_map(of).max();
    let waiting = if counts.waiting.is_empty() {
        workers.iter().map(|worker| worker.waiting.clone()).find(|waiting| !waiting.is_empty())
    } else {
        let waiting =
            |one: &bus::Waiting| Waiting { delay_ms: one.delay_ms, messages: one.messages };
        Some(counts.waiting.iter().map(waiting).collect())
    };
    QueueView {
        queue: queue.as_str(),
        ready: counts.ready.or_else(|| told(|worker| worker.ready)),
        unacked: counts.in_hand.unwrap_or_else(|| workers.iter().map(|worker| worker.held).sum()),
        oldest_ms: workers.iter().map(|worker| worker.oldest_ms).max(),
        consumers: counts
            .consumers
            .or_else(|| told(|worker| worker.consumers))
            .or_else(|| u32::try_from(workers.len()).ok()),
        waiting: waiting.unwrap_or_default(),
        dead: counts.dead.or_else(|| told(|worker| worker.dead)),
        reasons,
        letters,
    }
}
