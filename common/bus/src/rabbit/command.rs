//! Orders to the publishing task, and which side acted first: the task or the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::anyhow;
use bytes::Bytes;
use lapin::types::FieldTable;
use tokio::sync::oneshot;

use super::link::away;
use crate::PublishError;
use domain::engine_error::EngineError;

/// A message to publish.
pub(super) struct Outgoing {
    pub exchange: &'static str,
    pub key: String,
    pub kind: String,
    pub id: String,
    pub headers: FieldTable,
    pub bytes: Bytes,
    pub mandatory: bool,
}

pub(super) enum Command {
    Publish(PublishJob),
    Ping(oneshot::Sender<Result<(), EngineError>>),
}

pub(super) struct PublishJob {
    pub outgoing: Outgoing,
    pub progress: Arc<Progress>,
    pub reply: oneshot::Sender<Result<(), PublishError>>,
}

/// Which came first: the task sent the message, or the caller gave up. It decides whether a timeout means "not taken"
/// or "may have been taken".
pub(super) struct Progress(AtomicU8);

impl Progress {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Self::WAITING))
    }

    /// Withdraws the message. Returns false if it was already sent.
    pub(super) fn withdraw(&self) -> bool {
        self.settle_as(Self::WITHDRAWN)
    }

    fn settle_as(&self, state: u8) -> bool {
        let ordering = Ordering::AcqRel;
        self.0.compare_exchange(Self::WAITING, state, ordering, Ordering::Acquire).is_ok()
    }
}

impl PublishJob {
    /// Claims the message for sending, after which it cannot be withdrawn. Returns false if the caller is gone.
    pub(super) fn claim(&self) -> bool {
        self.progress.settle_as(Progress::SENT)
    }
}

/// Withdraws an unsent message when its caller drops the call.
pub(super) struct CancelOnDrop(pub Arc<Progress>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// Answers that the order was not sent.
pub(super) fn refuse(command: Command, why: &'static str) {
    // A failed reply means that the caller is gone.
    match command {
        Command::Publish(job) => drop(job.reply.send(Err(PublishError::Away(anyhow!(why))))),
        Command::Ping(reply) => drop(reply.send(Err(away(why)))),
    }
}
