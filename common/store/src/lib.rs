//! The code store: code requests, issued codes, attempts, and the status of each request.
//!
//! The port offers atomic operations, not get and set: each operation is one script in Redis, one lock in memory.
//! Expiry, attempts and windows are our own data, so an engine's timer decides nothing; its expiry only removes what is
//! over.

pub mod clock_sync;
pub mod inbox;
mod memory;
mod redis;
mod types;
mod watchers;

use std::sync::Arc;

pub use self::types::{
    Admission, Admit, CheckOutcome, Closing, Idempotency, Issue, Issued, KeptText, NewCode, Refund,
    Replay, RequestNote, RequestStatus, Scope, Sweep, Swept, Verify,
};
pub use self::watchers::Watch;

use self::watchers::StatusWatchers;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::ids::{CodeId, RequestId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use guard::{Destination, Findings, Rule};
use secrecy::SecretString;

/// How long a request's status can be read after its code's expiry, in milliseconds: an hour, like the inbox.
const STATUS_KEPT_MS: i64 = 3_600_000;
/// How long the first answer to an `Idempotency-Key` is kept (contract, section 3).
const IDEMPOTENCY_MS: i64 = 86_400_000;
/// How long the inbox keeps a message (contract, ruling 11).
const TEXT_KEPT_MS: i64 = 3_600_000;
/// How long [`OtpStore::count_distinct`] remembers: longer than a login can be repeated (contract, ruling 32).
pub const DISTINCT_KEPT_SECS: u64 = 60;
/// The longest cooldown that doubling reaches (contract, section 7).
const COOLDOWN_CAP_MS: i64 = 600_000;

/// The code store. Cheap to clone.
#[derive(Clone)]
pub struct OtpStore {
    side: Arc<Side>,
    watchers: StatusWatchers,
    guard: Guard,
}

/// The pumping guard's rule, and the channel for its findings.
#[derive(Clone, Default)]
struct Guard {
    rule: Rule,
    findings: Findings,
}

enum Side {
    Redis(redis::Redis),
    Memory(memory::Memory),
}

impl OtpStore {
    /// Connects to the store on Redis. Refuses a server that would evict data.
    ///
    /// # Errors
    /// If Redis cannot be reached, or its `maxmemory-policy` is not `noeviction`.
    pub async fn connect_redis(url: &SecretString, clock: Clock) -> Result<Self, EngineError> {
        let watchers = StatusWatchers::default();
        let redis = redis::Redis::connect(url, clock).await?;
        Ok(Self { side: Arc::new(Side::Redis(redis)), watchers, guard: Guard::default() })
    }

    /// The embedded store. Its content ends with the process.
    pub fn memory(clock: Clock) -> Self {
        let watchers = StatusWatchers::default();
        let side = Arc::new(Side::Memory(memory::Memory::new(clock, watchers.clone())));
        Self { side, watchers, guard: Guard::default() }
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

    /// Checks a code request against every limit. If none refuses, counts it, joins it to the live code of its phone
    /// and scope or opens a slot for a new one, and creates its status record. One round trip.
    pub async fn admit(&self, code_request: &Admit<'_>) -> Result<Admission, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.admit(code_request, &self.guard).await,
            Side::Memory(memory) => Ok(memory.admit(code_request, &self.guard)),
        }
    }

    /// Withdraws an admitted request and its counts: its event certainly never reached the broker. A request whose key
    /// was presented again meanwhile stays: the other call may have published it.
    pub async fn withdraw(&self, code_request: &Admit<'_>) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.withdraw(code_request, &self.guard).await,
            Side::Memory(memory) => {
                memory.withdraw(code_request, &self.guard);
                Ok(())
            }
        }
    }

    /// Records that the event of a request with an `Idempotency-Key` was confirmed, so that a replay publishes nothing.
    pub async fn published(&self, code_request: &Admit<'_>) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.published(code_request).await,
            Side::Memory(memory) => {
                memory.published(code_request);
                Ok(())
            }
        }
    }

    /// Puts a code into the request's slot. If the slot already holds a code, returns that one (P5).
    pub async fn issue(&self, issue: &Issue<'_>) -> Result<Issued, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.issue(issue).await,
            Side::Memory(memory) => Ok(memory.issue(issue)),
        }
    }

    /// Counts an attempt, then compares it (P4). Counts the login against its address first. After a correct check, no
    /// request joins the code until the check is refunded as [`Refund::Unused`]: a new request opens a new code in its
    /// place, so that a client that requests again never gets a code already used by a login with an unknown outcome
    /// (W6).
    pub async fn verify(&self, attempt: &Verify<'_>) -> Result<CheckOutcome, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.verify(attempt).await,
            Side::Memory(memory) => Ok(memory.verify(attempt)),
        }
    }

    /// Refunds a counted attempt that was not judged in the end (a wait was in force, or the database was away).
    pub async fn refund(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        refund: Refund,
    ) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.refund(phone, scope, refund).await,
            Side::Memory(memory) => {
                memory.refund(phone, scope, refund);
                Ok(())
            }
        }
    }

    /// Records that a code has no attempts left: the database counts `attempts` of them, and a store that was restarted
    /// may have counted fewer. From then on checks and requests are answered as for any exhausted code (contract,
    /// ruling 28).
    pub async fn mark_exhausted(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        attempts: u32,
    ) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.mark_exhausted(phone, scope, code, attempts).await,
            Side::Memory(memory) => {
                memory.mark_exhausted(phone, scope, code, attempts);
                Ok(())
            }
        }
    }

    /// Closes a used code: nothing is accepted by it any more (P5), its unsent messages become unwanted, and the
    /// request that it answered becomes verified. Further checks see as many attempts left as before, so they do not
    /// reveal that the code was used. Its send no longer counts as unanswered, and counts as converted for the pumping
    /// guard's nets at `destination`.
    pub async fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        closing: Closing,
        destination: Destination<'_>,
    ) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => {
                redis.close(phone, scope, code, closing, destination, &self.guard).await
            }
            Side::Memory(memory) => {
                memory.close(phone, scope, code, closing, destination, &self.guard);
                Ok(())
            }
        }
    }

    /// Forgets what an account leaves under its phone (its code, kept messages, first answers) and the number that its
    /// user requested to change to; unsent messages for the code become unwanted. Two things stay: the times at which
    /// the phone was sent messages, because a deletion must not reset its limits, and another user's change to this
    /// number.
    pub async fn forget(&self, phone: &PhoneKey, user: UserId) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.forget(phone, user).await,
            Side::Memory(memory) => {
                memory.forget(phone, user);
                Ok(())
            }
        }
    }

    /// Counts a login by an address. Returns the wait if it exceeds the limit. A `most` of 0 disables the limit.
    pub async fn count_login(&self, ip_key: &str, most: u64) -> Result<Option<u64>, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.count_login(ip_key, most).await,
            Side::Memory(memory) => Ok(memory.count_login(ip_key, most)),
        }
    }

    /// Whether `member` is among the first `most` different ones under this key. A repeated member counts once.
    pub async fn count_distinct(
        &self,
        key: &str,
        member: &str,
        most: u32,
    ) -> Result<bool, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.count_distinct(key, member, most).await,
            Side::Memory(memory) => Ok(memory.count_distinct(key, member, most)),
        }
    }

    /// Whether this key is seen for the first time within `kept_secs`. Among concurrent callers exactly one gets
    /// `true`.
    pub async fn first_time(&self, key: &str, kept_secs: u64) -> Result<bool, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.first_time(key, kept_secs).await,
            Side::Memory(memory) => Ok(memory.first_time(key, kept_secs)),
        }
    }

    /// Advances a request's status, or creates its record if the store lost it (contract, ruling 30). A lower or equal
    /// rank changes nothing; among end states of one rank, the better one stays ([`Status::order`]). Returns whether
    /// the status changed.
    pub async fn advance_status(
        &self,
        request: RequestId,
        status: Status,
        reason: Option<Reason>,
        expires_at: Timestamp,
    ) -> Result<bool, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.advance_status(request, status, reason, expires_at).await,
            Side::Memory(memory) => Ok(memory.advance_status(request, status, reason, expires_at)),
        }
    }

    /// The status of a request.
    pub async fn status(&self, request: RequestId) -> Result<Option<RequestStatus>, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.status(request).await,
            Side::Memory(memory) => Ok(memory.status(request)),
        }
    }

    /// The store's own time, shared by all processes. Times that one process records and another compares are taken
    /// from it.
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.now().await,
            Side::Memory(memory) => Ok(memory.now()),
        }
    }

    /// Wakes when a request's status may have changed. One connection serves all waiters in this process; it is opened
    /// for the first of them.
    pub fn watch(&self, request: RequestId) -> Watch {
        let watch = self.watchers.watch(request);
        if let Side::Redis(redis) = &*self.side {
            redis.subscribe(&self.watchers);
        }
        watch
    }

    /// Whether a message for this request is still wanted: its code has not been used since (contract, ruling 31).
    pub async fn is_wanted(&self, request: RequestId) -> Result<bool, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.is_wanted(request).await,
            Side::Memory(memory) => Ok(memory.is_wanted(request)),
        }
    }

    /// Looks at up to `most` requests that are past their expiry, closes those without an end state, and returns them.
    pub async fn sweep(&self, most: u32) -> Result<Sweep, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.sweep(most).await,
            Side::Memory(memory) => Ok(memory.sweep(most, &self.guard.rule)),
        }
    }

    /// Keeps a message for the inbox. Repeated calls keep it once.
    pub async fn keep_text(&self, text: &KeptText) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.keep_text(text).await,
            Side::Memory(memory) => {
                memory.keep_text(text);
                Ok(())
            }
        }
    }

    /// The sealed messages kept for a phone, in no particular order.
    pub async fn kept_texts(&self, phone: &PhoneKey) -> Result<Vec<String>, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.kept_texts(phone).await,
            Side::Memory(memory) => Ok(memory.kept_texts(phone)),
        }
    }

    /// Remembers the number a user requested to change to: sealed, until its code expires. The last request counts.
    pub async fn note_change(
        &self,
        user: UserId,
        sealed: &str,
        ttl_ms: i64,
    ) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.note_change(user, sealed, ttl_ms).await,
            Side::Memory(memory) => {
                memory.note_change(user, sealed, ttl_ms);
                Ok(())
            }
        }
    }

    /// The sealed number that a user requested to change to.
    pub async fn noted_change(&self, user: UserId) -> Result<Option<String>, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.noted_change(user).await,
            Side::Memory(memory) => Ok(memory.noted_change(user)),
        }
    }

    /// Counts the starts of work on a redelivered message, so that one that crashes its process is recognised before it
    /// does so again (P11). Forgotten after an hour.
    pub async fn count_start(&self, message: &str) -> Result<u32, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.count_start(message).await,
            Side::Memory(memory) => Ok(memory.count_start(message)),
        }
    }

    /// The counted starts of a message that are not forgotten.
    pub async fn starts(&self, message: &str) -> Result<u32, EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.starts(message).await,
            Side::Memory(memory) => Ok(memory.starts(message)),
        }
    }

    /// Forgets the starts of a message: the process survived it.
    pub async fn forget_starts(&self, message: &str) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.forget_starts(message).await,
            Side::Memory(memory) => {
                memory.forget_starts(message);
                Ok(())
            }
        }
    }

    /// Whether the store answers.
    pub async fn ready(&self) -> Result<(), EngineError> {
        match &*self.side {
            Side::Redis(redis) => redis.ready().await,
            Side::Memory(_) => Ok(()),
        }
    }
}
