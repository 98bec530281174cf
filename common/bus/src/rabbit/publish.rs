//! Publishing: one task owns the channel and sends batch after batch, so that confirms are reliable (`confirm.rs`).
//! A channel that got anything but clean acks is replaced, and a lost connection is retried forever.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::command::{CancelOnDrop, Command, Outgoing, Progress, PublishJob, refuse};
use super::confirm::{ChannelState, send};
use super::declare::declare;
use super::link::{Backoff, ENGINE, Frames, Link, OwnConnection, away, classify};
use crate::{PUBLISH_TIMEOUT, PublishError};
use domain::engine_error::EngineError;

/// A larger batch gains nothing: 256 keeps the broker busy, and the confirms of a batch arrive together.
const BATCH: usize = 256;
/// How often an idle connection is checked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// An unroutable event may mean that a binding was deleted: the topology is declared again, at most this often.
const DECLARE_EVERY: Duration = Duration::from_secs(2);
/// The limit of AMQP short strings.
pub(super) const MAX_NAME: usize = 255;

/// Hands messages to the task that owns the publishing channel. The task ends with the last clone.
#[derive(Clone)]
pub(super) struct Publisher {
    commands: mpsc::Sender<Command>,
    /// Why the broker is unavailable, while it is.
    down: watch::Receiver<Option<String>>,
}

impl Publisher {
    /// # Errors
    /// `Broken` when waiting cannot help. An unavailable broker is retried in the background.
    pub(super) async fn start(link: Arc<Link>) -> Result<Self, EngineError> {
        let first = match Up::open(&link).await {
            Ok(up) => Some(up),
            Err(error) if error.is_away() => {
                tracing::warn!(error = %error, "broker unavailable: connecting in the background");
                None
            }
            Err(error) => return Err(error),
        };
        let (commands, taken) = mpsc::channel(4 * BATCH);
        let away = first.is_none().then(|| "not connected yet".to_owned());
        let (down, is_down) = watch::channel(away);
        tokio::spawn(Owner { link, commands: taken, down }.run(first));
        Ok(Self { commands, down: is_down })
    }

    /// See [`crate::Bus::publish`].
    pub(super) async fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let longest = outgoing.key.len().max(outgoing.id.len()).max(outgoing.kind.len());
        if longest > MAX_NAME {
            return Err(PublishError::Refused);
        }
        self.check_up().map_err(PublishError::Away)?;
        let progress = Arc::new(Progress::new());
        let _withdrawal = CancelOnDrop(progress.clone());
        let (reply, answer) = oneshot::channel();
        let job = PublishJob { outgoing, progress: progress.clone(), reply };
        let exchange = async {
            if self.commands.send(Command::Publish(job)).await.is_err() {
                return None;
            }
            answer.await.ok()
        };
        match timeout_at(deadline, exchange).await {
            Ok(Some(answer)) => answer,
            ended => {
                let cause = match ended {
                    Ok(_) => anyhow!("the publishing task has ended"),
                    Err(_) => anyhow!("no confirm within {} s", PUBLISH_TIMEOUT.as_secs()),
                };
                let unsent = progress.withdraw();
                Err(if unsent { PublishError::Away(cause) } else { PublishError::Unknown(cause) })
            }
        }
    }

    /// One round trip on the publishing channel.
    pub(super) async fn ready(&self) -> Result<(), EngineError> {
        self.check_up().map_err(|cause| EngineError::away(ENGINE, cause))?;
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            let gone = || away("the publishing task has ended");
            self.commands.send(Command::Ping(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        timeout(READY_TIMEOUT, exchange).await.map_err(|_| away("no answer within 1 s"))?
    }

    /// Whether the task that owns the channel is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.commands.is_closed()
    }

    fn check_up(&self) -> anyhow::Result<()> {
        match &*self.down.borrow() {
            None => Ok(()),
            Some(reason) => Err(anyhow!("{reason}")),
        }
    }
}

/// An open connection and its channel in confirm mode; no channel after the last one was discarded.
struct Up {
    connection: OwnConnection,
    channel: Option<Channel>,
    declared_at: Instant,
}

impl Up {
    async fn open(link: &Link) -> Result<Self, EngineError> {
        let connection = link.connect("publishing", Frames::Ours).await?;
        declare(&connection).await?;
        let channel = confirming(&connection).await?;
        Ok(Self { connection, channel: Some(channel), declared_at: Instant::now() })
    }

    fn is_alive(&self) -> bool {
        self.connection.status().connected()
            && self.channel.as_ref().is_none_or(|channel| channel.status().connected())
    }

    /// During an alarm the broker stops reading: sent messages would stay in our memory and be taken once it ends.
    fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    fn throw_channel_away(&mut self) {
        if let Some(old) = self.channel.take() {
            tokio::spawn(async move {
                let closed = timeout(PUBLISH_TIMEOUT, old.close(200, "spoilt".into())).await;
                tracing::debug!(in_order = matches!(closed, Ok(Ok(()))), "channel discarded");
            });
        }
    }

    async fn renew(&mut self, declare_again: bool) -> Result<(), EngineError> {
        if declare_again && self.declared_at.elapsed() > DECLARE_EVERY {
            declare(&self.connection).await?;
            self.declared_at = Instant::now();
        }
        self.channel = Some(confirming(&self.connection).await?);
        Ok(())
    }
}

async fn confirming(connection: &Connection) -> Result<Channel, EngineError> {
    let opening = async {
        let channel =
            connection.create_channel().await.map_err(|e| classify(e, "open a channel"))?;
        let select = channel.confirm_select(ConfirmSelectOptions::default()).await;
        select.map_err(|e| classify(e, "enable confirms"))?;
        Ok(channel)
    };
    let opened = timeout(READY_TIMEOUT, opening).await;
    opened.map_err(|_| away("open a channel: no answer within 1 s"))?
}

/// The task that owns the connection and its channel.
struct Owner {
    link: Arc<Link>,
    commands: mpsc::Receiver<Command>,
    down: watch::Sender<Option<String>>,
}

enum End {
    /// No publisher is left.
    Unwanted,
    Lost(String),
}

impl Owner {
    async fn run(mut self, first: Option<Up>) {
        let mut up = first;
        loop {
            let mut current = match up.take() {
                Some(current) => current,
                None => match self.connect_again().await {
                    Some(current) => current,
                    None => return,
                },
            };
            self.down.send_replace(None);
            let end = self.serve(&mut current).await;
            drop(current);
            match end {
                End::Unwanted => return,
                End::Lost(reason) => {
                    tracing::warn!(reason, "publisher disconnected");
                    self.down.send_replace(Some(reason));
                }
            }
        }
    }

    /// Retries forever and refuses orders meanwhile. Returns `None` when no publisher is left.
    async fn connect_again(&mut self) -> Option<Up> {
        let mut backoff = Backoff::new();
        loop {
            let connecting = async {
                backoff.wait().await;
                Up::open(&self.link).await
            };
            tokio::pin!(connecting);
            let done = loop {
                tokio::select! {
                    done = &mut connecting => break done,
                    command = self.commands.recv() => refuse(command?, "the broker is not connected"),
                }
            };
            match done {
                Ok(up) => {
                    tracing::info!("publisher reconnected");
                    return Some(up);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "publisher cannot connect, retrying");
                    self.down.send_replace(Some(error.to_string()));
                }
            }
        }
    }

    async fn serve(&mut self, up: &mut Up) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        let mut declare_again = false;
        loop {
            tokio::select! {
                taken = self.commands.recv_many(&mut batch, BATCH) => if taken == 0 { return End::Unwanted },
                () = sleep(LOOK_EVERY) => {}
            }
            if !up.is_alive() {
                batch.drain(..).for_each(|command| refuse(command, "the connection is closed"));
                return End::Lost("the connection is closed".to_owned());
            }
            if up.is_blocked() {
                batch
                    .drain(..)
                    .for_each(|command| refuse(command, "the broker is not accepting messages"));
                continue;
            }
            if up.channel.is_none()
                && let Err(error) = up.renew(declare_again).await
            {
                batch.drain(..).for_each(|command| refuse(command, "cannot open a channel"));
                if up.is_blocked() {
                    continue;
                }
                return End::Lost(error.to_string());
            }
            declare_again = false;
            let Some(channel) = &up.channel else { continue };
            let verdict = send(channel, batch.drain(..)).await;
            if verdict != ChannelState::Clean {
                declare_again = verdict == ChannelState::ChannelFailed;
                up.throw_channel_away();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_publisher_whose_owner_is_gone_is_dead() {
        let (commands, taken) = mpsc::channel(1);
        let publisher = Publisher { commands, down: watch::channel(None).1 };
        assert!(!publisher.is_dead());
        drop(taken);
        assert!(publisher.is_dead());
    }
}
