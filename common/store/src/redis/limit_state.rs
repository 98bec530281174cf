//! What the limits have counted, for staff.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;
use serde::Serialize;

use super::Redis;
use super::answer::Answer;
use super::keys::{
    Proven, address_sends_key, failures_key, logins_key, net_key, proven_key, sends_key,
};
use crate::PASSES_A_DAY;
use crate::limit_state::{Asked, LimitQuestion, LimitState, in_order};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use guard::{Net, Outlook, Rule};

static LIMIT_STATE: LazyLock<Script> = script!("time", "sliding", "proven", "limit_state");

/// What `limit_state.lua` reads.
#[derive(Serialize)]
struct LimitCall {
    sliding: Vec<Sliding>,
    windows: Vec<Window>,
    failures: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<Proven>,
    passes: u64,
}

#[derive(Serialize)]
struct Sliding {
    span_ms: i64,
    most: u64,
}

#[derive(Serialize)]
struct Window {
    /// `hour` or `day`.
    field: &'static str,
    span_ms: i64,
    most: u64,
}

impl Redis {
    pub async fn limit_state(
        &self,
        question: &LimitQuestion<'_>,
        rule: &Rule,
    ) -> Result<LimitState, EngineError> {
        let (sliding, windows) = (question.sliding(), question.windows());
        let mut call = LIMIT_STATE.prepare_invoke();
        for key in keys(question, &sliding, &windows) {
            call.key(key);
        }
        let failures = question.logins.failures.len();
        let of_sliding = |one: &Asked| Sliding { span_ms: one.span_ms, most: one.most };
        let document = LimitCall {
            sliding: sliding.iter().map(of_sliding).collect(),
            windows: windows.iter().map(|one| of_window(*one)).collect(),
            failures,
            proven: question.phone.map(|(phone, _)| Proven::of(phone)),
            passes: PASSES_A_DAY,
        };
        let answer = Answer(self.script_with(call, &document).await?);
        let now = answer.time(0)?;
        let later = |at: usize| -> Result<Option<Timestamp>, EngineError> {
            Ok(Some(answer.time(at)?).filter(|at| *at > now))
        };
        let asked: Vec<_> = sliding.into_iter().chain(windows).collect();
        let mut counts = Vec::with_capacity(asked.len());
        for (place, one) in asked.iter().enumerate() {
            let at = 1 + 2 * place;
            counts.push(one.counted(answer.parse(at)?, later(at + 1)?));
        }
        let at = 1 + 2 * asked.len();
        let waits = (at..at + failures).map(later).collect::<Result<_, _>>()?;
        let at = at + failures;
        let (mut is_proven, mut guard) = (false, None);
        if question.phone.is_some() {
            is_proven = answer.word(at)? == "1";
            let (prefix, next) = net(&answer, at + 1)?;
            let (country, _) = net(&answer, next)?;
            guard = Some(Outlook::of(rule, prefix, country, now.ms()));
        }
        Ok(LimitState { now, counts: in_order(counts), failures: waits, guard, is_proven })
    }
}

/// The keys of `limit_state.lua`, in its order.
fn keys(question: &LimitQuestion<'_>, sliding: &[Asked], windows: &[Asked]) -> Vec<String> {
    let phone = question.phone;
    let of_sliding = |one: &Asked| {
        let range = |ranges: &[crate::AddressLimit]| {
            let range = one.range.and_then(|at| ranges.get(at));
            range.map(|range| range.key.clone()).unwrap_or_default()
        };
        match (one.limit, phone) {
            (Limit::LoginsIp, _) => logins_key(&range(&question.logins.logins)),
            (Limit::IpHour, _) => address_sends_key(&range(question.addresses)),
            (_, Some((phone, _))) => sends_key(phone),
            (_, None) => String::new(),
        }
    };
    let of_window = |one: &Asked| match (one.limit, phone) {
        (Limit::PrefixHour | Limit::PrefixDay, Some((_, to))) => {
            format!("lk:prefix:{}", to.operator_prefix)
        }
        (Limit::CountryHour | Limit::CountryDay, Some((_, to))) => {
            format!("lk:country:{}", to.country)
        }
        _ => "lk:world".to_owned(),
    };
    let mut keys: Vec<_> = sliding.iter().map(of_sliding).collect();
    keys.extend(windows.iter().map(of_window));
    keys.extend(question.logins.failures.iter().map(|range| failures_key(&range.key)));
    if let Some((phone, to)) = phone {
        keys.extend([
            net_key("p", to.operator_prefix),
            net_key("c", to.country),
            proven_key(phone),
        ]);
    }
    keys
}

const fn of_window(asked: Asked) -> Window {
    let field = match asked.limit {
        Limit::PrefixHour | Limit::CountryHour => "hour",
        _ => "day",
    };
    Window { field, span_ms: asked.span_ms, most: asked.most }
}

/// A net, and where the answer goes on.
fn net(answer: &Answer, at: usize) -> Result<(Net, usize), EngineError> {
    let words: usize = answer.parse(at)?;
    let (from, to) = (at + 1, at + 1 + words);
    let mut fields = Vec::with_capacity(words / 2);
    for field in (from..to).step_by(2) {
        fields.push((answer.word(field)?, answer.parse(field + 1)?));
    }
    Ok((Net::of_fields(fields), to))
}
