//! The embedded store: the same acts under one lock. The contract suite holds it and Redis to one behaviour.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hub::Hub;
use super::types::{
    Admission, Admit, AskNote, Issue, Issued, Judged, KeptText, Replay, RequestStatus, Scope,
    Swept, Verify,
};
use super::{
    COOLDOWN_CAP_MS, DISTINCT_KEPT_SECS, Guard, IDEMPOTENCY_MS, STATUS_KEPT_MS, TEXT_KEPT_MS,
};
use crate::clock::Clock;
use crate::config::PumpingGuard;
use crate::guard::{Added, Counted, Net, Nets, Place, Rule, Shown, Verdict, judge, minute_of};
use crate::ids::{CodeId, MessageId, RequestId, UserId};
use crate::keys::PhoneKey;
use crate::timestamp::Timestamp;
use crate::vocabulary::{Channel, Limit, Reason, Status};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

pub(super) struct Memory {
    clock: Clock,
    hub: Hub,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    codes: HashMap<(PhoneKey, Scope), Code>,
    voids: HashMap<(PhoneKey, Scope), Void>,
    cools: HashMap<PhoneKey, Cool>,
    firsts: HashMap<(PhoneKey, &'static str, String), First>,
    /// Sends by phone and by address, in the order of their times.
    sends: HashMap<String, VecDeque<(i64, RequestId)>>,
    /// Sends by country, prefix and over all, in windows that began with their first send.
    windows: HashMap<(Limit, String), Window>,
    logins: HashMap<String, VecDeque<i64>>,
    requests: HashMap<RequestId, Request>,
    texts: HashMap<PhoneKey, BTreeMap<MessageId, (i64, String)>>,
    starts: HashMap<String, (i64, u32)>,
    distinct: HashMap<String, (i64, HashSet<String>)>,
    /// What may come once, and until when that is remembered.
    once: HashMap<String, i64>,
    /// The numbers that users asked to change to, sealed.
    changes: HashMap<UserId, (i64, String)>,
    /// The pumping guard's nets: prefixes, countries.
    prefixes: HashMap<String, Net>,
    countries: HashMap<String, Net>,
}

struct Code {
    id: CodeId,
    expires: i64,
    tries: u32,
    used: bool,
    digest: Option<String>,
    sealed: Option<String>,
    channel: Channel,
    asks: Vec<(RequestId, AskNote)>,
    guard: Option<Proves>,
}

/// In which of the guard's nets a verification of this code counts.
#[derive(Clone, Copy, Default)]
struct Proves {
    prefix: bool,
    country: bool,
}

impl Code {
    fn is_live(&self, now: i64) -> bool {
        self.expires > now && !self.used
    }
}

struct Void {
    guesses: u32,
    until: i64,
}

struct Cool {
    until: i64,
    before: i64,
    unanswered: u32,
    at: i64,
}

struct First {
    body: String,
    replay: Replay,
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
    /// The minute in which the guard judged the ask, and where it counted it.
    guard: Option<(i64, Option<Counted>)>,
}

fn secs_up(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().div_ceil(1000)
}

impl Memory {
    pub fn new(clock: Clock, hub: Hub) -> Self {
        Self { clock, hub, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn admit(&self, ask: &Admit<'_>, guard: &Guard) -> Admission {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        if let Some(given) = &ask.idempotency {
            let slot = (ask.phone.clone(), ask.route, given.key.clone());
            if let Some(first) = kept.firsts.get(&slot).filter(|first| first.until > now) {
                if first.body != given.body {
                    return Admission::KeyReused;
                }
                return Admission::Replayed(Replay {
                    now: Timestamp::from_ms(now),
                    ..first.replay.clone()
                });
            }
        }
        let place = (ask.phone.clone(), ask.scope);
        let live = kept.codes.get(&place).filter(|code| code.is_live(now));
        if let Some(code) = live
            && code.tries >= ask.attempts
        {
            return Admission::Exhausted { retry_after: secs_up(code.expires - now) };
        }
        let mut resend = now;
        let mut judged = None;
        if !ask.unlimited {
            if let Some((limit, wait)) = kept.refusal(ask, now) {
                return Admission::Limited { limit, retry_after: secs_up(wait) };
            }
            // The last to judge: from here on nothing refuses, so what it counts is sent.
            if ask.is_guarded() {
                let verdict = kept.judge(ask, guard, now);
                if let Some(wait) = verdict.refused.filter(|_| ask.guard == PumpingGuard::Enforce) {
                    return Admission::Limited {
                        limit: Limit::Blocked,
                        retry_after: secs_up(wait),
                    };
                }
                judged = Some((minute_of(now), verdict.counted));
            }
            resend = kept.count(ask, now);
        }
        let code = kept.codes.entry(place).or_insert_with(|| Code::at(ask.new_code_id, now));
        if !code.is_live(now) {
            *code = Code::at(ask.new_code_id, now + ask.ttl_ms);
            code.channel = ask.channel;
        }
        let note =
            AskNote { channel: ask.channel, locale: ask.locale.map(str::to_owned), profile: None };
        code.asks.push((ask.request_id, note));
        if let Some((_, counted)) = judged {
            let proves = code.guard.get_or_insert_default();
            proves.prefix |= counted.is_some();
            proves.country |= counted.is_some_and(|counted| counted.country.is_some());
        }
        let (code_id, expires) = (code.id, code.expires);
        kept.requests.insert(
            ask.request_id,
            Request {
                status: Status::Accepted,
                reason: None,
                updated: now,
                expires,
                channel: ask.channel,
                closed: false,
                guard: judged,
            },
        );
        if let Some(given) = &ask.idempotency {
            let replay = Replay {
                request_id: ask.request_id,
                code_id,
                channel: ask.channel,
                now: Timestamp::from_ms(now),
                expires_at: Timestamp::from_ms(expires),
                resend_at: Timestamp::from_ms(resend),
                published: false,
            };
            let first = First { body: given.body.clone(), replay, until: now + IDEMPOTENCY_MS };
            kept.firsts.insert((ask.phone.clone(), ask.route, given.key.clone()), first);
        }
        Admission::Admitted {
            code_id,
            now: Timestamp::from_ms(now),
            expires_at: Timestamp::from_ms(expires),
            resend_at: Timestamp::from_ms(resend),
        }
    }

    pub fn withdraw(&self, ask: &Admit<'_>, guard: &Guard) {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let place = (ask.phone.clone(), ask.scope);
        let Some(code) = kept.codes.get_mut(&place) else { return };
        let before = code.asks.len();
        code.asks.retain(|(request, _)| *request != ask.request_id);
        if code.asks.len() == before {
            return;
        }
        if code.asks.is_empty() && code.sealed.is_none() {
            kept.codes.remove(&place);
        }
        if !ask.unlimited {
            if let Some(cool) = kept.cools.get_mut(ask.phone).filter(|cool| cool.unanswered > 0) {
                cool.unanswered -= 1;
                cool.until = cool.before;
            }
            for key in [phone_sends(ask), ip_sends(ask)] {
                if let Some(sends) = kept.sends.get_mut(&key) {
                    sends.retain(|(_, request)| *request != ask.request_id);
                }
            }
            for (limit, key, ..) in windows(ask) {
                if let Some(window) = kept.windows.get_mut(&(limit, key)) {
                    window.sends = window.sends.saturating_sub(1);
                }
            }
        }
        if let Some((minute, counted)) =
            kept.requests.remove(&ask.request_id).and_then(|request| request.guard)
        {
            let mut nets = kept.nets(ask.place());
            let changes =
                counted.map(|counted| nets.withdraw(&guard.rule, counted, now)).unwrap_or_default();
            let added = Added { sends: -1, ..Added::default() };
            let country = nets.country.counts();
            let at = Timestamp::from_ms(now);
            guard.news.note(
                ask.place(),
                Shown { minute, at, country, would_refuse: false, changes, added },
            );
        }
        if let Some(given) = &ask.idempotency {
            kept.firsts.remove(&(ask.phone.clone(), ask.route, given.key.clone()));
        }
    }

    pub fn published(&self, ask: &Admit<'_>) {
        if let Some(given) = &ask.idempotency
            && let Some(first) =
                self.lock().firsts.get_mut(&(ask.phone.clone(), ask.route, given.key.clone()))
        {
            first.replay.published = true;
        }
    }

    pub fn issue(&self, issue: &Issue<'_>) -> Issued {
        let now = self.clock.now_ms();
        if now >= issue.expires_at.ms() {
            return Issued::Expired;
        }
        let mut kept = self.lock();
        let fresh = || Code::at(issue.code_id, issue.expires_at.ms());
        let code = kept.codes.entry((issue.phone.clone(), issue.scope)).or_insert_with(fresh);
        if code.id > issue.code_id {
            return Issued::Superseded;
        }
        if code.id < issue.code_id {
            *code = fresh();
        }
        if code.used {
            return Issued::Used;
        }
        match code.asks.iter_mut().find(|(request, _)| *request == issue.request_id) {
            Some((_, note)) => *note = issue.note.clone(),
            None => code.asks.push((issue.request_id, issue.note.clone())),
        }
        code.channel = issue.note.channel;
        if let Some(sealed) = &code.sealed {
            return Issued::Code(sealed.clone());
        }
        let Some(new) = issue.code else { return Issued::Nothing };
        code.digest = Some(new.digest.to_owned());
        code.sealed = Some(new.sealed.to_owned());
        Issued::Code(new.sealed.to_owned())
    }

    pub fn verify(&self, guess: &Verify<'_>) -> Judged {
        let now_ms = self.clock.now_ms();
        let now = Timestamp::from_ms(now_ms);
        let mut kept = self.lock();
        if let Some(wait) = kept.count_login(guess.ip_key, now_ms, guess.logins_per_ip_minute) {
            return Judged::Limited { retry_after: secs_up(wait) };
        }
        let place = (guess.phone.clone(), guess.scope);
        if let Some(code) = kept.codes.get_mut(&place).filter(|code| code.is_live(now_ms)) {
            let expires_at = Timestamp::from_ms(code.expires);
            if code.tries >= guess.attempts {
                return Judged::Exhausted { code: Some(code.id), now, until: expires_at };
            }
            code.tries += 1;
            let attempts_left = guess.attempts - code.tries;
            let named = guess
                .request_id
                .is_none_or(|id| code.asks.iter().any(|(request, _)| *request == id));
            if named && code.digest.as_deref() == Some(guess.digest) {
                return Judged::Right {
                    code_id: code.id,
                    now,
                    expires_at,
                    attempts_left,
                    asks: code.asks.clone(),
                    channel: code.channel,
                };
            }
            return Judged::Wrong { code: Some((code.id, expires_at)), now, attempts_left };
        }
        let void = kept.voids.entry(place).or_insert(Void { guesses: 0, until: 0 });
        if void.until <= now_ms {
            *void = Void { guesses: 0, until: now_ms + guess.ttl_ms };
        }
        if void.guesses >= guess.attempts {
            return Judged::Exhausted { code: None, now, until: Timestamp::from_ms(void.until) };
        }
        void.guesses += 1;
        Judged::Wrong { code: None, now, attempts_left: guess.attempts - void.guesses }
    }

    pub fn refund(&self, phone: &PhoneKey, scope: Scope, code: Option<CodeId>) {
        let mut kept = self.lock();
        let place = (phone.clone(), scope);
        match code {
            Some(id) => {
                if let Some(code) = kept.codes.get_mut(&place).filter(|code| code.id == id) {
                    code.tries = code.tries.saturating_sub(1);
                }
            }
            None => {
                if let Some(void) = kept.voids.get_mut(&place) {
                    void.guesses = void.guesses.saturating_sub(1);
                }
            }
        }
    }

    pub fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        id: CodeId,
        verified: Option<RequestId>,
        place: Place<'_>,
        guard: &Guard,
    ) {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        if let Some(cool) = kept.cools.get_mut(phone) {
            cool.unanswered = 0;
        }
        if let Some(request) = verified
            && kept.raise(request, Status::Verified, None, now)
        {
            self.hub.wake(request);
        }
        let Some(code) = kept.codes.get_mut(&(phone.clone(), scope)).filter(|code| code.id == id)
        else {
            return;
        };
        if code.used {
            return;
        }
        code.used = true;
        code.digest = None;
        code.sealed = None;
        let proves = code.guard.take();
        let (wrong, until) = (code.tries.saturating_sub(1), code.expires);
        let asks = std::mem::take(&mut code.asks);
        let void = kept.voids.entry((phone.clone(), scope)).or_insert(Void { guesses: 0, until });
        if void.until <= until {
            // A stranger who counted down goes on counting: he does not learn that the code was used.
            *void = Void { guesses: wrong, until };
        }
        for (request, _) in asks {
            if let Some(request) = kept.requests.get_mut(&request) {
                request.closed = true;
            }
        }
        if let Some(proves) = proves {
            let mut nets = kept.nets(place);
            let changes = nets.verify(&guard.rule, proves.prefix, proves.country, now);
            let added = Added { verified: 1, ..Added::default() };
            let (minute, at, country) =
                (minute_of(now), Timestamp::from_ms(now), nets.country.counts());
            guard
                .news
                .note(place, Shown { minute, at, country, would_refuse: false, changes, added });
        }
    }

    pub fn forget(&self, phone: &PhoneKey, user: UserId) {
        let mut kept = self.lock();
        kept.changes.remove(&user);
        kept.codes.retain(|(of, _), _| of != phone);
        kept.voids.retain(|(of, _), _| of != phone);
        kept.firsts.retain(|(of, ..), _| of != phone);
        kept.cools.remove(phone);
        kept.sends.remove(&format!("phone {phone}"));
        kept.texts.remove(phone);
    }

    pub fn count_login(&self, ip_key: &str, most: u64) -> Option<u64> {
        self.lock().count_login(ip_key, self.clock.now_ms(), most).map(secs_up)
    }

    pub fn count_distinct(&self, key: &str, member: &str, most: u32) -> bool {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let (until, members) = kept.distinct.entry(key.to_owned()).or_default();
        if *until <= now {
            members.clear();
        }
        if members.contains(member) {
            return true;
        }
        if members.len() >= most as usize {
            return false;
        }
        *until = now.saturating_add_unsigned(DISTINCT_KEPT_SECS * 1000);
        members.insert(member.to_owned());
        true
    }

    pub fn first_time(&self, key: &str, kept_secs: u64) -> bool {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let until = kept.once.entry(key.to_owned()).or_insert(now);
        let first = *until <= now;
        if first {
            *until = now.saturating_add_unsigned(kept_secs * 1000);
        }
        first
    }

    pub fn raise(
        &self,
        id: RequestId,
        status: Status,
        reason: Option<Reason>,
        expires_at: Timestamp,
    ) -> bool {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let mut made = false;
        kept.requests.entry(id).or_insert_with(|| {
            made = true;
            Request {
                status,
                reason,
                updated: now,
                expires: expires_at.ms(),
                channel: Channel::Sms,
                closed: false,
                guard: None,
            }
        });
        let changed = made || kept.raise(id, status, reason, now);
        if changed {
            self.hub.wake(id);
        }
        changed
    }

    pub fn status(&self, request: RequestId) -> Option<RequestStatus> {
        let now = self.clock.now_ms();
        let kept = self.lock();
        let found =
            kept.requests.get(&request).filter(|found| found.expires + STATUS_KEPT_MS > now)?;
        Some(RequestStatus {
            status: found.status,
            reason: found.reason,
            updated_at: Timestamp::from_ms(found.updated),
            expires_at: Timestamp::from_ms(found.expires),
            channel: found.channel,
        })
    }

    pub fn is_wanted(&self, request: RequestId) -> bool {
        self.lock().requests.get(&request).is_none_or(|request| !request.closed)
    }

    pub fn sweep(&self, most: u32, rule: &Rule) -> Vec<Swept> {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let over: Vec<RequestId> = kept
            .requests
            .iter()
            .filter(|(_, request)| request.expires <= now && !request.status.is_end())
            .map(|(id, _)| *id)
            .take(most as usize)
            .collect();
        let swept = over
            .into_iter()
            .map(|request_id| {
                let was = kept
                    .requests
                    .get(&request_id)
                    .map_or(Status::Accepted, |request| request.status);
                kept.raise(request_id, Status::Expired, None, now);
                self.hub.wake(request_id);
                Swept { request_id, was }
            })
            .collect();
        kept.drop_old(now, rule);
        swept
    }

    pub fn keep_text(&self, text: &KeptText) {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let of_phone = kept.texts.entry(text.phone.clone()).or_default();
        of_phone.entry(text.message_id).or_insert_with(|| (now, text.sealed.clone()));
    }

    pub fn kept_texts(&self, phone: &PhoneKey) -> Vec<String> {
        let kept = self.lock();
        kept.texts
            .get(phone)
            .map(|texts| texts.values().map(|(_, text)| text.clone()).collect())
            .unwrap_or_default()
    }

    pub fn note_change(&self, user: UserId, sealed: &str, ttl_ms: i64) {
        let until = self.clock.now_ms() + ttl_ms;
        self.lock().changes.insert(user, (until, sealed.to_owned()));
    }

    pub fn noted_change(&self, user: UserId) -> Option<String> {
        let now = self.clock.now_ms();
        self.lock()
            .changes
            .get(&user)
            .filter(|(until, _)| *until > now)
            .map(|(_, sealed)| sealed.clone())
    }

    pub fn count_start(&self, message: &str) -> u32 {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        let (_, starts) = kept.starts.entry(message.to_owned()).or_insert((now, 0));
        *starts += 1;
        *starts
    }

    pub fn starts(&self, message: &str) -> u32 {
        self.lock().starts.get(message).map_or(0, |(_, starts)| *starts)
    }

    pub fn forget_starts(&self, message: &str) {
        self.lock().starts.remove(message);
    }
}

impl Code {
    fn at(id: CodeId, expires: i64) -> Self {
        let (digest, sealed) = (None, None);
        Self {
            id,
            expires,
            tries: 0,
            used: false,
            digest,
            sealed,
            channel: Channel::Sms,
            asks: Vec::new(),
            guard: None,
        }
    }
}

impl Kept {
    /// The guard's word on an ask, told on.
    fn judge(&mut self, ask: &Admit<'_>, guard: &Guard, now: i64) -> Verdict {
        let enforced = ask.guard == PumpingGuard::Enforce;
        let mut nets = self.nets(ask.place());
        let mut verdict = judge(&guard.rule, &mut nets, now);
        let refused = verdict.refused.is_some();
        let added = Added {
            sends: i64::from(!(refused && enforced)),
            refused: i64::from(refused && enforced),
            verified: 0,
        };
        let changes = std::mem::take(&mut verdict.changes);
        let (minute, at, country) =
            (minute_of(now), Timestamp::from_ms(now), nets.country.counts());
        let would_refuse = refused && !enforced;
        guard.news.note(ask.place(), Shown { minute, at, country, would_refuse, changes, added });
        verdict
    }

    fn nets(&mut self, place: Place<'_>) -> Nets<'_> {
        let prefix = self.prefixes.entry(place.operator_prefix.to_owned()).or_default();
        let country = self.countries.entry(place.country.to_owned()).or_default();
        Nets { prefix, country }
    }

    /// The first limit that refuses the ask, and its wait in milliseconds.
    fn refusal(&self, ask: &Admit<'_>, now: i64) -> Option<(Limit, i64)> {
        let limits = ask.limits;
        if limits.resend_cooldown_secs > 0
            && let Some(cool) = self.cools.get(ask.phone).filter(|cool| cool.until > now)
        {
            return Some((Limit::Cooldown, cool.until - now));
        }
        let sliding = |key: String, span: i64, most: u64| {
            let sends = self.sends.get(&key)?;
            let young = || sends.iter().filter(|(at, _)| *at > now - span);
            let count = young().count() as u64;
            if most == 0 || count < most {
                return None;
            }
            let leaves = young().nth(usize::try_from(count - most).unwrap_or_default())?;
            Some(leaves.0 + span - now)
        };
        [
            (Limit::PhoneHour, sliding(phone_sends(ask), HOUR, limits.sends_per_phone_hour)),
            (Limit::PhoneDay, sliding(phone_sends(ask), DAY, limits.sends_per_phone_day)),
            (Limit::IpHour, sliding(ip_sends(ask), HOUR, limits.sends_per_ip_hour)),
        ]
        .into_iter()
        .chain(windows(ask).into_iter().map(|(limit, key, span, most)| {
            let full = self
                .windows
                .get(&(limit, key))
                .filter(|window| window.start + span > now && window.sends >= most);
            (limit, full.filter(|_| most > 0).map(|window| window.start + span - now))
        }))
        .find_map(|(limit, wait)| wait.map(|wait| (limit, wait)))
    }

    /// Counts an admitted ask; gives the time from which the next one is taken.
    fn count(&mut self, ask: &Admit<'_>, now: i64) -> i64 {
        let limits = ask.limits;
        if limits.sends_per_phone_hour + limits.sends_per_phone_day > 0 {
            self.sends.entry(phone_sends(ask)).or_default().push_back((now, ask.request_id));
        }
        if limits.sends_per_ip_hour > 0 {
            self.sends.entry(ip_sends(ask)).or_default().push_back((now, ask.request_id));
        }
        for (limit, key, span, most) in windows(ask) {
            if most == 0 {
                continue;
            }
            let window = self.windows.entry((limit, key)).or_default();
            if window.start + span <= now {
                *window = Window { start: now, sends: 0 };
            }
            window.sends += 1;
        }
        let base = limits.resend_cooldown_secs * 1000;
        if base == 0 {
            return now;
        }
        let cool = self.cools.entry(ask.phone.clone()).or_insert(Cool {
            until: 0,
            before: 0,
            unanswered: 0,
            at: now,
        });
        if cool.at + DAY <= now {
            cool.unanswered = 0;
        }
        let wait =
            base.saturating_mul(1_i64 << cool.unanswered.min(30)).min(COOLDOWN_CAP_MS.max(base));
        *cool = Cool {
            until: now + wait,
            before: cool.until,
            unanswered: cool.unanswered + 1,
            at: now,
        };
        cool.until
    }

    fn count_login(&mut self, ip_key: &str, now: i64, most: u64) -> Option<i64> {
        if most == 0 {
            return None;
        }
        let logins = self.logins.entry(ip_key.to_owned()).or_default();
        logins.retain(|at| *at > now - MINUTE);
        let count = logins.len() as u64;
        if count >= most {
            let leaves = logins.get(usize::try_from(count - most).unwrap_or_default())?;
            return Some(leaves + MINUTE - now);
        }
        logins.push_back(now);
        None
    }

    fn raise(&mut self, id: RequestId, status: Status, reason: Option<Reason>, now: i64) -> bool {
        let Some(request) =
            self.requests.get_mut(&id).filter(|request| request.status.order() < status.order())
        else {
            return false;
        };
        request.status = status;
        request.reason = reason;
        request.updated = now;
        true
    }

    /// What the engine's own expiry does in Redis.
    fn drop_old(&mut self, now: i64, rule: &Rule) {
        self.prefixes.retain(|_, net| !net.is_over(rule, now));
        self.countries.retain(|_, net| !net.is_over(rule, now));
        self.codes.retain(|_, code| code.expires + MINUTE > now);
        self.voids.retain(|_, void| void.until > now);
        self.cools.retain(|_, cool| cool.at + DAY > now);
        self.firsts.retain(|_, first| first.until > now);
        self.requests.retain(|_, request| request.expires + STATUS_KEPT_MS > now);
        self.changes.retain(|_, (until, _)| *until > now);
        self.distinct.retain(|_, (until, _)| *until > now);
        self.once.retain(|_, until| *until > now);
        self.starts.retain(|_, (at, _)| *at + HOUR > now);
        for sends in self.sends.values_mut() {
            sends.retain(|(at, _)| *at > now - DAY);
        }
        self.sends.retain(|_, sends| !sends.is_empty());
        self.windows.retain(|_, window| window.start + DAY > now);
        self.logins.retain(|_, logins| logins.back().is_some_and(|at| *at > now - MINUTE));
        for texts in self.texts.values_mut() {
            texts.retain(|_, (at, _)| *at + TEXT_KEPT_MS > now);
        }
        self.texts.retain(|_, texts| !texts.is_empty());
    }
}

fn phone_sends(ask: &Admit<'_>) -> String {
    format!("phone {}", ask.phone)
}

fn ip_sends(ask: &Admit<'_>) -> String {
    format!("ip {}", ask.ip_key)
}

/// The limits that count in windows: limit, whose, window, most. In the order in which they refuse.
fn windows(ask: &Admit<'_>) -> [(Limit, String, i64, u64); 5] {
    let limits = ask.limits;
    let (prefix, country) = (ask.operator_prefix.to_owned(), ask.country.to_owned());
    [
        (Limit::PrefixHour, prefix.clone(), HOUR, limits.sends_per_prefix_hour),
        (Limit::PrefixDay, prefix, DAY, limits.sends_per_prefix_day),
        (Limit::CountryHour, country.clone(), HOUR, limits.sends_per_country_hour),
        (Limit::CountryDay, country, DAY, limits.sends_per_country_day),
        (Limit::GlobalDay, String::new(), DAY, limits.sends_global_day),
    ]
}
