//! Hashes and checks passwords: Argon2id behind a bounded pool, with the same work for every account.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
};
use domain::rng;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::django;
use crate::rules::{self, Known, Weakness};
use crate::turns::{Requester, Turns};

/// OWASP's second choice for Argon2id, and the contract's (section 9): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Callers above this number are refused: 64 hashes take about a second on two cores.
const WAITING_MAX: usize = 64;
/// The longest wait: an answer must come within P12's 2.5 s.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The hash to compare with when there is no password, so that a phone without one takes as long as one with (P6). It
/// was made from random bytes that were not kept; a test checks that its cost is the one above.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$3EQhkLCtYVz/oXVOLj6ykQ$brQtzE2QmD69w+BHgyhGe4LaPH2Dmdublca205taFJQ";

/// A password exactly as received: compared as is (contract, ruling 16), never printed, wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The result of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    Right,
    /// Right, but stored in a form that should now be replaced by [`Passwords::hash`].
    RightButOld,
    Wrong,
}

/// Why a password was not checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The pool's queue is full, or the requester's share of it is, or its turn did not come in time.
    #[error("too many passwords wait to be checked")]
    Busy,
    #[error("{0:#}")]
    Broken(anyhow::Error),
}

/// The pool. Each hash takes 19 MiB and a core for about 20 ms: as many run as there are cores, and one more that is kept
/// for known devices, off the threads that answer other requests.
#[derive(Clone, Debug)]
pub struct Passwords {
    jobs: mpsc::Sender<Job>,
    turns: Turns,
}

type Job = Box<dyn FnOnce() + Send>;

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self::with_slots(cores.max(2), WAITING_MAX)
    }
}

impl Passwords {
    /// A pool that runs `slots` jobs at once and one more for known devices, while at most `waiting_max` callers wait.
    /// Networks and known devices have shares of both (contract, ruling 44).
    pub fn with_slots(slots: usize, waiting_max: usize) -> Self {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..=slots {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || work_off(&queue));
        }
        Self { jobs, turns: Turns::new(slots, waiting_max) }
    }

    /// Hashes a password for storage, as a PHC string, within the requester's share of the pool.
    pub async fn hash(
        &self,
        requester: Requester,
        password: Password,
    ) -> Result<String, PasswordError> {
        self.run(requester, move || hash(&password)).await
    }

    /// Hashes a new password like [`Passwords::hash`], unless it is easily guessed.
    pub async fn hash_new(
        &self,
        requester: Requester,
        password: Password,
        known: Known,
    ) -> Result<Result<String, Weakness>, PasswordError> {
        self.run(requester, move || {
            Ok(match rules::check_guesses(password.expose(), &known) {
                Ok(()) => Ok(hash(&password)?),
                Err(weakness) => Err(weakness),
            })
        })
        .await
    }

    /// Checks a password against the stored hash: ours, Django's `pbkdf2_sha256`, or `None` if there is no account or
    /// no password, which takes the same work.
    ///
    /// `imported_iterations` is the most that any imported hash has: while there are imported hashes, every check does
    /// both kinds of work, so that its time reveals neither that there is an account nor that it was imported (P6).
    pub async fn verify(
        &self,
        requester: Requester,
        password: Password,
        kept: Option<String>,
        imported_iterations: u32,
    ) -> Result<PasswordCheck, PasswordError> {
        self.run(requester, move || {
            judge(&password, kept.as_deref(), imported_iterations).map(|(verdict, _)| verdict)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        requester: Requester,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let asked_at = Instant::now();
        let slot = self.turns.slot(requester, WAIT_MAX).await;
        metrics::histogram!("latchkey_hash_wait_seconds").record(asked_at.elapsed());
        let slot = slot.ok_or(PasswordError::Busy)?;
        let (result, done) = oneshot::channel();
        let job = Box::new(move || {
            // Held until the work is over, even if the caller went away: the memory is in use until then.
            let _slot = slot;
            // The receiver may be gone.
            let _ = result.send(work());
        });
        self.jobs
            .send(job)
            .map_err(|_| PasswordError::Broken(anyhow!("no hashing thread is left")))?;
        done.await.context("hash on a pool thread").flatten().map_err(PasswordError::Broken)
    }
}

/// Runs on threads of our own: each of the runtime's many blocking threads that ever hashed would keep its 19 MiB,
/// because the allocator keeps an arena per thread.
fn work_off(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The hook has reported a panic; the caller sees its channel closed, and the thread lives on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

fn hash(password: &Password) -> anyhow::Result<String> {
    let salt = rng::secret_bytes::<16>();
    let hash = argon2()?
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|error| anyhow!("hash a password: {error}"))?;
    Ok(hash.to_string())
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| anyhow!("set Argon2's cost: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hashing work that a check did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    argon2id: u32,
    pbkdf2_iterations: u32,
}

fn judge(
    password: &Password,
    kept: Option<&str>,
    imported_iterations: u32,
) -> anyhow::Result<(PasswordCheck, Work)> {
    let mut work = Work::default();
    let imported = kept.filter(|kept| kept.starts_with(django::PREFIX));
    let Some(imported) = imported else {
        let verdict = judge_ours(password, kept, &mut work)?;
        work.pbkdf2_iterations += django::work(password.expose(), imported_iterations);
        return Ok((verdict, work));
    };
    let (right, iterations) = django::verify(password.expose(), imported)?;
    work.pbkdf2_iterations += iterations;
    if imported_iterations > 0 {
        let left = imported_iterations.saturating_sub(iterations);
        work.pbkdf2_iterations += django::work(password.expose(), left);
        judge_ours(password, None, &mut work)?;
    }
    Ok((if right { PasswordCheck::RightButOld } else { PasswordCheck::Wrong }, work))
}

fn judge_ours(
    password: &Password,
    kept: Option<&str>,
    work: &mut Work,
) -> anyhow::Result<PasswordCheck> {
    let parse = |text: &str| {
        PasswordHash::new(text).map_err(|error| anyhow!("read a stored password hash: {error}"))
    };
    let hash = parse(kept.unwrap_or(NOBODYS))?;
    let right = argon2()?.verify_password(password.expose().as_bytes(), &hash).is_ok();
    work.argon2id += 1;
    Ok(match (right && kept.is_some(), is_current(&hash)) {
        (false, _) => PasswordCheck::Wrong,
        (true, true) => PasswordCheck::Right,
        (true, false) => PasswordCheck::RightButOld,
    })
}

/// Whether a hash has the cost that a new one would have.
fn is_current(hash: &PasswordHash) -> bool {
    hash.algorithm.as_str() == "argon2id"
        && Params::try_from(hash).is_ok_and(|params| {
            (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES)
        })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::turns::Turn;

    fn here() -> Requester {
        let ranges = [("203.0.113.1", 1), ("203.0.113.0/24", 5)];
        Requester {
            ranges: ranges.map(|(range, times)| (range.to_owned(), times)).into(),
            known: None,
        }
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_judged_by_its_hash_exactly_as_received() {
        let pool = Passwords::default();
        let composed = "\u{dc}berraschung im Caf\u{e9}";
        let kept = pool.hash(here(), password(composed)).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        for (text, verdict) in [
            (composed, PasswordCheck::Right),
            ("U\u{308}berraschung im Cafe\u{301}", PasswordCheck::Wrong),
            ("\u{dc}berraschung im Caf\u{e9} ", PasswordCheck::Wrong),
            ("", PasswordCheck::Wrong),
        ] {
            assert_eq!(
                pool.verify(here(), password(text), Some(kept.clone()), 0).await.unwrap(),
                verdict,
                "{text}"
            );
        }
        assert_ne!(pool.hash(here(), password(composed)).await.unwrap(), kept, "a salt of its own");
        assert_eq!(format!("{:?}", password(composed)), "Password(..)");
    }

    #[tokio::test]
    async fn p6_a_missing_password_costs_the_same_and_is_never_right() {
        let hash = PasswordHash::new(NOBODYS).unwrap();
        assert!(is_current(&hash), "the same cost as a real one");
        for text in ["", "password", NOBODYS] {
            assert_eq!(
                Passwords::default().verify(here(), password(text), None, 0).await.unwrap(),
                PasswordCheck::Wrong
            );
        }
    }

    /// A hash as Django writes it, of an unknown password.
    fn imported(iterations: u32) -> String {
        format!("pbkdf2_sha256${iterations}$salt$brQtzE2QmD69w+BHgyhGe4LaPH2Dmdublca205taFJQ=")
    }

    #[test]
    fn p6_while_there_are_imported_passwords_all_cost_the_same() {
        const MOST: u32 = 2_000;
        let pool = Passwords::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hash = runtime.block_on(pool.hash(here(), password("another"))).unwrap();
        let work = |kept: &Option<String>, most: u32| {
            let (verdict, work) = judge(&password("not it"), kept.as_deref(), most).unwrap();
            assert_eq!(verdict, PasswordCheck::Wrong);
            work
        };
        let all = Work { argon2id: 1, pbkdf2_iterations: MOST };
        for kept in [None, Some(hash), Some(imported(MOST)), Some(imported(MOST / 4))] {
            assert_eq!(work(&kept, MOST), all, "{kept:?}");
        }
        let without = Work { argon2id: 1, pbkdf2_iterations: 0 };
        assert_eq!(work(&None, 0), without, "no extra work once the last is gone");
    }

    #[tokio::test]
    async fn an_imported_password_is_right_but_old_whatever_the_others_cost() {
        let pool = Passwords::default();
        let kept = "pbkdf2_sha256$260000$Zr4kSaltSalt$/w0y118jq5ZlvQGkz1yTkgHUAqAH75fYOo6Ru1KD5aY=";
        for most in [0, 1000, 260_000, 300_000] {
            for (text, verdict) in [
                ("vq7 blue kite 9", PasswordCheck::RightButOld),
                ("vq7 blue kite 8", PasswordCheck::Wrong),
            ] {
                let judged = pool.verify(here(), password(text), Some(kept.to_owned()), most).await;
                assert_eq!(judged.unwrap(), verdict, "{text} {most}");
            }
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_right_but_old() {
        let params = Params::new(8, 1, 1, None).unwrap();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let kept = weak.hash_password_with_salt(b"vq7 blue kite 9", &[7; 16]).unwrap().to_string();
        let pool = Passwords::default();
        let judged =
            pool.verify(here(), password("vq7 blue kite 9"), Some(kept.clone()), 0).await.unwrap();
        assert_eq!(judged, PasswordCheck::RightButOld);
        assert_eq!(
            pool.verify(here(), password("vq7"), Some(kept), 0).await.unwrap(),
            PasswordCheck::Wrong
        );
        assert!(pool.verify(here(), password("x"), Some("nonsense".to_owned()), 0).await.is_err());
    }

    #[tokio::test]
    async fn p4_of_200_at_once_a_few_run_a_few_wait_and_the_rest_are_refused() {
        let pool = Passwords::with_slots(2, 4);
        let Some(Turn::Now(running)) = pool.turns.ask(here()) else { panic!("no slot") };
        let mut all: Vec<_> =
            (0..200).map(|_| Box::pin(pool.verify(here(), password("x"), None, 0))).collect();
        let at_once: Vec<_> = all.iter_mut().map(|one| one.as_mut().now_or_never()).collect();
        assert!(at_once[0].is_none(), "it waits");
        for refused in &at_once[1..] {
            assert!(matches!(refused, Some(Err(PasswordError::Busy))), "{refused:?}");
        }
        drop(running);
        assert_eq!(all.swap_remove(0).await.unwrap(), PasswordCheck::Wrong, "its turn has come");
        let again = pool.verify(here(), password("x"), None, 0).await;
        assert_eq!(again.unwrap(), PasswordCheck::Wrong, "open again");
    }

    #[tokio::test]
    async fn f07_a_known_device_is_served_while_strangers_take_all_the_slots() {
        let pool = Passwords::with_slots(2, 4);
        // Slots that end with the test: no hash takes that long.
        let strangers = ["203.0.113.0/24", "198.51.100.0/24"]
            .map(|network| Requester { ranges: vec![(network.to_owned(), 5)], known: None });
        let [one, other] = strangers.map(|stranger| pool.turns.ask(stranger));
        assert!(matches!((&one, &other), (Some(Turn::Now(_)), Some(Turn::Now(_)))));
        let device = Requester { known: Some("ada".to_owned()), ..here() };
        for _ in 0..2 {
            let verdict = pool.verify(device.clone(), password("x"), None, 0).await;
            assert_eq!(verdict.unwrap(), PasswordCheck::Wrong);
        }
        tokio::time::pause();
        let refused = pool.verify(here(), password("x"), None, 0).await;
        assert!(matches!(refused, Err(PasswordError::Busy)), "a stranger waits in vain");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_frees_its_slot() {
        let pool = Passwords::with_slots(1, 1);
        for _ in 0..3 {
            let caller = tokio::spawn({
                let pool = pool.clone();
                async move { pool.verify(here(), password("x"), None, 0).await }
            });
            tokio::task::yield_now().await;
            caller.abort();
            let _ = caller.await;
        }
        let slot = pool.turns.slot(here(), Duration::from_secs(20)).await;
        assert!(slot.is_some(), "the slot is free again");
        drop(slot);
        assert!(pool.turns.are_all_free());
    }
}
