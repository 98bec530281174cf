use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, watch};

use super::*;
use crate::error;

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
    /// Rows that another transaction holds.
    locked: watch::Sender<HashSet<u128>>,
}

impl Act for Note {
    type Key = u128;
    type Answer = u128;
    const NAME: &'static str = "note";
    const FOR_ITS_CALLER: bool = true;
    const PATIENCE: Option<Duration> = Some(Duration::from_mins(1));

    fn key(&self) -> u128 {
        self.number
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
        let all_free = |locked: &HashSet<u128>| numbers.iter().all(|it| !locked.contains(it));
        desk.locked.subscribe().wait_for(all_free).await.unwrap();
        Ok(numbers.into_iter().map(Some).collect())
    }
}

struct Bench {
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
            locked: watch::Sender::default(),
        };
        Self { batch: Batch::new(&db), desk: Arc::new(desk), _folder: folder }
    }

    /// Submits a note, and returns when it waits.
    async fn hand_in(&self, number: u128) -> tokio::task::JoinHandle<Option<u128>> {
        let batch = self.batch.clone();
        let note = Note { number, desk: Arc::clone(&self.desk) };
        let caller = tokio::spawn(async move { batch.write(note).await.ok() });
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
    for number in 1..=40 {
        callers.push(bench.hand_in(number).await);
    }
    bench.desk.leave.add_permits(1);
    assert_eq!(callers.remove(0).await.unwrap(), Some(0));
    let bad = EngineError::broken("a database", anyhow!("a bad row"));
    let away = || EngineError::away("a database", anyhow!("no answer"));
    let errors = [bad].into_iter().chain(std::iter::repeat_with(away).take(40));
    bench.desk.errors.lock().unwrap().extend(errors);
    bench.desk.leave.add_permits(100);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), None);
    }
    let written = bench.written();
    assert_eq!(written[..2], [1, 40], "alone, then together");
    assert!((1..=ALONE_AT_ONCE).contains(&written[2..].len()), "{written:?}");
}

#[tokio::test]
async fn p12_a_batch_with_a_locked_row_is_written_one_by_one_beside_the_next_batches() {
    let bench = Bench::new().await;
    let first = bench.hand_in(0).await;
    let neighbours = [bench.hand_in(3).await, bench.hand_in(2).await];
    let locked = bench.hand_in(1).await;
    bench.desk.errors.lock().unwrap().extend([
        // Not the first one's: it is written alone, so its error is its answer.
        error::contended(),
        error::contended(),
    ]);
    bench.desk.locked.send_modify(|locked| _ = locked.insert(1));
    bench.desk.leave.add_permits(100);
    // Alone on the batch's connection, it did not wait long for its lock; then on a pool's connection it does.
    assert_eq!(first.await.unwrap(), Some(0));
    for (caller, number) in neighbours.into_iter().zip([3, 2]) {
        assert_eq!(caller.await.unwrap(), Some(number));
    }
    // The locked one is still waiting, and so is another with its key; others are written together.
    let again = bench.hand_in(1).await;
    assert_eq!(bench.hand_in(7).await.await.unwrap(), Some(7));
    assert!(!locked.is_finished() && !again.is_finished());
    bench.desk.locked.send_modify(HashSet::clear);
    assert_eq!(locked.await.unwrap(), Some(1));
    assert_eq!(again.await.unwrap(), Some(1));
    let written = bench.desk.written.lock().unwrap().clone();
    assert!(written.contains(&vec![1, 2, 3]), "in the order of keys: {written:?}");
    assert_eq!(written.iter().filter(|batch| **batch == [0]).count(), 2);
}

#[tokio::test]
async fn p12_a_caller_waits_for_its_patience_and_is_skipped_then() {
    let bench = Bench::new().await;
    tokio::time::pause();
    let first = bench.hand_in(0).await;
    let second = bench.hand_in(1).await;
    assert_eq!(first.await.unwrap(), None);
    assert_eq!(second.await.unwrap(), None);
    bench.desk.leave.add_permits(100);
    assert_eq!(bench.hand_in(2).await.await.unwrap(), Some(2));
    let written = bench.desk.written.lock().unwrap().clone();
    assert_eq!(written, [vec![0], vec![2]], "the second was not started, the first was");
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

/// A note for which nobody hurries.
#[derive(Clone)]
struct Slow<const ALONE: bool>(Note);

impl<const ALONE: bool> Act for Slow<ALONE> {
    const NAME: &'static str = "slow";

    type Key = u128;
    type Answer = u128;
    const FOR_ITS_CALLER: bool = true;
    const LINGER: Duration = Duration::from_millis(10);
    const LINGERS_ALONE: bool = ALONE;
    const ENOUGH: usize = 4;

    fn key(&self) -> u128 {
        self.0.number
    }

    async fn write(db: &Pool, acts: &[Self]) -> Result<Vec<Option<u128>>, EngineError> {
        let notes: Vec<Note> = acts.iter().map(|act| act.0.clone()).collect();
        Note::write(db, &notes).await
    }
}

/// The timer counts whole milliseconds.
const LINGERED: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(11);

/// How long a write of these took, all handed in at once.
async fn took<const ALONE: bool>(
    bench: &Bench,
    batch: &Batch<Slow<ALONE>>,
    numbers: std::ops::Range<u128>,
) -> Duration {
    let began = tokio::time::Instant::now();
    let notes = numbers.map(|number| Slow(Note { number, desk: Arc::clone(&bench.desk) }));
    let written = futures::future::join_all(notes.map(|note| batch.write(note))).await;
    assert!(written.iter().all(Result::is_ok));
    began.elapsed()
}

#[tokio::test]
async fn operations_are_collected_only_after_a_write_of_several() {
    let bench = Bench::new().await;
    tokio::time::pause();
    bench.desk.leave.add_permits(100);
    let batch = Batch::<Slow<false>>::new(&bench.batch.0.db);
    for lone in 0..3 {
        assert_eq!(took(&bench, &batch, lone..lone + 1).await, Duration::ZERO);
    }
    assert_eq!(took(&bench, &batch, 10..12).await, Duration::ZERO);
    assert_eq!(bench.written(), [1, 1, 1, 2]);
    assert!(LINGERED.contains(&took(&bench, &batch, 20..22).await));
    assert_eq!(took(&bench, &batch, 30..34).await, Duration::ZERO, "enough");
    assert!(LINGERED.contains(&took(&bench, &batch, 40..41).await));
    assert_eq!(took(&bench, &batch, 41..42).await, Duration::ZERO, "the last one was alone");
}

#[tokio::test]
async fn operations_that_nobody_waits_for_are_collected_until_there_are_enough() {
    let bench = Bench::new().await;
    tokio::time::pause();
    bench.desk.leave.add_permits(100);
    let batch = Batch::<Slow<true>>::new(&bench.batch.0.db);
    assert!(LINGERED.contains(&took(&bench, &batch, 0..1).await));
    let (first, late) = tokio::join!(took(&bench, &batch, 1..3), async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        took(&bench, &batch, 3..5).await
    });
    assert!(first < *LINGERED.start() && late.is_zero(), "{first:?} {late:?}");
    assert_eq!(bench.written(), [1, 4]);
}
