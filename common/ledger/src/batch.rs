//! Group commit: operations of one kind that arrive during a write are written together in the next statement.
//!
//! A commit costs PostgreSQL one wait for its disk, whether it holds one row or 64. If no write is in progress, an
//! operation is written at once, so a lone message does not wait, and there is no timer.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;
use tokio::sync::oneshot;
use uuid::Uuid;

use domain::engine_error::EngineError;
use sql::{POSTGRES, Pool};

/// The most rows of one statement: as many as a worker has messages in hand.
const MOST: usize = 64;

/// An operation that can be written together with others of its kind.
pub(super) trait Act: Clone + Send + Sync + 'static {
    type Answer: Send + 'static;
    /// Whether only its caller needs it: it is skipped if the caller has gone away.
    const FOR_ITS_CALLER: bool;

    /// Two operations with one key are never batched together: the second must see the first one written.
    fn key(&self) -> Uuid;

    /// Writes all in one statement; the answers are in the order of the operations. `None`: retry this one on its own.
    /// A single operation always gets an answer.
    fn write(
        db: &Pool,
        acts: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, EngineError>> + Send;
}

/// One value of each operation, as a column of the statement.
pub(super) fn column<'a, A, T>(
    acts: &'a [A],
    value: impl Fn(&'a A) -> Option<T>,
) -> Vec<Option<T>> {
    acts.iter().map(value).collect()
}

type Reply<A> = oneshot::Sender<Result<<A as Act>::Answer, EngineError>>;

/// The waiting operations of one kind. Clones share them.
pub(super) struct Batch<A: Act>(Arc<Mutex<Waiting<A>>>);

struct Waiting<A: Act> {
    acts: VecDeque<(A, Reply<A>)>,
    /// Whether a task is writing; it looks for more when it is done.
    writing: bool,
}

impl<A: Act> Batch<A> {
    /// Writes the operation, together with those that wait. Takes at most the statement in progress and its own.
    pub(super) async fn write(&self, db: &Pool, act: A) -> Result<A::Answer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            waiting.acts.push_back((act, reply));
            !std::mem::replace(&mut waiting.writing, true)
        };
        if is_first {
            // A separate task: a caller that goes away must not cancel the others' write.
            tokio::spawn(write_all(db.clone(), self.clone()));
        }
        let broken_off = |_| EngineError::away(POSTGRES, anyhow!("the write was interrupted"));
        answer.await.map_err(broken_off)?
    }

    /// The next operations to write together. Empty: none waits, and the next caller starts a task.
    fn next(&self) -> Vec<(A, Reply<A>)> {
        let mut waiting = self.waiting();
        let (mut together, mut keys) = (Vec::new(), HashSet::new());
        let mut held_over = VecDeque::new();
        while let Some((act, reply)) = waiting.acts.pop_front() {
            if A::FOR_ITS_CALLER && reply.is_closed() {
                continue;
            }
            if together.len() < MOST && keys.insert(act.key()) {
                together.push((act, reply));
            } else {
                held_over.push_back((act, reply));
            }
        }
        waiting.acts = held_over;
        waiting.writing = !together.is_empty();
        together
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_all<A: Act>(db: Pool, batch: Batch<A>) {
    let mut writer = Writer { batch: &batch, done: false };
    loop {
        let together = batch.next();
        if together.is_empty() {
            writer.done = true;
            return;
        }
        let (acts, replies): (Vec<A>, Vec<Reply<A>>) = together.into_iter().unzip();
        let answers = match A::write(&db, &acts).await {
            Ok(answers) => answers.into_iter().map(|answer| answer.map(Ok)).collect(),
            Err(error) if error.is_away() || acts.len() == 1 => repeated(&error, acts.len()),
            // One of them is bad, and must not harm the others (P11).
            Err(_) => acts.iter().map(|_| None).collect(),
        };
        let mut away = None;
        for ((act, reply), answer) in acts.into_iter().zip(replies).zip(answers) {
            let answer = match (answer, &away) {
                (Some(answer), _) => answer,
                // Each would wait for its own timeout, and delay all others.
                (None, Some(error)) => Err(again(error)),
                (None, None) => alone(&db, act).await,
            };
            if let Err(error) = &answer
                && error.is_away()
            {
                away = Some(again(error));
            }
            // The caller may have gone away; what was written stays written.
            drop(reply.send(answer));
        }
    }
}

async fn alone<A: Act>(db: &Pool, act: A) -> Result<A::Answer, EngineError> {
    let answers = A::write(db, &[act]).await?;
    let answer = answers.into_iter().flatten().next();
    answer.ok_or_else(|| EngineError::broken(POSTGRES, anyhow!("an operation without an answer")))
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

impl<A: Act> Default for Batch<A> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Waiting { acts: VecDeque::new(), writing: false })))
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
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Records a number, once it has a permit.
    #[derive(Clone)]
    struct Note {
        number: u128,
        desk: Arc<Desk>,
    }

    struct Desk {
        leave: Semaphore,
        written: Mutex<Vec<Vec<u128>>>,
        breaks: AtomicBool,
        /// The errors of the next writes.
        errors: Mutex<VecDeque<EngineError>>,
    }

    impl Act for Note {
        type Answer = u128;
        const FOR_ITS_CALLER: bool = true;

        fn key(&self) -> Uuid {
            Uuid::from_u128(self.number)
        }

        async fn write(_: &Pool, acts: &[Self]) -> Result<Vec<Option<u128>>, EngineError> {
            let desk = &acts[0].desk;
            desk.leave.acquire().await.unwrap().forget();
            assert!(!desk.breaks.load(Ordering::SeqCst), "the writer panics");
            let numbers: Vec<u128> = acts.iter().map(|note| note.number).collect();
            desk.written.lock().unwrap().push(numbers.clone());
            if let Some(error) = desk.errors.lock().unwrap().pop_front() {
                return Err(error);
            }
            Ok(numbers.into_iter().map(Some).collect())
        }
    }

    struct Bench {
        db: Pool,
        batch: Batch<Note>,
        desk: Arc<Desk>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let db = Pool::sqlite(folder.path()).await.unwrap();
            let desk = Desk {
                leave: Semaphore::new(0),
                written: Mutex::default(),
                breaks: AtomicBool::new(false),
                errors: Mutex::default(),
            };
            Self { db, batch: Batch::default(), desk: Arc::new(desk), _folder: folder }
        }

        /// Submits a note, and returns when it waits.
        async fn hand_in(&self, number: u128) -> tokio::task::JoinHandle<Option<u128>> {
            let (db, batch) = (self.db.clone(), self.batch.clone());
            let note = Note { number, desk: Arc::clone(&self.desk) };
            let caller = tokio::spawn(async move { batch.write(&db, note).await.ok() });
            tokio::task::yield_now().await;
            caller
        }

        fn written(&self) -> Vec<usize> {
            self.desk.written.lock().unwrap().iter().map(Vec::len).collect()
        }
    }

    #[tokio::test]
    async fn calls_during_a_write_join_the_next_in_arrival_order() {
        let bench = Bench::new().await;
        let mut callers = vec![bench.hand_in(0).await];
        for number in 1..=100 {
            callers.push(bench.hand_in(number).await);
        }
        bench.desk.leave.add_permits(100);
        for (number, caller) in callers.into_iter().enumerate() {
            assert_eq!(caller.await.unwrap(), u128::try_from(number).ok());
        }
        assert_eq!(bench.written(), [1, 64, 36]);
        // No task is writing any more: the next one does not wait.
        assert_eq!(bench.hand_in(7).await.await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn one_key_is_never_twice_in_a_batch_and_abandoned_calls_are_skipped() {
        let bench = Bench::new().await;
        let mut callers = vec![bench.hand_in(0).await];
        for number in [1, 2, 1, 3, 1] {
            callers.push(bench.hand_in(number).await);
        }
        let gone = bench.hand_in(4).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        bench.desk.leave.add_permits(100);
        for caller in callers {
            assert!(caller.await.unwrap().is_some());
        }
        let written = bench.desk.written.lock().unwrap().clone();
        assert_eq!(written, [vec![0], vec![1, 2, 3], vec![1], vec![1]]);
    }

    #[tokio::test]
    async fn p12_retries_of_a_bad_batch_stop_once_the_database_is_away() {
        let bench = Bench::new().await;
        let mut callers = vec![bench.hand_in(0).await];
        for number in 1..=5 {
            callers.push(bench.hand_in(number).await);
        }
        bench.desk.leave.add_permits(1);
        assert_eq!(callers.remove(0).await.unwrap(), Some(0));
        let bad = || EngineError::broken("a database", anyhow!("a bad row"));
        let away = EngineError::away("a database", anyhow!("no answer"));
        bench.desk.errors.lock().unwrap().extend([bad(), bad(), away]);
        bench.desk.leave.add_permits(100);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), None);
        }
        assert_eq!(bench.written(), [1, 5, 1, 1], "together, then the first and the second alone");
    }

    #[tokio::test]
    async fn p12_a_panicking_write_leaves_no_caller_waiting() {
        let bench = Bench::new().await;
        bench.desk.breaks.store(true, Ordering::SeqCst);
        let callers = [bench.hand_in(0).await, bench.hand_in(1).await, bench.hand_in(2).await];
        bench.desk.leave.add_permits(100);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), None);
        }
        bench.desk.breaks.store(false, Ordering::SeqCst);
        assert_eq!(bench.hand_in(3).await.await.unwrap(), Some(3));
    }
}
