//! Code requests: admitted, withdrawn, marked as published.

use super::{Code, Cool, DAY, First, HOUR, Kept, Memory, Request, Window, secs_up};
use crate::types::{Admission, Admit, AskNote, Replay};
use crate::{COOLDOWN_CAP_MS, Guard, IDEMPOTENCY_MS};
use domain::timestamp::Timestamp;
use domain::vocabulary::{Limit, PumpingGuard, Status};
use guard::{Added, Shown, Verdict, judge, minute_of};

impl Memory {
    pub fn admit(&self, ask: &Admit<'_>, guard: &Guard) -> Admission {
        let now = self.clock.now_ms();
        let mut kept = self.lock();
        if let Some(given) = &ask.idempotency {
            let slot = (ask.phone.clone(), ask.route, given.key.clone());
            if let Some(first) = kept.firsts.get_mut(&slot).filter(|first| first.until > now) {
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
        let place = (ask.phone.clone(), ask.scope);
        let live = kept.codes.get(&place).filter(|code| code.is_joined(now));
        if ask.only_code.is_some_and(|only| live.is_none_or(|code| code.id != only)) {
            return Admission::Gone;
        }
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
            // This check comes last: nothing refuses the request after it, so what it counts is sent.
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
        if let Some(code) = kept.codes.get_mut(&place).filter(|code| code.is_live(now))
            && !code.is_joined(now)
        {
            let asks = std::mem::take(&mut code.asks);
            kept.unwant(asks);
        }
        let code = kept.codes.entry(place).or_insert_with(|| Code::at(ask.new_code_id, now));
        if !code.is_joined(now) {
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
            let first =
                First { body: given.body.clone(), replay, replays: 0, until: now + IDEMPOTENCY_MS };
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
        // Another call with the same key may have published it.
        if let Some(first) = kept.first_of(ask)
            && (first.replay.published || first.replays > 0)
        {
            return;
        }
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
        if let Some(given) = &ask.idempotency
            && kept.first_of(ask).is_some()
        {
            kept.firsts.remove(&(ask.phone.clone(), ask.route, given.key.clone()));
        }
    }

    pub fn published(&self, ask: &Admit<'_>) {
        if let Some(first) = self.lock().first_of(ask) {
            first.replay.published = true;
        }
    }
}

impl Kept {
    /// The stored first answer to this request's key, if that answer belongs to this request.
    fn first_of(&mut self, ask: &Admit<'_>) -> Option<&mut First> {
        let given = ask.idempotency.as_ref()?;
        let first = self.firsts.get_mut(&(ask.phone.clone(), ask.route, given.key.clone()))?;
        (first.replay.request_id == ask.request_id).then_some(first)
    }

    /// Lets the guard judge a request, and publishes the result as news.
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

    /// The first limit that refuses the request, and its wait in milliseconds.
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

    /// Counts an admitted request. Returns the time from which the next one is accepted.
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
}

fn phone_sends(ask: &Admit<'_>) -> String {
    format!("phone {}", ask.phone)
}

fn ip_sends(ask: &Admit<'_>) -> String {
    format!("ip {}", ask.ip_key)
}

/// The windowed limits: limit, key, window, maximum. In the order in which they refuse.
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
