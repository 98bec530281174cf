//! Group commit: operations of one kind that arrive during a write are written together in the next statement.
//!
//! A commit costs PostgreSQL one wait for its disk, whether it holds one row or 64. If no write is in progress, an
//! operation is written at once, so a lone one does not wait; only those that ask for it are collected for a moment
//! ([`Act::LINGER`]).
//!
//! A batch waits for a locked row for [`LOCK_WAIT`] only. If it cannot be written together, for a lock or for a bad
//! operation in it, each is written on its own, several at a time: none fails because of another (P11, P12).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use futures::stream::{self, StreamExt as _};
use tokio::sync::{Notify, oneshot};

use super::Pool;
use super::error::is_contended;
use domain::engine_error::EngineError;

/// The most operations of one statement: as many as a worker has messages in hand.
const MOST: usize = 64;
/// How long a batch waits for a locked row: its other operations wait with it.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(250);
/// How many operations of a failed batch are written at once, each on its own: half the connections of a pool, as one
/// that waits for a lock keeps its connection.
const ALONE_AT_ONCE: usize = 8;

/// An operation that can be written together with others of its kind.
pub trait Act: Clone + Send + Sync + 'static {
    type Answer: Send + 'static;
    /// What a caller's wait for its operation is called in spans.
    const NAME: &'static str;
    /// What an operation changes.
    type Key: Clone + Eq + Hash + Ord + Send + 'static;
    /// Whether only its caller needs it: it is skipped if the caller has gone away.
    const FOR_ITS_CALLER: bool;
    /// For this long at most, operations are collected before a write, if the last one wrote several: then more are on
    /// their way.
    const LINGER: Duration = Duration::ZERO;
    /// Whether they are also collected if the last write was of one: nobody waits for it.
    const LINGERS_ALONE: bool = false;
    /// So many operations are written without collecting more.
    const ENOUGH: usize = 24;
    /// How long a caller waits for its answer; then an operation that has not been started is skipped, as its caller
    /// has gone away. `None`: until there is one.
    const PATIENCE: Option<Duration> = None;

    /// Two operations with one key are never batched together: the second must see the first one written.
    fn key(&self) -> Self::Key;

    /// Writes all in one statement or transaction. They come in the order of their keys, so that two writers never wait
    /// for each other; the answers are in the same order. `None`: retry this one on its own. A single operation always
    /// gets an answer.
    fn write(
        db: &Pool,
        acts: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, EngineError>> + Send;
}

/// One value of each operation, as a column of the statement.
pub fn column<'a, A, T>(acts: &'a [A], value: impl Fn(&'a A) -> Option<T>) -> Vec<Option<T>> {
    acts.iter().map(value).collect()
}

type Reply<A> = oneshot::Sender<Result<<A as Act>::Answer, EngineError>>;

/// The waiting operations of one kind. Clones share them.
pub struct Batch<A: Act>(Arc<Shared<A>>);

struct Shared<A: Act> {
    db: Pool,
    /// A connection that writes nothing else: its server process keeps the statement's plan and pages warm.
    own: OnceLock<Pool>,
    waiting: Mutex<Waiting<A>>,
    /// Rings when [`Act::ENOUGH`] wait.
    enough: Notify,
}

struct Waiting<A: Act> {
    acts: VecDeque<(A, Reply<A>)>,
    /// Whether a task is writing; it looks for more when it is done.
    writing: bool,
    /// How many the last write was of.
    last: usize,
    /// How many operations with a key are being written on their own.
    alone: HashMap<A::Key, usize>,
}

impl<A: Act> Batch<A> {
    pub fn new(db: &Pool) -> Self {
        let (acts, alone) = (VecDeque::new(), HashMap::new());
        let waiting = Mutex::new(Waiting { acts, writing: false, last: 0, alone });
        let (own, enough) = (OnceLock::new(), Notify::new());
        Self(Arc::new(Shared { db: db.clone(), own, waiting, enough }))
    }

    /// Writes the operation, together with those that wait. Takes at most the statement in progress and its own.
    ///
    /// # Errors
    /// [`EngineError::Away`] also if it took longer than [`Act::PATIENCE`]; it may still be written if it was started.
    pub async fn write(&self, act: A) -> Result<A::Answer, EngineError> {
        traces::engine(self.0.db.system(), A::NAME, self.written(act)).await
    }

    async fn written(&self, act: A) -> Result<A::Answer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            waiting.acts.push_back((act, reply));
            if waiting.acts.len() == A::ENOUGH {
                self.0.enough.notify_one();
            }
            !std::mem::replace(&mut waiting.writing, true)
        };
        if is_first {
            // A separate task: a caller that goes away must not cancel the others' write.
            tokio::spawn(self.clone().write_all());
        }
        let name = self.0.db.name();
        let answer = match A::PATIENCE {
            None => answer.await,
            Some(patience) => tokio::time::timeout(patience, answer)
                .await
                .map_err(|_| EngineError::away(name, anyhow!("not written within {patience:?}")))?,
        };
        answer.map_err(|_| EngineError::away(name, anyhow!("the write was interrupted")))?
    }

    async fn write_all(self) {
        let mut writer = Writer { batch: &self, done: false };
        loop {
            self.collect().await;
            let together = self.next();
            if together.is_empty() {
                writer.done = true;
                return;
            }
            self.write_together(together).await;
        }
    }

    async fn collect(&self) {
        if A::LINGER.is_zero() || !(A::LINGERS_ALONE || self.waiting().last > 1) {
            return;
        }
        let enough = async {
            while self.waiting().acts.len() < A::ENOUGH {
                self.0.enough.notified().await;
            }
        };
        drop(tokio::time::timeout(A::LINGER, enough).await);
    }

    /// The next operations to write together, in the order of their keys. Empty: none waits, and the next caller starts
    /// a task.
    fn next(&self) -> Vec<(A, Reply<A>)> {
        let mut waiting = self.waiting();
        let (mut together, mut keys) = (Vec::new(), HashSet::new());
        let (mut held_over, mut contended) = (VecDeque::new(), Vec::new());
        while let Some((act, reply)) = waiting.acts.pop_front() {
            if A::FOR_ITS_CALLER && reply.is_closed() {
                continue;
            }
            let key = act.key();
            if waiting.alone.contains_key(&key) {
                contended.push((act, reply));
            } else if together.len() < MOST && keys.insert(key) {
                together.push((act, reply));
            } else {
                held_over.push_back((act, reply));
            }
        }
        waiting.acts = held_over;
        waiting.writing = !together.is_empty();
        if waiting.writing {
            waiting.last = together.len();
        }
        drop(waiting);
        if !contended.is_empty() {
            self.write_alone(contended);
        }
        together.sort_by_key(|(act, _)| act.key());
        together
    }

    async fn write_together(&self, together: Vec<(A, Reply<A>)>) {
        let (acts, replies): (Vec<A>, Vec<Reply<A>>) = together.into_iter().unzip();
        let own = self.0.own.get_or_init(|| self.0.db.of_one_connection());
        let answers = match A::write(own, &acts).await {
            Ok(answers) => answers.into_iter().map(|answer| answer.map(Ok)).collect(),
            // Others must not wait for a lock that one of them waits for.
            Err(error) if is_contended(&error) => none_of(&acts),
            Err(error) if error.is_away() || acts.len() == 1 => repeated(&error, acts.len()),
            // One of them is bad, and must not harm the others.
            Err(_) => none_of(&acts),
        };
        let mut rest = Vec::new();
        for ((act, reply), answer) in acts.into_iter().zip(replies).zip(answers) {
            match answer {
                // The caller may have gone away; what was written stays written.
                Some(answer) => drop(reply.send(answer)),
                None => rest.push((act, reply)),
            }
        }
        if !rest.is_empty() {
            self.write_alone(rest);
        }
    }

    /// Writes each on its own, several at a time, beside the next batches. Batches leave out their keys meanwhile.
    fn write_alone(&self, rest: Vec<(A, Reply<A>)>) {
        let mut waiting = self.waiting();
        for (act, _) in &rest {
            *waiting.alone.entry(act.key()).or_default() += 1;
        }
        drop(waiting);
        let each: Vec<_> = rest
            .into_iter()
            .map(|(act, reply)| (Alone { batch: self.clone(), key: act.key() }, act, reply))
            .collect();
        tokio::spawn(async move {
            // Each would wait for its own timeout, and delay all others.
            let away = Mutex::new(None);
            stream::iter(each)
                .for_each_concurrent(ALONE_AT_ONCE, async |(alone, act, reply)| {
                    let known =
                        away.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(again);
                    let answer = match known {
                        Some(error) => Err(error),
                        None => one(&alone.batch.0.db, act).await,
                    };
                    if let Err(error) = &answer
                        && error.is_away()
                        && !is_contended(error)
                    {
                        *away.lock().unwrap_or_else(PoisonError::into_inner) = Some(again(error));
                    }
                    drop(reply.send(answer));
                })
                .await;
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<A>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one<A: Act>(db: &Pool, act: A) -> Result<A::Answer, EngineError> {
    let answers = A::write(db, &[act]).await?;
    let answer = answers.into_iter().flatten().next();
    answer.ok_or_else(|| EngineError::broken(db.name(), anyhow!("an operation without an answer")))
}

fn none_of<A, T>(acts: &[A]) -> Vec<Option<T>> {
    acts.iter().map(|_| None).collect()
}

/// The same error for each.
fn repeated<T>(error: &EngineError, times: usize) -> Vec<Option<Result<T, EngineError>>> {
    std::iter::repeat_with(|| Some(Err(again(error)))).take(times).collect()
}

fn again(error: &EngineError) -> EngineError {
    match error {
        EngineError::Away { engine, cause } => EngineError::away(engine, anyhow!("{cause:#}")),
        EngineError::Broken { engine, cause } => EngineError::broken(engine, anyhow!("{cause:#}")),
    }
}

/// Ensures that no caller waits forever if the task ends early, by a panic or with its runtime.
struct Writer<'a, A: Act> {
    batch: &'a Batch<A>,
    done: bool,
}

impl<A: Act> Drop for Writer<'_, A> {
    fn drop(&mut self) {
        if !self.done {
            let mut waiting = self.batch.waiting();
            waiting.acts.clear();
            waiting.writing = false;
        }
    }
}

/// An operation that is written on its own; ends with it, also by a panic.
struct Alone<A: Act> {
    batch: Batch<A>,
    key: A::Key,
}

impl<A: Act> Drop for Alone<A> {
    fn drop(&mut self) {
        let mut waiting = self.batch.waiting();
        if let Some(count) = waiting.alone.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.alone.remove(&self.key);
            }
        }
    }
}

impl<A: Act> Clone for Batch<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Act> fmt::Debug for Batch<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
