//! Hashes and checks passwords: Argon2id behind a bounded pool, with the same work for every account.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
};
use domain::rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::django;
use crate::rules::{self, Known, Weakness};

/// OWASP's second choice for Argon2id, and the contract's (section 9): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Callers above this number are refused: 64 hashes take about a second on two cores.
const WAITING_MAX: usize = 64;
/// One address may take one in this many of the waiting places, so that it cannot take them from all others.
const SHARE: usize = 8;
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
    /// The pool's queue is full, or the address waits for enough already.
    #[error("too many passwords wait to be checked")]
    Busy,
    #[error("{0:#}")]
    Broken(anyhow::Error),
}

/// The pool. Each hash takes 19 MiB and a core for about 20 ms: as many run as there are cores, off the threads that
/// answer other requests.
#[derive(Clone, Debug)]
pub struct Passwords {
    jobs: mpsc::Sender<Job>,
    slots: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
    waiting_max: usize,
}

/// The callers that wait, by address.
type Waiting = HashMap<IpAddr, usize>;

type Job = Box<dyn FnOnce() + Send>;

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self::with_slots(cores.max(2), WAITING_MAX)
    }
}

impl Passwords {
    /// A pool that runs `slots` jobs at once, while at most `waiting_max` callers wait, and an eighth of them for one
    /// address.
    pub fn with_slots(slots: usize, waiting_max: usize) -> Self {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..slots {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || work_off(&queue));
        }
        Self { jobs, slots: Arc::new(Semaphore::new(slots)), waiting: Arc::default(), waiting_max }
    }

    /// Hashes a password for storage, as a PHC string. `address` is the client's, whose share of the pool it takes.
    pub async fn hash(&self, address: IpAddr, password: Password) -> Result<String, PasswordError> {
        self.run(address, move || hash(&password)).await
    }

    /// Hashes a new password like [`Passwords::hash`], unless it is easily guessed.
    pub async fn hash_new(
        &self,
        address: IpAddr,
        password: Password,
        known: Known,
    ) -> Result<Result<String, Weakness>, PasswordError> {
        self.run(address, move || {
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
        address: IpAddr,
        password: Password,
        kept: Option<String>,
        imported_iterations: u32,
    ) -> Result<PasswordCheck, PasswordError> {
        self.run(address, move || {
            judge(&password, kept.as_deref(), imported_iterations).map(|(verdict, _)| verdict)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = self.permit(address).await?;
        let (result, done) = oneshot::channel();
        let job = Box::new(move || {
            // Held until the work is over, even if the caller went away: the memory is in use until then.
            let _permit = permit;
            // The receiver may be gone.
            let _ = result.send(work());
        });
        self.jobs
            .send(job)
            .map_err(|_| PasswordError::Broken(anyhow!("no hashing thread is left")))?;
        done.await.context("hash on a pool thread").flatten().map_err(PasswordError::Broken)
    }

    async fn permit(&self, address: IpAddr) -> Result<OwnedSemaphorePermit, PasswordError> {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waits = Waits::enter(&self.waiting, unit(address), self.waiting_max)
            .ok_or(PasswordError::Busy)?;
        match timeout(WAIT_MAX, self.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(PasswordError::Busy),
        }
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

/// The addresses that share one share: an IPv4 address, or the /64 of one IPv6 subscriber.
fn unit(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A waiting caller. Dropping it lowers the counts, however the wait ends.
struct Waits<'a> {
    waiting: &'a Mutex<Waiting>,
    address: IpAddr,
}

impl<'a> Waits<'a> {
    fn enter(waiting: &'a Mutex<Waiting>, address: IpAddr, most: usize) -> Option<Self> {
        let mut counts = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&address).copied().unwrap_or_default();
        if all >= most || own >= most.div_ceil(SHARE) {
            return None;
        }
        counts.insert(address, own + 1);
        Some(Self { waiting, address })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut counts = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = counts.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn hash(password: &Password) -> anyhow::Result<String> {
    let salt = rng::bytes::<16>();
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
    use futures::future::join_all;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

    fn waiting(pool: &Passwords) -> usize {
        pool.waiting.lock().unwrap().len()
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_judged_by_its_hash_exactly_as_received() {
        let pool = Passwords::default();
        let composed = "\u{dc}berraschung im Caf\u{e9}";
        let kept = pool.hash(HERE, password(composed)).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        for (text, verdict) in [
            (composed, PasswordCheck::Right),
            ("U\u{308}berraschung im Cafe\u{301}", PasswordCheck::Wrong),
            ("\u{dc}berraschung im Caf\u{e9} ", PasswordCheck::Wrong),
            ("", PasswordCheck::Wrong),
        ] {
            assert_eq!(
                pool.verify(HERE, password(text), Some(kept.clone()), 0).await.unwrap(),
                verdict,
                "{text}"
            );
        }
        assert_ne!(pool.hash(HERE, password(composed)).await.unwrap(), kept, "a salt of its own");
        assert_eq!(format!("{:?}", password(composed)), "Password(..)");
    }

    #[tokio::test]
    async fn p6_a_missing_password_costs_the_same_and_is_never_right() {
        let hash = PasswordHash::new(NOBODYS).unwrap();
        assert!(is_current(&hash), "the same cost as a real one");
        for text in ["", "password", NOBODYS] {
            assert_eq!(
                Passwords::default().verify(HERE, password(text), None, 0).await.unwrap(),
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
        let hash = runtime.block_on(pool.hash(HERE, password("another"))).unwrap();
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
                let judged = pool.verify(HERE, password(text), Some(kept.to_owned()), most).await;
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
            pool.verify(HERE, password("vq7 blue kite 9"), Some(kept.clone()), 0).await.unwrap();
        assert_eq!(judged, PasswordCheck::RightButOld);
        assert_eq!(
            pool.verify(HERE, password("vq7"), Some(kept), 0).await.unwrap(),
            PasswordCheck::Wrong
        );
        assert!(pool.verify(HERE, password("x"), Some("nonsense".to_owned()), 0).await.is_err());
    }

    #[tokio::test]
    async fn p4_of_200_at_once_a_few_run_a_few_wait_and_the_rest_are_refused() {
        let pool = Passwords::with_slots(2, 4);
        let all = (0..200).map(|_| pool.verify(HERE, password("x"), None, 0));
        let verdicts = join_all(all).await;
        let judged = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        assert!((2..=6).contains(&judged), "{judged} were judged");
        let error = verdicts.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(error, PasswordError::Busy), "{error}");
        assert_eq!(waiting(&pool), 0, "no caller that left is counted");
        assert_eq!(
            pool.verify(HERE, password("x"), None, 0).await.unwrap(),
            PasswordCheck::Wrong,
            "open again"
        );
    }

    #[test]
    fn f07_one_address_takes_only_its_share_of_the_waiting_places() {
        let pool = Passwords::with_slots(1, 16);
        let enter = |address: &str| {
            Waits::enter(&pool.waiting, unit(address.parse().unwrap()), pool.waiting_max)
        };
        let v4 = [enter("203.0.113.9"), enter("::ffff:203.0.113.9")];
        assert!(v4.iter().all(Option::is_some), "an eighth of the places");
        assert!(enter("203.0.113.9").is_none());
        let v6 = [enter("2001:db8::1"), enter("2001:db8::ffff:0:0:2")];
        assert!(v6.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "a /64 is one subscriber");
        let others: Vec<_> =
            (0..12).map(|n| enter(&format!("198.51.100.{n}")).expect("a free place")).collect();
        assert!(enter("198.51.100.99").is_none(), "all places are taken");
        drop(others);
        drop(v4);
        assert!(enter("203.0.113.9").is_some(), "a place is free again");
        drop(v6);
        assert_eq!(waiting(&pool), 0);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_frees_its_slot() {
        let pool = Passwords::with_slots(1, 1);
        for _ in 0..3 {
            let caller = tokio::spawn({
                let pool = pool.clone();
                async move { pool.verify(HERE, password("x"), None, 0).await }
            });
            tokio::task::yield_now().await;
            caller.abort();
            let _ = caller.await;
        }
        let permit = timeout(Duration::from_secs(20), pool.slots.acquire()).await;
        assert!(permit.is_ok(), "the slot is free again");
        assert_eq!(waiting(&pool), 0);
    }
}
