//! The code store: code requests, issued codes, attempts, and the status of each request.
//!
//! Owns what lives for minutes: codes, statuses, limits, the inbox. Must never know an account, SQL, or a readable
//! number or code.
//!
//! [`Store`] is the connection; its facets are what a part of a service holds of it. The port offers atomic operations,
//! not get and set: each operation is one script in Redis, one lock in memory. Expiry, attempts and windows are our own
//! data, so an engine's timer decides nothing; its expiry only removes what is over.

/// Runs an operation on the engine of the store.
macro_rules! on_engine {
    ($store:expr, |$engine:ident| $on:ident.$operation:ident($($arg:tt)*)) => {
        match &*$store.engine {
            $crate::Engine::Redis($engine) => {
                traces::engine("redis", stringify!($operation), $on.$operation($($arg)*)).await
            }
            $crate::Engine::Memory($engine) => Ok($on.$operation($($arg)*)),
        }
    };
}

/// Declares operations of a facet; after `=>`, the name that both engines have for it.
macro_rules! operations {
    ($facet:ident { $($(#[$doc:meta])+ fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty => $method:ident;)+ }) => {
        impl $facet {
            $($(#[$doc])+ pub async fn $name(&self, $($arg: $type),*) -> Result<$answer, EngineError> {
                on_engine!(self.0, |engine| engine.$method($($arg),*))
            })+
        }
    };
}

mod about;
pub mod clock_sync;
mod codes;
mod counts;
mod delivery;
mod guard_nets;
pub mod inbox;
mod limit_state;
mod loads;
mod memory;
mod phone_changes;
mod phone_state;
mod redis;
mod statuses;
mod types;
mod watchers;

use std::sync::Arc;

pub use self::about::About;
pub use self::counts::DISTINCT_KEPT_SECS;
pub use self::inbox::KeptText;
pub use self::limit_state::{LimitCount, LimitQuestion, LimitState};
pub use self::loads::{Load, WorkerLoad};
pub use self::phone_state::{CodeState, PhoneState};
pub use self::statuses::{Raise, RequestStatus, Sweep, Swept};
pub use self::types::{
    AddressLimit, Admission, Admit, Admitted, Answered, CheckOutcome, Closing, FAILURE_WINDOW_SECS,
    FailureRange, Idempotency, Issue, Issued, LoginAddresses, Matched, NewCode, NotedChange,
    Refund, RequestNote, SUSPICIOUS_PHONES, Scope, SuspiciousFailures, Verify,
};
pub use self::watchers::Watch;

use self::watchers::StatusWatchers;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use guard::{Findings, Rule};
use secrecy::SecretString;

/// How long a request's status can be read after its code's expiry, in milliseconds: an hour, like the inbox.
const STATUS_KEPT_MS: i64 = 3_600_000;
/// How long the first answer to an `Idempotency-Key` is kept (contract, section 3).
const IDEMPOTENCY_MS: i64 = 86_400_000;
/// The longest cooldown that doubling reaches (contract, section 7).
const COOLDOWN_CAP_MS: i64 = 600_000;

/// How many requests a day a known device, and a phone that verified lately, may make beyond limits that others used up
/// (contract, rulings 36 and 39).
const PASSES_A_DAY: u64 = 3;
/// How many the known devices of one phone may make together: an account that is made anew is a new user, and its
/// devices have a new budget (contract, ruling 39).
const DEVICE_PASSES_A_PHONE_DAY: u64 = 6;
/// A verification is remembered until the end of the third such span after it: 90 to 120 days (contract, ruling 36).
const PROVEN_EPOCH_MS: i64 = 30 * 86_400_000;

/// How long a range waits after too many phones failed there: doubled each time, up to the cap, and anew after a day
/// (contract, ruling 41).
const FAILURE_WAIT_MS: i64 = 60_000;
const FAILURE_WAIT_CAP_MS: i64 = 3_600_000;
const FAILURE_FORGET_MS: i64 = 86_400_000;
const FAILURE_WINDOW_MS: i64 = 600_000;

/// Waits are told in whole seconds, never too short.
fn secs_up(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().div_ceil(1000)
}

/// The code store. Cheap to clone, as are its facets.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    watchers: StatusWatchers,
    guard: Guard,
}

/// A facet holds the whole store; the file of its name says what it may do with it.
macro_rules! facets {
    ($($(#[$doc:meta])+ $facet:ident = $method:ident;)+) => {
        $($(#[$doc])+ #[derive(Clone)] pub struct $facet(Store);)+

        impl Store {
            $($(#[$doc])+ pub fn $method(&self) -> $facet { $facet(self.clone()) })+
        }
    };
}

facets! {
    /// Admission, codes and their checks.
    Codes = codes;
    /// The status of each request.
    Statuses = statuses;
    /// Limits that do not depend on a code.
    Limits = limits;
    /// Texts that are kept instead of sent.
    Inbox = inbox;
    /// The number that each user requested to change to, sealed, and the session that requested it.
    PhoneChanges = phone_changes;
    /// Keys that are accepted once.
    ReplayGuard = replay_guard;
    /// Starts of work on redelivered messages, where a crash of the process does not reach them.
    CrashCounts = crash_counts;
    /// What each process says of its load.
    Loads = loads;
    /// What delivery may use: it cannot reach a code.
    DeliveryStore = for_delivery;
}

/// The pumping guard's rule, and the channel for its findings.
#[derive(Clone, Default)]
struct Guard {
    rule: Rule,
    findings: Findings,
}

enum Engine {
    Redis(Box<redis::Redis>),
    Memory(Box<memory::Memory>),
}

impl Store {
    /// Connects to the store on Redis. Refuses a server that would evict data.
    ///
    /// # Errors
    /// If Redis cannot be reached, or its `maxmemory-policy` is not `noeviction`.
    pub async fn connect_redis(url: &SecretString, clock: Clock) -> Result<Self, EngineError> {
        let redis = Box::new(redis::Redis::connect(url, clock).await?);
        Ok(Self::on(Engine::Redis(redis), StatusWatchers::default()))
    }

    /// The embedded store. Its content ends with the process.
    pub fn memory(clock: Clock) -> Self {
        let watchers = StatusWatchers::default();
        let memory = Box::new(memory::Memory::new(clock, watchers.clone()));
        Self::on(Engine::Memory(memory), watchers)
    }

    fn on(engine: Engine, watchers: StatusWatchers) -> Self {
        Self { engine: Arc::new(engine), watchers, guard: Guard::default() }
    }

    /// Replaces the built-in rule of the pumping guard. All gateways on one Redis need the same rule.
    #[must_use]
    pub fn with_guard_rule(mut self, rule: Rule) -> Self {
        self.guard.rule = rule;
        self
    }

    /// What the pumping guard found in this process: for the log, metrics, events and history.
    pub fn guard_findings(&self) -> &Findings {
        &self.guard.findings
    }

    /// The store's own time, shared by all processes. Times that one process records and another compares are taken
    /// from it.
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        on_engine!(self, |engine| engine.now())
    }

    /// What the server says of itself; `None` for the embedded store.
    ///
    /// # Errors
    /// If Redis cannot be reached, or this login may not ask.
    pub async fn about(&self) -> Result<Option<About>, EngineError> {
        match &*self.engine {
            Engine::Redis(redis) => redis.about().await.map(Some),
            Engine::Memory(_) => Ok(None),
        }
    }

    /// Whether the store answers.
    pub async fn ready(&self) -> Result<(), EngineError> {
        match &*self.engine {
            Engine::Redis(redis) => redis.ready().await,
            Engine::Memory(_) => Ok(()),
        }
    }
}
