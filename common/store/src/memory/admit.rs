//! Code requests: admitted, withdrawn, marked as published.

use super::{Code, Cooldown, DAY, First, HOUR, Memory, Request, State, Window, secs_up};
use crate::types::{Admission, Admit, Replay};
use crate::{COOLDOWN_CAP_MS, Guard, IDEMPOTENCY_MS};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Limit, PumpingGuard, Status};
use guard::{Delta, Observation, Verdict, judge, minute_of};

impl Memory {
    pub fn admit(&self, code_request: &Admit<'_>, guard: &Guard) -> Admission {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        if let Some(given) = &code_request.idempotency {
            let slot = (code_request.phone.clone(), code_request.route, given.key.clone());
            if let Some(first) = state.idempotency.get_mut(&slot).filter(|first| first.until > now)
            {
                if first.body != given.body {
                    return Admission::KeyReused;
                }
                first.replays += 1;
                return Admission::Replayed(Replay {
                    now: Timestamp::from_ms(now),
                    ..first.replay.clone()
                });
            }
        }
        let destination = (code_request.phone.clone(), code_request.scope);
        let live = state.codes.get(&destination).filter(|code| code.is_joined(now));
        if code_request.only_code.is_some_and(|only| live.is_none_or(|code| code.id != only)) {
            return Admission::Gone;
        }
        if let Some(code) = live
            && code.tries >= code_request.attempts
        {
            return Admission::Exhausted { retry_after: secs_up(code.expires - now) };
        }
        let mut resend = now;
        let mut judged = None;
        if !code_request.unlimited {
            if let Some((limit, wait)) = state.refusal(code_request, now) {
                return Admission::Limited { limit, retry_after: secs_up(wait) };
            }
            // This check comes last: nothing refuses the request after it, so what it counts is sent.
            if code_request.is_guarded() {
                let verdict = state.judge(code_request, guard, now);
                if let Some(wait) =
                    verdict.refused.filter(|_| code_request.guard == PumpingGuard::Enforce)
                {
                    return Admission::Limited {
                        limit: Limit::Blocked,
                        retry_after: secs_up(wait),
                    };
                }
                judged = Some((minute_of(now), verdict.counted));
            }
            resend = state.count(code_request, now);
        }
        if let Some(code) = state.codes.get_mut(&destination).filter(|code| code.is_live(now))
            && !code.is_joined(now)
        {
            let code_requests = std::mem::take(&mut code.requests);
            state.cancel_pending(code_requests);
        }
        let code = state
            .codes
            .entry(destination)
            .or_insert_with(|| Code::at(code_request.new_code_id, now));
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
        let (code_id, expires) = (code.id, code.expires);
        state.requests.insert(
            code_request.request_id,
            Request {
                status: Status::Accepted,
                reason: None,
                updated: now,
                expires,
                channel: code_request.channel,
                closed: false,
                guard: judged,
            },
        );
        if let Some(given) = &code_request.idempotency {
            let replay = Replay {
                request_id: code_request.request_id,
                code_id,
                channel: code_request.channel,
                now: Timestamp::from_ms(now),
                expires_at: Timestamp::from_ms(expires),
                resend_at: Timestamp::from_ms(resend),
                published: false,
            };
            let first =
                First { body: given.body.clone(), replay, replays: 0, until: now + IDEMPOTENCY_MS };
            state
                .idempotency
                .insert((code_request.phone.clone(), code_request.route, given.key.clone()), first);
        }
        Admission::Admitted {
            code_id,
            now: Timestamp::from_ms(now),
            expires_at: Timestamp::from_ms(expires),
            resend_at: Timestamp::from_ms(resend),
        }
    }

    pub fn withdraw(&self, code_request: &Admit<'_>, guard: &Guard) {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        // Another call with the same key may have published it.
        if let Some(first) = state.first_of(code_request)
            && (first.replay.published || first.replays > 0)
        {
            return;
        }
        let destination = (code_request.phone.clone(), code_request.scope);
        let Some(code) = state.codes.get_mut(&destination) else { return };
        let before = code.requests.len();
        code.requests.retain(|(request, _)| *request != code_request.request_id);
        if code.requests.len() == before {
            return;
        }
        if code.requests.is_empty() && code.sealed.is_none() {
            state.codes.remove(&destination);
        }
        if !code_request.unlimited {
            if let Some(cool) =
                state.cools.get_mut(code_request.phone).filter(|cool| cool.unanswered > 0)
            {
                cool.unanswered -= 1;
                cool.until = cool.before;
            }
            for key in [phone_sends(code_request), ip_sends(code_request)] {
                if let Some(sends) = state.sends.get_mut(&key) {
                    sends.retain(|(_, request)| *request != code_request.request_id);
                }
            }
            for (limit, key, ..) in windows(code_request) {
                if let Some(window) = state.windows.get_mut(&(limit, key)) {
                    window.sends = window.sends.saturating_sub(1);
                }
            }
        }
        if let Some((minute, counted)) =
            state.requests.remove(&code_request.request_id).and_then(|request| request.guard)
        {
            let mut nets = state.nets(code_request.destination());
            let changes =
                counted.map(|counted| nets.withdraw(&guard.rule, counted, now)).unwrap_or_default();
            let added = Delta { sends: -1, ..Delta::default() };
            let country = nets.country.counts();
            let at = Timestamp::from_ms(now);
            guard.findings.note(
                code_request.destination(),
                Observation { minute, at, country, would_refuse: false, changes, added },
            );
        }
        if let Some(given) = &code_request.idempotency
            && state.first_of(code_request).is_some()
        {
            state.idempotency.remove(&(
                code_request.phone.clone(),
                code_request.route,
                given.key.clone(),
            ));
        }
    }

    pub fn published(&self, code_request: &Admit<'_>) {
        if let Some(first) = self.lock().first_of(code_request) {
            first.replay.published = true;
        }
    }
}

impl State {
    /// The stored first answer to this request's key, if that answer belongs to this request.
    fn first_of(&mut self, code_request: &Admit<'_>) -> Option<&mut First> {
        let given = code_request.idempotency.as_ref()?;
        let first = self.idempotency.get_mut(&(
            code_request.phone.clone(),
            code_request.route,
            given.key.clone(),
        ))?;
        (first.replay.request_id == code_request.request_id).then_some(first)
    }

    /// Lets the guard judge a request, and publishes the result as news.
    fn judge(&mut self, code_request: &Admit<'_>, guard: &Guard, now: i64) -> Verdict {
        let enforced = code_request.guard == PumpingGuard::Enforce;
        let mut nets = self.nets(code_request.destination());
        let mut verdict = judge(&guard.rule, &mut nets, now);
        let refused = verdict.refused.is_some();
        let added = Delta {
            sends: i64::from(!(refused && enforced)),
            refused: i64::from(refused && enforced),
            verified: 0,
        };
        let changes = std::mem::take(&mut verdict.changes);
        let (minute, at, country) =
            (minute_of(now), Timestamp::from_ms(now), nets.country.counts());
        let would_refuse = refused && !enforced;
        guard.findings.note(
            code_request.destination(),
            Observation { minute, at, country, would_refuse, changes, added },
        );
        verdict
    }

    /// The first limit that refuses the request, and its wait in milliseconds.
    fn refusal(&self, code_request: &Admit<'_>, now: i64) -> Option<(Limit, i64)> {
        let limits = code_request.limits;
        if limits.resend_cooldown_secs > 0
            && let Some(cool) = self.cools.get(code_request.phone).filter(|cool| cool.until > now)
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
            (
                Limit::PhoneHour,
                sliding(phone_sends(code_request), HOUR, limits.sends_per_phone_hour),
            ),
            (Limit::PhoneDay, sliding(phone_sends(code_request), DAY, limits.sends_per_phone_day)),
            (Limit::IpHour, sliding(ip_sends(code_request), HOUR, limits.sends_per_ip_hour)),
        ]
        .into_iter()
        .chain(windows(code_request).into_iter().map(|(limit, key, span, most)| {
            let full = self
                .windows
                .get(&(limit, key))
                .filter(|window| window.start + span > now && window.sends >= most);
            (limit, full.filter(|_| most > 0).map(|window| window.start + span - now))
        }))
        .find_map(|(limit, wait)| wait.map(|wait| (limit, wait)))
    }

    /// Counts an admitted request. Returns the time from which the next one is accepted.
    fn count(&mut self, code_request: &Admit<'_>, now: i64) -> i64 {
        let limits = code_request.limits;
        if limits.sends_per_phone_hour + limits.sends_per_phone_day > 0 {
            self.sends
                .entry(phone_sends(code_request))
                .or_default()
                .push_back((now, code_request.request_id));
        }
        if limits.sends_per_ip_hour > 0 {
            self.sends
                .entry(ip_sends(code_request))
                .or_default()
                .push_back((now, code_request.request_id));
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
        let cool = self.cools.entry(code_request.phone.clone()).or_insert(Cooldown {
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
        *cool = Cooldown {
            until: now + wait,
            before: cool.until,
            unanswered: cool.unanswered + 1,
            at: now,
        };
        cool.until
    }
}

fn phone_sends(code_request: &Admit<'_>) -> String {
    format!("phone {}", code_request.phone)
}

fn ip_sends(code_request: &Admit<'_>) -> String {
    format!("ip {}", code_request.ip_key)
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
