//! Consumes a RabbitMQ queue: one task per consumer, which reattaches whenever it loses the broker.
//!
//! The stream can also end with `None` while everything else reports connected. lapin's own recovery is off, so the
//! broker takes back and redelivers the messages in hand; our handles on them become stale and report it.

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::acks::Acks;
use super::counts::count;
use super::declare::declare;
use super::link::{Backoff, Frames, Link, OwnConnection, away, classify, short};
use super::publish::Publisher;
use super::settle::{AckHandle, FIRST_AT, attempts_of, kind_of, number, time_of};
use crate::topology::Queue;
use crate::{Attached, Delivery, QueueCounts, name_for};
use domain::clock::Clock;
use domain::engine_error::EngineError;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// What the queue was last counted to have.
type SharedCounts = Arc<Mutex<QueueCounts>>;
/// The acks of the attachment, if there is one.
type CurrentAcks = Arc<Mutex<Option<Acks>>>;

pub(crate) struct Consumer {
    messages: mpsc::UnboundedReceiver<Delivery>,
    attached: watch::Receiver<Attached>,
    counts: SharedCounts,
    acks: CurrentAcks,
    stop: CancellationToken,
    /// Ends the task and its connection: the broker takes back the messages in hand.
    _gone: DropGuard,
}

impl Consumer {
    pub(super) async fn start(
        link: Arc<Link>,
        publisher: Publisher,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Self, EngineError> {
        // Bounded by the prefetch count.
        let (sender, messages) = mpsc::unbounded_channel();
        let (state, attached) = watch::channel(Err("not attached yet".to_owned()));
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let counts = SharedCounts::default();
        let acks = CurrentAcks::default();
        let task = Task {
            link,
            publisher,
            queue,
            prefetch,
            messages: Some(sender),
            state,
            counts: counts.clone(),
            acks: acks.clone(),
            stop: stop.clone(),
        };
        let (first, judged) = oneshot::channel();
        let (ended, last_acks) = (gone.clone(), acks.clone());
        tokio::spawn(async move {
            let mut running = pin!(task.run(first));
            tokio::select! {
                () = ended.cancelled() => {}
                () = &mut running => {}
            }
            // The connection is still there.
            flush(&last_acks).await;
            *lock(&last_acks) = None;
        });
        let gone = gone.drop_guard();
        judged.await.unwrap_or(Ok(()))?;
        Ok(Self { messages, attached, counts, acks, stop, _gone: gone })
    }

    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        self.messages.recv().await
    }

    pub(crate) async fn cancel(&mut self) -> Vec<Delivery> {
        self.stop.cancel();
        let mut rest = Vec::new();
        let emptied = async {
            while let Some(message) = self.messages.recv().await {
                rest.push(message);
            }
        };
        if timeout(ANSWER_TIMEOUT, emptied).await.is_err() {
            tracing::warn!("consumer cancellation not confirmed in time");
        }
        rest
    }

    pub(crate) async fn flush(&self) {
        flush(&self.acks).await;
    }

    pub(crate) fn attached(&self) -> watch::Receiver<Attached> {
        self.attached.clone()
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn flush(acks: &CurrentAcks) {
    let current = lock(acks).clone();
    if let Some(acks) = current {
        acks.flush().await;
    }
}

fn lock(acks: &CurrentAcks) -> MutexGuard<'_, Option<Acks>> {
    acks.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Task {
    link: Arc<Link>,
    publisher: Publisher,
    queue: Queue,
    prefetch: u16,
    /// `None` once no more messages will come: the receiver sees the end while the connection stays open for settling.
    messages: Option<mpsc::UnboundedSender<Delivery>>,
    state: watch::Sender<Attached>,
    counts: SharedCounts,
    acks: CurrentAcks,
    stop: CancellationToken,
}

/// A connection with a consuming channel.
struct Attachment {
    connection: OwnConnection,
    channel: Channel,
    stream: lapin::Consumer,
    acks: Acks,
    /// Ends the task that sends the acks.
    _sending: AbortOnDropHandle<()>,
}

impl Task {
    async fn run(mut self, first: oneshot::Sender<Result<(), EngineError>>) {
        let mut first = Some(first);
        let mut backoff = Backoff::new();
        let mut frames = Frames::Ours;
        while !self.stop.is_cancelled() {
            let stop = self.stop.clone();
            let attaching = stop.run_until_cancelled(self.attach(frames));
            let Some(attached) = attaching.await else { return };
            let reason = match attached {
                Ok(attachment) => {
                    backoff = Backoff::new();
                    // If this attachment is lost, the cause may be a message with a large header. It is redelivered
                    // and would end the next attachment too.
                    frames = Frames::Anybodys;
                    drop(self.state.send_replace(Ok(())));
                    if let Some(first) = first.take() {
                        drop(first.send(Ok(())));
                    }
                    tracing::info!(queue = %self.queue, "consuming");
                    let Some(reason) = self.consume(attachment).await else { return };
                    reason
                }
                Err(error) => {
                    let reason = error.to_string();
                    if let Some(first) = first.take() {
                        let broken = !error.is_away();
                        drop(first.send(if broken { Err(error) } else { Ok(()) }));
                        if broken {
                            return;
                        }
                    }
                    reason
                }
            };
            tracing::warn!(queue = %self.queue, reason, "not consuming");
            drop(self.state.send_replace(Err(reason)));
            let _ = self.stop.run_until_cancelled(backoff.wait()).await;
        }
    }

    async fn attach(&self, frames: Frames) -> Result<Attachment, EngineError> {
        let connection = self.link.connect(self.queue.as_str(), frames).await?;
        let attaching = async {
            declare(&connection).await?;
            let channel =
                connection.create_channel().await.map_err(|e| classify(e, "open a channel"))?;
            let qos = channel.basic_qos(self.prefetch, BasicQosOptions::default()).await;
            qos.map_err(|e| classify(e, "set the prefetch count"))?;
            let consuming = channel.basic_consume(
                short(self.queue.as_str()),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            let stream = consuming.await.map_err(|e| classify(e, "consume a queue"))?;
            Ok((channel, stream))
        };
        // Declaring has its own timeout; this one covers a broker that stops responding afterwards.
        match timeout(4 * ANSWER_TIMEOUT, attaching).await {
            Ok(Ok((channel, stream))) => {
                let acks = Acks::of(&channel, self.prefetch);
                *lock(&self.acks) = Some(acks.clone());
                let sending = AbortOnDropHandle::new(tokio::spawn(acks.clone().run()));
                Ok(Attachment { connection, channel, stream, acks, _sending: sending })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(away("attach to a queue: timed out")),
        }
    }

    /// Forwards messages until the attachment is lost, and returns the reason. After a stop it keeps the connection
    /// open, so that the messages in hand can be settled, and does not return.
    async fn consume(&mut self, mut attachment: Attachment) -> Option<String> {
        let mut count_at = Instant::now();
        let reason = loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.finish(attachment).await;
                    return None;
                }
                item = attachment.stream.next() => match item {
                    Some(Ok(delivery)) => {
                        if !self.hand_on(delivery, &attachment.acks) {
                            return None;
                        }
                    }
                    Some(Err(error)) => break error.to_string(),
                    None => break "the broker ended the consumer".to_owned(),
                },
                () = sleep(LOOK_EVERY) => {
                    if !attachment.channel.status().connected() {
                        break "the channel is closed".to_owned();
                    }
                }
                () = tokio::time::sleep_until(count_at) => {
                    count_at = Instant::now() + COUNT_EVERY;
                    if let Err(reason) = self.count(&attachment.connection).await {
                        break reason;
                    }
                }
            }
        };
        Some(reason)
    }

    async fn finish(&mut self, mut attachment: Attachment) {
        let tag = attachment.stream.tag();
        let cancelling = attachment.channel.basic_cancel(tag, BasicCancelOptions::default());
        if !matches!(timeout(ANSWER_TIMEOUT, cancelling).await, Ok(Ok(()))) {
            tracing::warn!(queue = %self.queue, "consumer not cancelled cleanly");
        }
        let rest = async {
            while let Some(Ok(delivery)) = attachment.stream.next().await {
                self.hand_on(delivery, &attachment.acks);
            }
        };
        drop(timeout(ANSWER_TIMEOUT, rest).await);
        self.messages = None;
        std::future::pending::<()>().await;
    }

    fn hand_on(&self, delivery: AmqpDelivery, acks: &Acks) -> bool {
        let message = self.delivery(delivery, acks);
        self.messages.as_ref().is_some_and(|messages| messages.send(message).is_ok())
    }

    async fn count(&self, connection: &Connection) -> Result<(), String> {
        let queue = self.queue;
        match timeout(ANSWER_TIMEOUT, count(connection, queue)).await {
            // If the queue was deleted, reattaching declares it again.
            Ok(Ok(QueueCounts { dead: None, .. })) => Err(format!("{} is gone", queue.dead())),
            Ok(Ok(counts)) => {
                *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
                Ok(())
            }
            Ok(Err(error)) => Err(format!("count the messages of {queue}: {error}")),
            Err(_) => Err(format!("count the messages of {queue}: no answer")),
        }
    }

    fn delivery(&self, delivery: AmqpDelivery, acks: &Acks) -> Delivery {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let bytes = Bytes::from(delivery.data);
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        let returned = number(&headers, "x-delivery-count").unwrap_or(0) > 0;
        Delivery {
            kind: kind_of(&headers, delivery.routing_key.as_str(), self.queue, &bytes),
            id: id.filter(|id| !id.is_empty()).unwrap_or_else(|| name_for(&bytes)),
            attempts: attempts_of(&headers),
            suspect: delivery.redelivered || returned,
            first_at: time_of(&headers, FIRST_AT).unwrap_or_else(|| Clock::system().now()),
            bytes,
            held: crate::AckHandle::Rabbit(AckHandle {
                tag: delivery.delivery_tag,
                acker: delivery.acker,
                acks: acks.weak(),
                acked: AtomicBool::new(false),
                publisher: self.publisher.clone(),
                queue: self.queue,
            }),
            event_time: std::sync::OnceLock::new(),
        }
    }
}
