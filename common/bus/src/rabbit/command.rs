//! What the publishing task is asked to do, and who of the two gave up first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::anyhow;
use bytes::Bytes;
use lapin::types::FieldTable;
use tokio::sync::oneshot;

use super::link::ENGINE;
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

/// Who of the two came first: the task that sends or the caller that gives up. It decides whether a time-out is
/// "surely not taken" or "may have been taken".
pub(super) struct Progress(AtomicU8);

impl Progress {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Self::WAITING))
    }

    /// The caller gives up. False when it was sent already.
    pub(super) fn withdraw(&self) -> bool {
        self.settle_as(Self::WITHDRAWN)
    }

    fn settle_as(&self, state: u8) -> bool {
        let command = Ordering::AcqRel;
        self.0.compare_exchange(Self::WAITING, state, command, Ordering::Acquire).is_ok()
    }
}

impl PublishJob {
    /// Makes it the sender's: no longer to be withdrawn. False when its caller is gone.
    pub(super) fn claim(&self) -> bool {
        self.progress.settle_as(Progress::SENT)
    }
}

/// A caller that goes away takes back what was not sent yet.
pub(super) struct CancelOnDrop(pub Arc<Progress>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// Answers that it was surely not sent.
pub(super) fn refuse(command: Command, why: &'static str) {
    // A caller that is gone wants no answer, here and below.
    match command {
        Command::Publish(job) => drop(job.reply.send(Err(PublishError::Away(anyhow!(why))))),
        Command::Ping(reply) => drop(reply.send(Err(EngineError::away(ENGINE, anyhow!(why))))),
    }
}
