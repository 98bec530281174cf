//! When the machine or a shared engine stood still. The product gives an engine two seconds, so a pause of that length
//! is an outage to it, and a test that did not order one then sees refusals that it cannot expect.

use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

/// A pause from this length on counts. It is below every time limit of the product for an engine.
const COUNTS_FROM: Duration = Duration::from_millis(800);
/// A look at the machine is a sleep: it takes longer by as much as no thread ran here. One follows the other.
const A_SLEEP: Duration = Duration::from_millis(50);
/// Between two looks at an engine.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// Everything catches up at once after a pause: what begins within this time of its end is still slowed down by it.
const AFTERMATH: Duration = Duration::from_secs(5);
/// A look ends by then: the longest pause that is measured.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// How often a test is run that fails each time.
const RUNS: usize = 3;

/// What one watcher saw.
#[derive(Debug)]
struct Watched {
    what: &'static str,
    pauses: Vec<(Instant, Instant)>,
    /// The look that has not ended yet.
    looking_since: Option<Instant>,
}

impl Watched {
    /// The pauses, and the one that its watcher has not seen the end of.
    fn so_far(&self) -> Vec<(Instant, Instant)> {
        let now = self.looking_since.map(|since| (since, Instant::now()));
        let pauses = self.pauses.iter().copied().chain(now);
        pauses.filter(|(from, to)| *to - *from >= COUNTS_FROM).collect()
    }
}

static WATCHED: LazyLock<Mutex<Vec<Watched>>> = LazyLock::new(Mutex::default);

/// Whether a test passed.
pub trait Outcome: Debug {
    fn passed(&self) -> bool;
}

impl Outcome for () {
    fn passed(&self) -> bool {
        true
    }
}

impl<E: Debug> Outcome for Result<(), E> {
    fn passed(&self) -> bool {
        self.is_ok()
    }
}

/// Runs a test, and runs it again from its start if it failed and the machine or a shared engine stood still meanwhile.
/// A failure on a machine that did not stand still is final, and so is the third.
pub async fn steady<T: Outcome>(mut test: impl AsyncFnMut() -> T) -> T {
    watch_the_machine();
    for run in 1.. {
        let begun = Instant::now();
        let outcome = AssertUnwindSafe(Box::pin(test())).catch_unwind().await;
        if outcome.as_ref().is_ok_and(Outcome::passed) || !is_run_again(run, begun) {
            return outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
    unreachable!("the last run returns")
}

/// Whether what failed now, in its run of this number, is run again.
fn is_run_again(run: usize, begun: Instant) -> bool {
    let Some((what, pause)) = longest_since(begun).filter(|_| run < RUNS) else { return false };
    println!("{what} stood still for {pause:?} beside this: it is run again");
    true
}

/// Like [`steady`], for a command that failed with a text.
pub(crate) fn steady_command<T>(
    mut command: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    for run in 1.. {
        let begun = Instant::now();
        let end = command();
        if end.is_ok() || !is_run_again(run, begun) {
            return end;
        }
    }
    unreachable!("the last run returns")
}

/// How long the machine stood still since then: what a measured time may be longer by.
pub fn lost_since(begun: Instant) -> Duration {
    watch_the_machine();
    with(|all| {
        let machine = all.iter().filter(|one| one.what == MACHINE);
        machine.map(|one| lost_of(&one.so_far(), begun)).sum()
    })
}

fn lost_of(pauses: &[(Instant, Instant)], begun: Instant) -> Duration {
    let after = pauses.iter().filter(|(_, to)| *to > begun);
    after.map(|(from, to)| *to - (*from).max(begun)).sum()
}

/// The longest pause that was not over at `begun`, with its aftermath, and whose it was.
fn longest_since(begun: Instant) -> Option<(&'static str, Duration)> {
    with(|all| {
        let of = |one: &Watched| {
            let pauses = one.so_far().into_iter().filter(|(_, to)| *to + AFTERMATH > begun);
            Some((one.what, pauses.map(|(from, to)| to - from).max()?))
        };
        all.iter().filter_map(of).max_by_key(|it| it.1)
    })
}

const MACHINE: &str = "the machine";

fn watch_the_machine() {
    static WATCHES: Once = Once::new();
    WATCHES.call_once(|| {
        watch(MACHINE, Duration::ZERO, || thread::sleep(A_SLEEP));
    });
}

/// Watches a server on this machine: it answers something to `hello` at once when it is well.
pub(crate) fn watch_server(what: &'static str, port: u16, hello: &'static [u8]) {
    watch(what, BETWEEN_LOOKS, move || {
        let talk = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(LOOK_LIMIT))?;
            stream.write_all(hello)?;
            stream.read(&mut [0; 64])
        };
        // A server that the test has stopped refuses at once: that is no pause.
        let _: std::io::Result<usize> = talk();
    });
}

fn watch(what: &'static str, every: Duration, mut look: impl FnMut() + Send + 'static) {
    let place = with(|all| {
        all.push(Watched { what, pauses: Vec::new(), looking_since: None });
        all.len() - 1
    });
    thread::spawn(move || {
        loop {
            let since = Instant::now();
            with(|all| all[place].looking_since = Some(since));
            look();
            let to = Instant::now();
            with(|all| {
                all[place].looking_since = None;
                if to - since >= COUNTS_FROM {
                    all[place].pauses.push((since, to));
                }
            });
            thread::sleep(every);
        }
    });
}

fn with<T>(look: impl FnOnce(&mut Vec<Watched>) -> T) -> T {
    look(&mut WATCHED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{PATIENCE, eventually};

    #[tokio::test]
    async fn a_failure_beside_no_pause_is_final() {
        let (begun, mut runs) = (Instant::now(), 0);
        let failed = AssertUnwindSafe(steady(async || {
            runs += 1;
            assert!(runs > RUNS, "as the test requires");
        }))
        .catch_unwind()
        .await;
        assert!(failed.is_err());
        assert!(runs == 1 || longest_since(begun).is_some());
    }

    #[tokio::test]
    async fn a_failure_beside_a_pause_is_not_final() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        watch_server("a silent server", silent.local_addr().unwrap().port(), b"?");
        let mut runs = 0;
        let passed = steady(async || {
            let begun = Instant::now();
            runs += 1;
            if runs == 1 {
                let counts = async || longest_since(begun).map(|_| ());
                eventually("the pause to count", PATIENCE, counts).await;
                return Err("as the test requires");
            }
            Ok(())
        })
        .await;
        assert_eq!((passed, runs), (Ok(()), 2));
    }

    #[test]
    fn what_was_lost_counts_from_the_start_of_the_measurement() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let pauses = [(now, now + second), (now + 2 * second, now + 5 * second)];
        assert_eq!(lost_of(&pauses, now), 4 * second);
        assert_eq!(lost_of(&pauses, now + 3 * second), 2 * second);
        assert_eq!(lost_of(&pauses, now + 5 * second), Duration::ZERO);
    }
}
