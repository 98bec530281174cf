//! The one consume loop: take, handle, settle, drain. A handler does the work and says whether trying again could help;
//! everything else about a message's fate is here, once.

mod crash_isolation;
mod execution;
mod queue_metrics;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::crash_isolation::{Waiting, next_to_start};
use self::execution::{Disposition, Execution};
use self::queue_metrics::QueueMetrics;
use crate::Attached;
use crate::Bus;
use crate::Consumer;
use crate::Delay;
use crate::Delivery;
use crate::PublishError;
use crate::Queue;
use crate::Settlement;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::DecodeError;

/// The reason of a part that was told to stop: as at the start, nothing to be woken for.
pub const STOPPING: &str = "stopping";

/// What a worker does with each message of its queue.
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. It may come again after a success that we did not see settled: handling is idempotent.
    fn handle(&self, message: &Delivery) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether the dependencies answer again, asked while the worker pauses because one was away.
    fn probe(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Why a message was not handled.
#[derive(Debug)]
pub enum Failure {
    /// A dependency is away, which is not the message's fault: the worker pauses, and no try is counted.
    Away(anyhow::Error),
    /// Somebody told us when to come again, as a provider that throttles does: it waits in the broker for about so
    /// long while others go on, and no try is counted.
    Later(Duration),
    /// It may go better the next time. Counted; the fifth sets the message aside.
    Retry(anyhow::Error),
    /// It will never go: set aside at once for this reason, a word in lower case.
    Permanent(&'static str, anyhow::Error),
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

/// Counts starts of suspects where a crash of this process does not reach. A suspect is a message that came back
/// unsettled; one whose starts never end takes the process down each time.
pub trait Crashes: Send + Sync + 'static {
    /// How many starts of this message were not survived so far. Those that run now count as well.
    fn unsurvived<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>>;

    /// Counts a start of this message, and tells how many there are with it.
    fn started<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>>;

    /// The process has survived it: forget its starts. So a restart of the broker, after which good messages come again,
    /// counts against none of them.
    fn ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// How a worker works.
#[derive(Clone)]
pub struct Options {
    /// Handlers at once.
    pub concurrency: usize,
    /// Messages in hand at once, those that wait for a handler included. More than `concurrency`.
    pub prefetch: u16,
    /// For one message; then its handler is dropped and a try is counted.
    pub timeout: Duration,
    /// The waits after the 1st, 2nd, 3rd and 4th failure. The 5th sets the message aside.
    pub backoff: [Delay; 4],
    /// For the handlers in hand after a stop.
    pub drain: Duration,
    pub crashes: Option<Arc<dyn Crashes>>,
    /// What ages of messages are told by.
    pub clock: Clock,
}

impl Options {
    /// A message has 20 s, and as long to end after a stop: a process has 25 s (P12). Its tries wait 1, 5, 30 and 30 s.
    pub fn new(concurrency: usize, clock: Clock) -> Self {
        Self {
            concurrency,
            prefetch: u16::try_from(concurrency * 2).unwrap_or(u16::MAX),
            timeout: Duration::from_secs(20),
            backoff: [Delay::Second, Delay::FiveSeconds, Delay::HalfMinute, Delay::HalfMinute],
            drain: Duration::from_secs(20),
            crashes: None,
            clock,
        }
    }
}

/// Told whether the worker takes messages, whenever that changes: what its readiness is.
pub type Report = Box<dyn Fn(Attached) + Send + Sync>;

/// Consumes a queue until it is told to stop.
///
/// On a stop it takes no more, gives the handlers in hand [`Options::drain`] to end, settles them, and hands back what
/// was not begun or did not end.
///
/// # Errors
/// When it cannot go on: the broker refuses us, or a queue was declared otherwise.
pub async fn run<H: Handler>(
    bus: Bus,
    queue: Queue,
    handler: Arc<H>,
    options: Options,
    report: Report,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let seen = QueueMetrics::register(queue, options.clock.clone());
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
    /// Taken and not begun.
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    tasks: JoinSet<(Arc<Delivery>, Disposition)>,
    pause: Option<Pause>,
    /// Pauses since a message last got through: a probe may succeed while handlers still find their dependency away.
    unanswered: u32,
}

struct Running {
    message: Arc<Delivery>,
    alone: bool,
    task: AbortHandle,
}

/// A dependency is away.
struct Pause {
    probe_at: Instant,
    probes: u32,
}

impl Pause {
    /// 1 s, then a second more each time, 5 at most.
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
        self.tell();
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
                    self.tell();
                }
                _ = look.tick() => {
                    let waiting = self.waiting.iter().map(|one| &one.message);
                    let in_hand = waiting.chain(self.running.iter().map(|one| &one.message));
                    self.seen.look(in_hand, self.consumer.dead_letters());
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
            // The broker has these back already, and they come again.
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
                    tracing::warn!(queue = %self.queue, error = format!("{error:#}"), "pausing: a dependency is away");
                    self.pause = Some(Pause::starting(self.unanswered));
                    self.unanswered += 1;
                    self.tell();
                }
            }
        }
    }

    async fn probe(&mut self) {
        let Some(pause) = &self.pause else { return };
        match timeout(PROBE_TIMEOUT, self.handler.probe()).await {
            Ok(Ok(())) => {
                tracing::info!(queue = %self.queue, "going on");
                self.pause = None;
                self.tell();
            }
            answer => {
                let error = match answer {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => "no answer".to_owned(),
                };
                tracing::debug!(queue = %self.queue, error, "still away");
                self.pause = Some(Pause::starting(pause.probes + 1));
            }
        }
    }

    fn tell(&self) {
        let attached = self.consumer.attached().borrow().clone();
        (self.report)(match &self.pause {
            Some(_) if attached.is_ok() => Err("paused: a dependency is away".to_owned()),
            _ => attached,
        });
    }

    async fn drain(mut self) {
        let deadline = Instant::now() + self.options.drain;
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
        tracing::info!(queue = %self.queue, "drained");
    }
}

async fn hand_back(queue: Queue, messages: impl IntoIterator<Item = Arc<Delivery>>) {
    let handing_back = async {
        for message in messages {
            if let Err(error) = message.settle(Settlement::Back).await {
                tracing::debug!(%queue, error = %error, "hand a message back");
            }
        }
    };
    // What cannot be handed back is the broker's again when the connection closes.
    if timeout(HAND_BACK_TIMEOUT, handing_back).await.is_err() {
        tracing::warn!(%queue, "the broker does not take messages back");
    }
}
