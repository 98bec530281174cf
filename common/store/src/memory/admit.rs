//! Code requests: admitted, withdrawn, marked as published.

use super::passes::Passes;
use super::{
    Code, Cooldown, DAY, First, FirstKey, HOUR, Judged, Memory, Request, State, Window, observation,
};
use crate::types::{AddressLimit, Admission, Admit, Admitted};
use crate::{COOLDOWN_CAP_MS, Guard, IDEMPOTENCY_MS, secs_up};
use domain::ids::CodeId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Limit, PumpingGuard, Status};
use guard::{Counted, Delta, Observation, Verdict, judge, minute_of};

impl Memory {
    pub fn admit(&self, code_request: &Admit<'_>, guard: &Guard) -> Admission {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let mut passes = state.passes(code_request, now);
        let replayed = state.replay(code_request, now);
        let refused = replayed.or_else(|| state.refused_by_code(code_request, &mut passes, now));
        if let Some(answer) = refused {
            return answer;
        }
        let (resend, judged) = match state.pass_limits(code_request, guard, &mut passes, now) {
            Ok(passed) => passed,
            Err(limited) => return limited,
        };
        let (code_id, expires) = state.join_code(code_request, judged, now);
        let request = Request {
            status: Status::Accepted,
            reason: None,
            updated: now,
            expires,
            channel: code_request.channel,
            closed: false,
            guard: judged,
            asker: code_request.asker.to_owned(),
            passed: passes.used,
        };
        state.requests.insert(code_request.request_id, request);
        let answer = Admitted {
            request_id: code_request.request_id,
            code_id,
            channel: code_request.channel,
            now: Timestamp::from_ms(now),
            expires_at: Timestamp::from_ms(expires),
            resend_at: Timestamp::from_ms(resend),
            published: false,
        };
        if let Some((key, given)) = first_key(code_request).zip(code_request.idempotency.as_ref()) {
            let (body, until) = (given.body.clone(), now + IDEMPOTENCY_MS);
            let first = First { body, answer: answer.clone(), replays: 0, until };
            state.idempotency.insert(key, first);
        }
        Admission::Admitted(answer)
    }

    pub fn withdraw(&self, code_request: &Admit<'_>, guard: &Guard) {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        // Another call with the same key may have published it.
        if let Some(first) = state.first_of(code_request)
            && (first.answer.published || first.replays > 0)
        {
            return;
        }
        if !state.leave_code(code_request) {
            return;
        }
        let request = state.requests.remove(&code_request.request_id);
        state.uncount(code_request);
        let passed = request.as_ref().map(|request| request.passed).unwrap_or_default();
        state.uncount_passed(code_request, passed);
        if let Some((minute, counted)) = request.and_then(|request| request.guard) {
            let mut nets = state.nets(code_request.destination());
            let changes =
                counted.map(|counted| nets.withdraw(&guard.rule, counted, now)).unwrap_or_default();
            let added = Delta { sends: -1, ..Delta::default() };
            let seen = Observation { minute, ..observation(&nets, changes, added, now) };
            guard.findings.note(code_request.destination(), seen);
        }
        if state.first_of(code_request).is_some()
            && let Some(key) = first_key(code_request)
        {
            state.idempotency.remove(&key);
        }
    }

    pub fn published(&self, code_request: &Admit<'_>) {
        if let Some(first) = self.lock().first_of(code_request) {
            first.answer.published = true;
        }
    }
}

impl State {
    /// The answer to a request whose key was presented before.
    fn replay(&mut self, code_request: &Admit<'_>, now: i64) -> Option<Admission> {
        let given = code_request.idempotency.as_ref()?;
        let first = self.idempotency.get_mut(&first_key(code_request)?)?;
        if first.until <= now {
            return None;
        }
        if first.body != given.body {
            return Some(Admission::KeyReused);
        }
        first.replays += 1;
        let now = Timestamp::from_ms(now);
        Some(Admission::Replayed(Admitted { now, ..first.answer.clone() }))
    }

    /// The refusal by the live code: it is not the one that is meant, or has no attempts left.
    fn refused_by_code(
        &self,
        code_request: &Admit<'_>,
        passes: &mut Passes,
        now: i64,
    ) -> Option<Admission> {
        let slot = (code_request.phone.clone(), code_request.scope);
        let live = self.codes.get(&slot).filter(|code| code.is_joined(now));
        if code_request.only_code.is_some_and(|only| live.is_none_or(|code| code.id != only)) {
            return Some(Admission::Gone);
        }
        let live = live?;
        let is_exhausted = |tries: u32| tries >= code_request.attempts;
        let refused = match live.own_tries(code_request.device) {
            Some(own) => is_exhausted(own) || (is_exhausted(live.tries) && !passes.by_device()),
            None => is_exhausted(live.tries),
        };
        refused.then(|| Admission::Exhausted { retry_after: secs_up(live.expires - now) })
    }

    /// Counts the request if no limit refuses it. Returns the time from which the next one is accepted, and what the
    /// guard decided.
    fn pass_limits(
        &mut self,
        code_request: &Admit<'_>,
        guard: &Guard,
        passes: &mut Passes,
        now: i64,
    ) -> Result<(i64, Option<Judged>), Admission> {
        let limited = |limit, wait| Admission::Limited { limit, retry_after: secs_up(wait) };
        if let Some((limit, wait)) = self.refusal(code_request, passes, now) {
            return Err(limited(limit, wait));
        }
        // The guard comes last: nothing refuses the request after it, so what it counts is sent.
        let mut judged = None;
        if code_request.is_guarded() {
            let counted = self
                .judge(code_request, guard, passes, now)
                .map_err(|wait| limited(Limit::Blocked, wait))?;
            judged = Some((minute_of(now), counted));
        }
        self.count_passed(code_request, passes.used, now);
        Ok((self.count(code_request, now), judged))
    }

    /// Joins the request to the live code of its slot, or opens a new one there. Returns the code's id and expiry.
    fn join_code(
        &mut self,
        code_request: &Admit<'_>,
        judged: Option<Judged>,
        now: i64,
    ) -> (CodeId, i64) {
        let slot = (code_request.phone.clone(), code_request.scope);
        if let Some(code) = self.codes.get_mut(&slot).filter(|code| code.is_live(now))
            && !code.is_joined(now)
        {
            let code_requests = std::mem::take(&mut code.requests);
            self.cancel_pending(code_requests);
        }
        let code =
            self.codes.entry(slot).or_insert_with(|| Code::at(code_request.new_code_id, now));
        if !code.is_joined(now) {
            *code = Code::at(code_request.new_code_id, now + code_request.ttl_ms);
            code.channel = code_request.channel;
        }
        code.requests.push((code_request.request_id, code_request.note()));
        if let Some((_, counted)) = judged {
            let proves = code.guard.get_or_insert_default();
            proves.prefix |= counted.is_some();
            proves.country |= counted.is_some_and(|counted| counted.country.is_some());
        }
        (code.id, code.expires)
    }

    /// Takes the request off its code, and removes a code that nobody else requested. False: it was not there.
    fn leave_code(&mut self, code_request: &Admit<'_>) -> bool {
        let slot = (code_request.phone.clone(), code_request.scope);
        let Some(code) = self.codes.get_mut(&slot) else { return false };
        let before = code.requests.len();
        code.requests.retain(|(request, _)| *request != code_request.request_id);
        let was_there = code.requests.len() < before;
        if was_there && code.requests.is_empty() && code.sealed.is_none() {
            self.codes.remove(&slot);
        }
        was_there
    }

    /// Takes back what [`State::count`] counted.
    fn uncount(&mut self, code_request: &Admit<'_>) {
        if let Some(cool) =
            self.cools.get_mut(code_request.phone).filter(|cool| cool.unanswered > 0)
        {
            cool.unanswered -= 1;
            cool.until = cool.before;
        }
        let addresses = code_request.addresses.iter().map(ip_sends);
        for key in std::iter::once(phone_sends(code_request)).chain(addresses) {
            if let Some(sends) = self.sends.get_mut(&key) {
                sends.remove(&code_request.request_id);
            }
        }
        for (limit, key, _, most) in windows(code_request) {
            if most > 0
                && let Some(window) = self.windows.get_mut(&(limit, key))
            {
                window.sends = window.sends.saturating_sub(1);
            }
        }
    }

    /// The stored first answer to this request's key, if that answer belongs to this request.
    fn first_of(&mut self, code_request: &Admit<'_>) -> Option<&mut First> {
        let first = self.idempotency.get_mut(&first_key(code_request)?)?;
        (first.answer.request_id == code_request.request_id).then_some(first)
    }

    /// Lets the guard judge a request, and publishes the result as news. Returns where the request was counted, or the
    /// wait in milliseconds.
    fn judge(
        &mut self,
        code_request: &Admit<'_>,
        guard: &Guard,
        passes: &mut Passes,
        now: i64,
    ) -> Result<Option<Counted>, i64> {
        let mut nets = self.nets(code_request.destination());
        let Verdict { refused, counted, changes } = judge(&guard.rule, &mut nets, now);
        let enforced = refused.filter(|_| code_request.guard == PumpingGuard::Enforce);
        // What passes by trust is counted in no net: it is no sign of pumping, and must not feed a block of others.
        let refusal = enforced.filter(|_| !passes.by_trust());
        let (sends, refusals) = (refusal.is_none().into(), refusal.is_some().into());
        let added = Delta { sends, refused: refusals, verified: 0 };
        let would_refuse = refused.is_some() && enforced.is_none();
        let seen = Observation { would_refuse, ..observation(&nets, changes, added, now) };
        guard.findings.note(code_request.destination(), seen);
        refusal.map_or(Ok(counted), Err)
    }

    /// The first limit that refuses the request, and its wait in milliseconds.
    fn refusal(
        &self,
        code_request: &Admit<'_>,
        passes: &mut Passes,
        now: i64,
    ) -> Option<(Limit, i64)> {
        let limits = code_request.limits;
        if limits.resend_cooldown_secs > 0
            && let Some(cool) = self.cools.get(code_request.phone).filter(|cool| cool.until > now)
        {
            let wait = cool.until - now;
            let own = if passes.has_device {
                self.device_wait(code_request, now).unwrap_or_default()
            } else {
                wait
            };
            if own > 0 {
                return Some((Limit::Cooldown, own.min(wait)));
            }
            passes.by_device();
        }
        let sliding = |key: &str, span: i64, most: u64| self.sends.get(key)?.wait(span, most, now);
        let phone = phone_sends(code_request);
        let addresses = code_request.addresses.iter();
        [
            (Limit::PhoneHour, sliding(&phone, HOUR, limits.sends_per_phone_hour)),
            (Limit::PhoneDay, sliding(&phone, DAY, limits.sends_per_phone_day)),
            (
                Limit::IpHour,
                addresses.filter_map(|one| sliding(&ip_sends(one), HOUR, one.most)).max(),
            ),
        ]
        .into_iter()
        .chain(windows(code_request).into_iter().map(|(limit, key, span, most)| {
            let full = self
                .windows
                .get(&(limit, key))
                .filter(|window| window.start + span > now && window.sends >= most);
            (limit, full.filter(|_| most > 0).map(|window| window.start + span - now))
        }))
        .filter_map(|(limit, wait)| Some((limit, wait?)))
        .find(|(limit, _)| match limit {
            Limit::PhoneHour | Limit::PhoneDay => !passes.by_device(),
            Limit::IpHour | Limit::GlobalDay => true,
            _ => !passes.by_trust(),
        })
    }

    /// Counts an admitted request. Returns the time from which the next one is accepted.
    fn count(&mut self, code_request: &Admit<'_>, now: i64) -> i64 {
        let limits = code_request.limits;
        let request = code_request.request_id;
        if limits.sends_per_phone_hour + limits.sends_per_phone_day > 0 {
            self.sends.entry(phone_sends(code_request)).or_default().add(DAY, request, now);
        }
        for address in code_request.addresses {
            self.sends.entry(ip_sends(address)).or_default().add(HOUR, request, now);
        }
        for (limit, key, span, most) in windows(code_request) {
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
        let fresh = Cooldown { until: 0, before: 0, unanswered: 0, since: now, at: now };
        let cool = self.cools.entry(code_request.phone.clone()).or_insert(fresh);
        if cool.since + DAY <= now || cool.at + DAY <= now {
            (cool.unanswered, cool.since) = (0, now);
        }
        // The count goes on after a sign-in: what its asker was forgiven is kept apart, so that others' waits do not
        // tell of it.
        let asker = (code_request.phone.clone(), code_request.asker.to_owned());
        let forgiven = self.forgiven.get(&asker).filter(|(_, since)| *since == cool.since);
        let rungs = cool.unanswered.saturating_sub(forgiven.map_or(0, |(count, _)| *count));
        let wait = base.saturating_mul(1_i64 << rungs.min(30)).min(COOLDOWN_CAP_MS.max(base));
        let (before, unanswered) = (cool.until, cool.unanswered + 1);
        *cool = Cooldown { until: now + wait, before, unanswered, at: now, ..*cool };
        let until = cool.until;
        // A known device with budget left waits for its own requests only.
        if self.passes(code_request, now).has_device { until.min(now + base) } else { until }
    }
}

/// Where the first answer to the request's key is kept.
fn first_key(code_request: &Admit<'_>) -> Option<FirstKey> {
    let given = code_request.idempotency.as_ref()?;
    Some((code_request.phone.clone(), code_request.route, given.key.clone()))
}

fn phone_sends(code_request: &Admit<'_>) -> String {
    format!("phone {}", code_request.phone)
}

fn ip_sends(address: &AddressLimit) -> String {
    format!("ip {}", address.key)
}

/// The windowed limits: limit, key, window, maximum. In the order in which they refuse.
fn windows(code_request: &Admit<'_>) -> [(Limit, String, i64, u64); 5] {
    let limits = code_request.limits;
    let (prefix, country) =
        (code_request.operator_prefix.to_owned(), code_request.country.to_owned());
    [
        (Limit::PrefixHour, prefix.clone(), HOUR, limits.sends_per_prefix_hour),
        (Limit::PrefixDay, prefix, DAY, limits.sends_per_prefix_day),
        (Limit::CountryHour, country.clone(), HOUR, limits.sends_per_country_hour),
        (Limit::CountryDay, country, DAY, limits.sends_per_country_day),
        (Limit::GlobalDay, String::new(), DAY, limits.sends_global_day),
    ]
}
