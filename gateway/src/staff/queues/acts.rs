//! Dead letters replayed or dropped. A broker that goes away in the middle loses none: what was done is told and in the
//! audit, and the rest is where it was.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bus::{DeadLetter, Queue, Selection};
use domain::engine_error::EngineError;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// The most letters of one act.
pub(crate) const MOST_AT_ONCE: usize = 1_000;
/// An act takes no further letter after this: its answer must be in time, and it can be repeated.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);
/// When what is done is told, whether or not the act has ended.
const END_WITHIN: Duration = Duration::from_millis(1_600);
/// The ids that the audit names.
const NAMED: usize = 20;

/// Which dead letters an act is about.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
    All,
    One(String),
    Reason(String),
}

/// What an act did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DoneLetters, examples(json!({
    "queue": "otp-worker",
    "letters": [{
        "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a12",
        "kind": "otp.requested.v9",
        "reason": "unknown_version",
    }],
    "stopped": null,
})))]
pub(crate) struct Done {
    #[schema(value_type = words::QueueName)]
    pub queue: &'static str,
    /// The letters that were replayed or dropped.
    pub letters: Vec<DoneLetter>,
    /// Why it ended before all were done; null: nothing is left of what was there when it began.
    #[schema(required = true)]
    pub stopped: Option<Stopped>,
}

/// A letter that was replayed or dropped.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DoneLetter {
    pub id: String,
    /// The type that it was published with.
    pub kind: String,
    pub reason: String,
}

/// Why an act ended before all was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StoppedBy)]
pub(crate) enum Stopped {
    /// It did as many letters as one act may, or took as long: the rest can be done by another.
    Bound,
    /// The broker was lost, or does not take messages. The letter at hand may be in both queues, which does no harm.
    Away,
    /// The broker's definitions give this gateway no right to: they are of a former release.
    Refused,
}

/// Puts dead letters back into their queue, with their attempts reset.
pub(crate) async fn replay(
    app: &App,
    actor: &str,
    queue: Queue,
    pick: &Pick,
) -> Result<Done, ApiError> {
    Deed { app: app.clone(), actor: actor.to_owned(), queue, pick: pick.clone(), why: None }
        .in_time()
        .await
}

/// Deletes dead letters.
pub(crate) async fn drop_letters(
    app: &App,
    actor: &str,
    queue: Queue,
    pick: &Pick,
    why: &str,
) -> Result<Done, ApiError> {
    let (app, actor, why) = (app.clone(), actor.to_owned(), Some(why.to_owned()));
    Deed { app, actor, queue, pick: pick.clone(), why }.in_time().await
}

/// An act on dead letters.
struct Deed {
    app: App,
    actor: String,
    queue: Queue,
    pick: Pick,
    /// Why they are deleted; `None`: they are replayed.
    why: Option<String>,
}

impl Deed {
    /// Tells what is done when it must be told. What is under way then ends by itself: if it were dropped midway, a letter
    /// could be replayed and missing in the audit.
    async fn in_time(self) -> Result<Done, ApiError> {
        let (queue, log) = (self.queue, Arc::new(Log::new()));
        let work = tokio::spawn(self.run(Arc::clone(&log)).in_current_span());
        match timeout(END_WITHIN, work).await {
            Ok(done) => done.context("a task of dead letters failed")?,
            Err(_) => Ok(log.done(queue, Some(Stopped::Away))),
        }
    }

    async fn run(self, log: Arc<Log>) -> Result<Done, ApiError> {
        let (bus, selection) = (&self.app.engines.bus, self.pick.selection());
        let on_each = |letter: &DeadLetter| log.note(letter);
        let ended = match self.why {
            None => bus.dead_replay(self.queue, &selection, &on_each).await,
            Some(_) => bus.dead_drop(self.queue, &selection, &on_each).await,
        };
        let done = log.done(self.queue, log.stopped(ended));
        self.note(&done).await?;
        Ok(done)
    }

    /// Writes the act to the audit, as the operator's command does.
    async fn note(&self, done: &Done) -> Result<(), ApiError> {
        if done.letters.is_empty() {
            return Ok(());
        }
        let message = if let Pick::One(id) = &self.pick { Some(id) } else { None };
        let mut detail = json!({ "message": message, "count": done.letters.len() });
        if message.is_none() {
            let ids: Vec<_> = done.letters.iter().take(NAMED).map(|letter| &letter.id).collect();
            detail["messages"] = json!(ids);
        }
        if let Pick::Reason(reason) = &self.pick {
            detail["dead_for"] = json!(reason);
        }
        let act = match &self.why {
            None => "dead_letters_replayed",
            Some(why) => {
                detail["reason"] = json!(why);
                "dead_letters_dropped"
            }
        };
        let now = self.app.engines.clock.now();
        Ok(self.app.audit.add(now, &self.actor, act, done.queue, &detail).await?)
    }
}

impl Pick {
    fn selection(&self) -> Selection {
        match self {
            Self::All => Selection::All,
            Self::One(id) => Selection::One(id.clone()),
            Self::Reason(reason) => Selection::Reason(reason.clone()),
        }
    }
}

/// What was done so far.
struct Log {
    began: Instant,
    state: Mutex<(Vec<DoneLetter>, bool)>,
}

impl Log {
    fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    fn note(&self, letter: &DeadLetter) -> ControlFlow<()> {
        let DeadLetter { id, kind, reason, .. } = letter.clone();
        let mut state = self.state();
        state.0.push(DoneLetter { id, kind, reason });
        if state.0.len() < MOST_AT_ONCE && self.began.elapsed() < BEGIN_WITHIN {
            return ControlFlow::Continue(());
        }
        state.1 = true;
        ControlFlow::Break(())
    }

    fn stopped(&self, ended: Result<u64, EngineError>) -> Option<Stopped> {
        match ended {
            Ok(_) => self.state().1.then_some(Stopped::Bound),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "dead letters not replayed or dropped"
                );
                Some(if error.is_away() { Stopped::Away } else { Stopped::Refused })
            }
        }
    }

    fn done(&self, queue: Queue, stopped: Option<Stopped>) -> Done {
        Done { queue: queue.as_str(), letters: self.state().0.clone(), stopped }
    }

    fn state(&self) -> MutexGuard<'_, (Vec<DoneLetter>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
