//! What the limits have counted, for staff.

use super::passes::proven_budget_left;
use super::{Memory, State};
use crate::limit_state::{Asked, LimitCount, LimitQuestion, LimitState, in_order};
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use guard::{Outlook, Rule};

impl Memory {
    pub fn limit_state(&self, question: &LimitQuestion<'_>, rule: &Rule) -> LimitState {
        let now = self.clock.now_ms();
        let state = self.lock();
        let sliding = question.sliding().into_iter().map(|one| state.slid(question, one, now));
        let windows = question.windows().into_iter().map(|one| state.windowed(question, one, now));
        let until = |key: &str| {
            let until = state.failures.get(key).map(|failures| failures.until);
            until.filter(|until| *until > now).map(Timestamp::from_ms)
        };
        LimitState {
            now: Timestamp::from_ms(now),
            counts: in_order(sliding.chain(windows).collect()),
            failures: question.logins.failures.iter().map(|range| until(&range.key)).collect(),
            guard: question.phone.map(|(_, to)| {
                let prefix = state.prefixes.get(to.operator_prefix).cloned().unwrap_or_default();
                let country = state.countries.get(to.country).cloned().unwrap_or_default();
                Outlook::of(rule, prefix, country, now)
            }),
            is_proven: question
                .phone
                .is_some_and(|(phone, _)| proven_budget_left(&state, phone, now)),
        }
    }
}

impl State {
    fn slid(&self, question: &LimitQuestion<'_>, asked: Asked, now: i64) -> LimitCount {
        let range = |ranges: &[crate::AddressLimit]| {
            asked.range.and_then(|at| ranges.get(at)).map(|range| range.key.clone())
        };
        let (count, wait) = match asked.limit {
            Limit::LoginsIp => {
                let logins = range(&question.logins.logins).and_then(|key| self.logins.get(&key));
                (
                    logins.map_or(0, |logins| logins.count(asked.span_ms, now)),
                    logins.and_then(|logins| logins.wait(asked.span_ms, asked.most, now)),
                )
            }
            limit => {
                let key = match limit {
                    Limit::IpHour => range(question.addresses).map(|key| format!("ip {key}")),
                    _ => question.phone.map(|(phone, _)| format!("phone {phone}")),
                };
                let sends = key.and_then(|key| self.sends.get(&key));
                (
                    sends.map_or(0, |sends| sends.count(asked.span_ms, now)),
                    sends.and_then(|sends| sends.wait(asked.span_ms, asked.most, now)),
                )
            }
        };
        asked.counted(count, wait.map(|wait| Timestamp::from_ms(now + wait)))
    }

    fn windowed(&self, question: &LimitQuestion<'_>, asked: Asked, now: i64) -> LimitCount {
        let key = match (asked.limit, question.phone) {
            (Limit::PrefixHour | Limit::PrefixDay, Some((_, to))) => to.operator_prefix,
            (Limit::CountryHour | Limit::CountryDay, Some((_, to))) => to.country,
            _ => "",
        };
        let window = self.windows.get(&(asked.limit, key.to_owned()));
        let window = window.filter(|window| window.start + asked.span_ms > now);
        let count = window.map_or(0, |window| window.sends);
        let ends = window.map(|window| Timestamp::from_ms(window.start + asked.span_ms));
        asked.counted(count, ends.filter(|_| count >= asked.most))
    }
}
