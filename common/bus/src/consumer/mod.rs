//! The consume loop: take, handle, settle, drain. A handler does the work and says whether a retry could help; this
//! module decides everything else about a message.

mod crash_isolation;
mod execution;
mod queue_metrics;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::future::BoxFuture;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::crash_isolation::{Waiting, next_to_start};
use self::execution::{Disposition, Execution};
use self::queue_metrics::QueueMetrics;
pub use self::queue_metrics::{EVENT_TYPES, OTHER_TYPE, QueueFigures, QueueState, Taken};
use crate::{Attached, Bus, Consumer, Delay, Delivery, PublishError, Queue, Settlement};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::DecodeError;

/// The reason of a part that is stopping: like starting, no reason to alert an operator.
pub const STOPPING: &str = "stopping";

/// What a worker does with each message of its queue.
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. Must be idempotent: a message whose success was not settled is redelivered.
    fn handle(&self, message: &Delivery) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether messages wait for something that more workers would not hasten, such as a provider that throttles us. Then
    /// `latchkey_own_queue_oldest_seconds` and `latchkey_own_messages_in_hand` are 0.
    fn is_held_back(&self) -> bool {
        false
    }

    /// Checks whether the dependencies respond again. Called while the worker is paused because one was unavailable.
    fn probe(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Why a message was not handled.
#[derive(Debug)]
pub enum Failure {
    /// A dependency is unavailable, which is not the message's fault: the worker pauses and counts no attempt.
    Away(anyhow::Error),
    /// The other side said when to retry, like a throttling provider: the message waits in the broker for about that
    /// long while others proceed, and no attempt is counted.
    Later(Duration),
    /// A retry may succeed. Counted; the fifth failure dead-letters the message.
    Retry(anyhow::Error),
    /// No retry can succeed: dead-lettered at once for this reason, a lower-case word.
    Permanent(&'static str, anyhow::Error),
}

impl Failure {
    /// For a message that the worker has no handler for.
    pub fn unknown_type(message: &Delivery) -> Self {
        Self::Permanent("unknown_type", anyhow!("no handler for {}", message.kind))
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::UnknownVersion => "unknown_version",
            DecodeError::Unreadable(_) => "unreadable",
        };
        Self::Permanent(reason, error.into())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        if error.is_away() { Self::Away(error.into()) } else { Self::Retry(error.into()) }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unroutable => Self::Retry(error.into()),
            PublishError::Refused | PublishError::Away(_) | PublishError::Unknown(_) => {
                Self::Away(error.into())
            }
        }
    }
}

/// Counts the starts of suspects in a place that survives a crash of this process. A suspect is a message that was
/// redelivered unsettled; if its starts never end, it crashes the process each time.
pub trait Crashes: Send + Sync + 'static {
    /// The number of starts of this message that did not end so far, running ones included.
    fn unsurvived<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>>;

    /// Counts a start of this message. Returns the count including this one.
    fn started<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>>;

    /// The process has survived the message: resets its count. So a broker restart, which redelivers good messages,
    /// does not count against them.
    fn ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// The settings of a worker.
#[derive(Clone)]
pub struct Options {
    /// Handlers running at once.
    pub concurrency: usize,
    /// Messages in hand at once, including those that wait for a handler. More than `concurrency`.
    pub prefetch: u16,
    /// Time limit for one message; after it the handler is dropped and an attempt is counted.
    pub timeout: Duration,
    /// The delays after the 1st, 2nd, 3rd and 4th failure. The 5th dead-letters the message.
    pub backoff: [Delay; 4],
    /// Time limit for running handlers after a stop.
    pub drain: Duration,
    pub crashes: Option<Arc<dyn Crashes>>,
    /// Types whose messages wait in the broker on purpose: such a message is no backlog.
    pub waits_by_design: &'static [&'static str],
    /// Types whose messages can be fewer if the worker cannot keep up: [`QueueState::taken`] counts them.
    pub paced: &'static [&'static str],
    /// The clock for message ages.
    pub clock: Clock,
    /// What the worker knows of its queue, for whoever keeps a clone.
    pub state: QueueState,
}

impl Options {
    /// A message gets 20 s, and so does the drain: a process has 25 s to stop (P12). Retry delays: 1, 5, 30 and 30 s.
    pub fn new(concurrency: usize, clock: Clock) -> Self {
        Self {
            concurrency,
            prefetch: u16::try_from(concurrency * 2).unwrap_or(u16::MAX),
            timeout: Duration::from_secs(20),
            backoff: [Delay::Second, Delay::FiveSeconds, Delay::HalfMinute, Delay::HalfMinute],
            drain: Duration::from_secs(20),
            crashes: None,
            waits_by_design: &[],
            paced: &[],
            clock,
            state: QueueState::default(),
        }
    }
}

/// Called whenever the worker starts or stops taking messages: this is its readiness.
pub type Report = Box<dyn Fn(Attached) + Send + Sync>;

/// Consumes a queue until `stop`.
///
/// On a stop it takes no more messages, gives running handlers [`Options::drain`] to finish, settles their messages,
/// and returns to the queue those that were not started or did not finish.
///
/// # Errors
/// When it cannot continue: the broker refuses us, or a queue was declared with other arguments.
pub async fn run<H: Handler>(
    bus: Bus,
    queue: Queue,
    handler: Arc<H>,
    options: Options,
    report: Report,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let seen = QueueMetrics::register(queue, &options);
    let consumer = match stop.run_until_cancelled(bus.consume(queue, options.prefetch)).await {
        None => return Ok(()),
        Some(consumer) => consumer.with_context(|| format!("consume {queue}"))?,
    };
    let worker = Worker {
        queue,
        handler,
        options: Arc::new(options),
        report,
        seen,
        consumer,
        waiting: VecDeque::new(),
        running: Vec::new(),
        tasks: JoinSet::new(),
        pause: None,
        unanswered: 0,
    };
    worker.work(stop).await
}

struct Worker<H> {
    queue: Queue,
    handler: Arc<H>,
    options: Arc<Options>,
    report: Report,
    seen: QueueMetrics,
    consumer: Consumer,
    /// Taken and not started.
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    tasks: JoinSet<(Arc<Delivery>, Disposition)>,
    pause: Option<Pause>,
    /// Pauses since a message last succeeded: a probe may succeed while handlers still find a dependency unavailable.
    unanswered: u32,
}

struct Running {
    message: Arc<Delivery>,
    alone: bool,
    task: AbortHandle,
}

/// The worker waits for an unavailable dependency.
struct Pause {
    probe_at: Instant,
    probes: u32,
}

impl Pause {
    /// Waits 1 s, then a second more each time, 5 s at most.
    fn starting(probes: u32) -> Self {
        let wait = Duration::from_secs(u64::from(probes.min(4)) + 1);
        Self { probe_at: Instant::now() + wait, probes }
    }
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<H: Handler> Worker<H> {
    async fn work(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut attached = self.consumer.attached();
        let mut look = tokio::time::interval(LOOK_EVERY);
        self.report_readiness();
        loop {
            self.start_what_may_start();
            let probe_at = self.pause.as_ref().map(|pause| pause.probe_at);
            tokio::select! {
                () = stop.cancelled() => break,
                message = self.consumer.next() => {
                    let message = message.with_context(|| format!("the consumer of {} ended", self.queue))?;
                    self.seen.taken(&message);
                    self.waiting.push_back(Waiting::new(message));
                }
                Some(done) = self.tasks.join_next() => {
                    let (message, disposition) = done.context("a message's task failed")?;
                    self.ended(message, &disposition);
                }
                () = sleep_until(probe_at.unwrap_or_else(Instant::now)), if probe_at.is_some() => {
                    if stop.run_until_cancelled(self.probe()).await.is_none() { break }
                }
                changed = attached.changed() => {
                    changed.context("the consumer's task ended")?;
                    self.report_readiness();
                }
                _ = look.tick() => {
                    let waiting = self.waiting.iter().map(|one| &one.message);
                    let in_hand = waiting.chain(self.running.iter().map(|one| &one.message));
                    self.seen.look(in_hand, self.consumer.counts());
                    let held_back = self.pause.is_some() || self.handler.is_held_back();
                    let in_hand = self.waiting.len() + self.running.len();
                    let in_hand = u32::try_from(in_hand).unwrap_or(u32::MAX);
                    let waiting = self.waiting.iter().map(|one| &one.message);
                    self.seen.look_at_own(waiting, in_hand, held_back);
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    fn start_what_may_start(&mut self) {
        if self.pause.is_some() {
            return;
        }
        while self.running.len() < self.options.concurrency {
            // The broker has already taken these back and redelivers them.
            self.waiting.retain(|one| !one.message.is_stale());
            let one_is_alone = self.running.iter().any(|one| one.alone);
            let Some(Waiting { message, alone }) = next_to_start(&mut self.waiting, one_is_alone)
            else {
                return;
            };
            let one = Execution {
                handler: self.handler.clone(),
                options: self.options.clone(),
                queue: self.queue,
                message: message.clone(),
                alone,
            };
            let task = self.tasks.spawn(one.run());
            self.running.push(Running { message, alone, task });
        }
    }

    fn ended(&mut self, message: Arc<Delivery>, disposition: &Disposition) {
        self.running.retain(|one| !Arc::ptr_eq(&one.message, &message));
        match disposition {
            Disposition::Settled => self.unanswered = 0,
            Disposition::PutOff(delay) => {
                self.unanswered = 0;
                self.seen.put_off(&message, *delay);
            }
            Disposition::MustRunAlone => self.waiting.push_front(Waiting { message, alone: true }),
            Disposition::Away(error) => {
                self.waiting.push_front(Waiting { message, alone: false });
                if self.pause.is_none() {
                    tracing::warn!(queue = %self.queue, error = format!("{error:#}"), "paused: a dependency is unavailable");
                    self.pause = Some(Pause::starting(self.unanswered));
                    self.unanswered += 1;
                    self.report_readiness();
                }
            }
        }
    }

    async fn probe(&mut self) {
        let Some(pause) = &self.pause else { return };
        match timeout(PROBE_TIMEOUT, self.handler.probe()).await {
            Ok(Ok(())) => {
                tracing::info!(queue = %self.queue, "resumed");
                self.pause = None;
                self.report_readiness();
            }
            answer => {
                let error = match answer {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => "no answer".to_owned(),
                };
                tracing::debug!(queue = %self.queue, error, "still unavailable");
                self.pause = Some(Pause::starting(pause.probes + 1));
            }
        }
    }

    fn report_readiness(&self) {
        let attached = self.consumer.attached().borrow().clone();
        let readiness = match &self.pause {
            Some(_) if attached.is_ok() => Err("paused: a dependency is unavailable".to_owned()),
            _ => attached,
        };
        self.seen.consumes(readiness.is_ok());
        (self.report)(readiness);
    }

    async fn drain(mut self) {
        let deadline = Instant::now() + self.options.drain;
        self.seen.consumes(false);
        (self.report)(Err(STOPPING.to_owned()));
        let mut back: Vec<Arc<Delivery>> = self.waiting.drain(..).map(|one| one.message).collect();
        back.extend(self.consumer.cancel().await.into_iter().map(Arc::new));
        hand_back(self.queue, back).await;
        while let Ok(Some(done)) = timeout_at(deadline, self.tasks.join_next()).await {
            let Ok((message, disposition)) = done else { continue };
            self.running.retain(|one| !Arc::ptr_eq(&one.message, &message));
            if let Disposition::Away(_) | Disposition::MustRunAlone = disposition {
                hand_back(self.queue, [message]).await;
            }
        }
        for one in &self.running {
            one.task.abort();
        }
        hand_back(self.queue, self.running.drain(..).map(|one| one.message)).await;
        self.consumer.flush().await;
        tracing::info!(queue = %self.queue, "drained");
    }
}

async fn hand_back(queue: Queue, messages: impl IntoIterator<Item = Arc<Delivery>>) {
    let handing_back = async {
        for message in messages {
            if let Err(error) = message.settle(Settlement::Requeue).await {
                tracing::debug!(%queue, error = %error, "cannot return a message");
            }
        }
    };
    // When the connection closes, the broker takes back the rest.
    if timeout(HAND_BACK_TIMEOUT, handing_back).await.is_err() {
        tracing::warn!(%queue, "returning messages to the broker timed out");
    }
}
