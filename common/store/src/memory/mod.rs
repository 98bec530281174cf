//! The embedded store: the same operations under one lock. The contract suite holds it and Redis to the same behaviour.

mod admit;
mod codes;
mod counts;
mod guard_nets;
mod limit_state;
mod loads;
mod passes;
mod phone_state;
mod requests;
mod sliding;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::passes::Passed;
use self::sliding::Sliding;
use super::loads::Load;
use super::types::{Admitted, NotedChange, RequestNote, Scope};
use super::watchers::StatusWatchers;
use super::{FAILURE_FORGET_MS, FAILURE_WINDOW_MS};
use domain::clock::Clock;
use domain::ids::{CodeId, MessageId, RequestId, UserId};
use domain::keys::PhoneKey;
use domain::limits::DEVICES_AT_A_CODE;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, Reason, Status};
use guard::{Change, Counted, Delta, Destination, Net, Nets, Observation, minute_of};
use uuid::Uuid;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

pub(super) struct Memory {
    clock: Clock,
    watchers: StatusWatchers,
    state: Mutex<State>,
}

/// Phone, route and `Idempotency-Key`.
type FirstKey = (PhoneKey, &'static str, String);
/// The minute in which the guard judged a request, and where it counted it.
type Judged = (i64, Option<Counted>);

#[derive(Default)]
struct State {
    codes: HashMap<(PhoneKey, Scope), Code>,
    uncoded: HashMap<(PhoneKey, Scope), UncodedAttempts>,
    cools: HashMap<PhoneKey, Cooldown>,
    /// By phone and asker: the count of unanswered requests that was forgiven, and the window that it is of.
    forgiven: HashMap<(PhoneKey, String), (u32, i64)>,
    /// When each known device asked last.
    device_asked: HashMap<(PhoneKey, UserId), i64>,
    /// The 30-day span in which a phone verified last.
    proven: HashMap<PhoneKey, i64>,
    idempotency: HashMap<FirstKey, First>,
    /// Sends by phone and by address.
    sends: HashMap<String, Sliding<RequestId>>,
    /// Sends by country, by prefix and in total, in windows that begin with their first send.
    windows: HashMap<(Limit, String), Window>,
    logins: HashMap<String, Sliding>,
    /// The writes of a session or an account in the last minute, by kind.
    writes: HashMap<(Uuid, String), Sliding>,
    /// Failed attempts by range of addresses, and over all.
    failures: HashMap<String, Failures>,
    failed: AllFailures,
    requests: HashMap<RequestId, Request>,
    texts: HashMap<PhoneKey, BTreeMap<MessageId, (i64, String)>>,
    /// The last start of each message, and how many there were.
    starts: HashMap<String, (i64, u32)>,
    distinct: HashMap<String, (i64, HashSet<String>)>,
    /// What each process said of each of its parts, and when.
    loads: HashMap<(Uuid, &'static str), (i64, Load)>,
    /// One-time keys, and how long each is remembered.
    once: HashMap<String, i64>,
    /// The numbers that users requested to change to, sealed, and until when.
    changes: HashMap<UserId, (i64, NotedChange)>,
    /// The pumping guard's nets: prefixes, countries.
    prefixes: HashMap<String, Net>,
    countries: HashMap<String, Net>,
}

struct Code {
    id: CodeId,
    expires: i64,
    tries: u32,
    /// The attempts of known devices.
    device_tries: HashMap<String, u32>,
    /// Correct code checks that may have used the code.
    right: u32,
    used: bool,
    digest: Option<String>,
    sealed: Option<String>,
    channel: Channel,
    requests: Vec<(RequestId, RequestNote)>,
    /// The requests that it had when it was used.
    former_requests: Vec<RequestId>,
    guard: Option<Proves>,
}

/// The guard's nets in which a verification of this code counts.
#[derive(Clone, Copy, Default)]
struct Proves {
    prefix: bool,
    country: bool,
}

impl Code {
    fn at(id: CodeId, expires: i64) -> Self {
        Self {
            id,
            expires,
            tries: 0,
            device_tries: HashMap::new(),
            right: 0,
            used: false,
            digest: None,
            sealed: None,
            channel: Channel::Sms,
            requests: Vec::new(),
            former_requests: Vec::new(),
            guard: None,
        }
    }

    fn is_live(&self, now: i64) -> bool {
        self.expires > now && !self.used
    }

    /// The attempts that this known device made, if they are counted apart.
    fn own_tries(&self, device: Option<&str>) -> Option<u32> {
        let has_room = self.device_tries.len() < DEVICES_AT_A_CODE as usize;
        self.device_tries.get(device?).copied().or(has_room.then_some(0))
    }

    /// The count of this known device's attempts, or of everybody else's.
    fn tries_of(&mut self, device: Option<&str>) -> &mut u32 {
        match device.filter(|_| self.own_tries(device).is_some()) {
            Some(device) => self.device_tries.entry(device.to_owned()).or_default(),
            None => &mut self.tries,
        }
    }

    /// Whether an earlier check of this known device was counted apart. A device whose check was not has no count.
    fn is_counted_apart(&self, device: Option<&str>) -> bool {
        device.is_some_and(|device| self.device_tries.contains_key(device))
    }

    /// The count that an earlier check by this known device, or by somebody else, took.
    fn counted_tries(&mut self, device: Option<&str>) -> &mut u32 {
        match device.and_then(|device| self.device_tries.get_mut(device)) {
            Some(own) => own,
            None => &mut self.tries,
        }
    }

    /// Whether the request asked for this code, and the code has not expired.
    fn is_asked_by(&self, request: RequestId, now: i64) -> bool {
        let asked = self.requests.iter().any(|(id, _)| *id == request)
            || self.former_requests.contains(&request);
        asked && self.expires > now
    }

    /// Whether a request joins this code: it is live, and no correct check may have used it without a confirmed outcome
    /// (W6).
    fn is_joined(&self, now: i64) -> bool {
        self.is_live(now) && self.right == 0
    }
}

struct UncodedAttempts {
    attempts: u32,
    until: i64,
}

struct Cooldown {
    until: i64,
    before: i64,
    /// Requests since `since`, however many were answered.
    unanswered: u32,
    since: i64,
    at: i64,
}

/// Failed attempts in a range of addresses: the phones and the narrowest ranges, with the time of the last one of each, and
/// the wait.
#[derive(Default)]
struct Failures {
    phones: HashMap<PhoneKey, i64>,
    networks: HashMap<String, i64>,
    until: i64,
    level: u32,
}

impl Failures {
    fn is_kept(&self, now: i64) -> bool {
        let young = |at: &i64| *at > now - FAILURE_WINDOW_MS;
        self.until + FAILURE_FORGET_MS > now || self.phones.values().any(young)
    }
}

#[derive(Default)]
struct AllFailures {
    start: i64,
    failures: u64,
    phones: HashSet<PhoneKey>,
    told: bool,
}

struct First {
    body: String,
    answer: Admitted,
    /// The number of calls that this answer was replayed to.
    replays: u32,
    until: i64,
}

#[derive(Default)]
struct Window {
    start: i64,
    sends: u64,
}

struct Request {
    status: Status,
    reason: Option<Reason>,
    updated: i64,
    expires: i64,
    channel: Channel,
    closed: bool,
    guard: Option<Judged>,
    asker: String,
    /// The budgets that let it pass.
    passed: Passed,
}

/// What the guard shows of an operation on these nets.
fn observation(nets: &Nets<'_>, changes: Vec<Change>, added: Delta, now: i64) -> Observation {
    Observation {
        minute: minute_of(now),
        at: Timestamp::from_ms(now),
        country: nets.country.counts(),
        would_refuse: false,
        changes,
        added,
    }
}

impl Memory {
    pub fn new(clock: Clock, watchers: StatusWatchers) -> Self {
        Self { clock, watchers, state: Mutex::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Marks the requests of an obsolete code as unwanted: their unsent messages need not be sent.
    fn cancel_pending(&mut self, code_requests: Vec<(RequestId, RequestNote)>) {
        for (request, _) in code_requests {
            if let Some(request) = self.requests.get_mut(&request) {
                request.closed = true;
            }
        }
    }

    fn nets(&mut self, destination: Destination<'_>) -> Nets<'_> {
        let prefix = self.prefixes.entry(destination.operator_prefix.to_owned()).or_default();
        let country = self.countries.entry(destination.country.to_owned()).or_default();
        Nets { prefix, country }
    }
}
