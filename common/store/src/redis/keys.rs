//! The Redis key names.

use deadpool_redis::redis::{Script, ScriptInvocation};

use crate::types::{Admit, Scope, digest_of};
use domain::ids::{RequestId, UserId};
use domain::keys::PhoneKey;
use guard::Rule;

pub(super) const OPEN: &str = "lk:open";
pub(super) const REQUEST: &str = "lk:req:";

pub(super) fn ask_keys<'s>(script: &'s Script, ask: &Admit<'_>) -> ScriptInvocation<'s> {
    let mut call = script.key(code_key(ask.phone, ask.scope));
    call.key(cool_key(ask.phone))
        .key(sends_key(ask.phone))
        .key(idempotency_key(ask))
        .key(format!("lk:ip:{}:sends", ask.ip_key))
        .key(format!("lk:country:{}", ask.country))
        .key(format!("lk:prefix:{}", ask.operator_prefix))
        .key("lk:world")
        .key(request_key(ask.request_id))
        .key(OPEN)
        .key(firsts_key(ask.phone))
        .key(net_key("p", ask.operator_prefix))
        .key(net_key("c", ask.country));
    call
}

/// A net of the pumping guard: `p` for a prefix, `c` for a country.
pub(super) fn net_key(kind: &str, name: &str) -> String {
    format!("lk:guard:{kind}:{name}")
}

/// The rule as `guard.lua` reads it.
pub(super) fn rule_words(rule: &Rule) -> String {
    format!(
        "{},{},{},{},{},{},{},{},{},{},{},{}",
        rule.min_sends,
        rule.conversion_permille,
        rule.window_minutes(),
        rule.settle_minutes(),
        rule.settle_secs * 1000,
        rule.doubt,
        rule.probes,
        rule.probes_verified,
        rule.block_secs * 1000,
        rule.block_cap_secs * 1000,
        rule.forget_secs * 1000,
        rule.country_factor,
    )
}

// The braces only group a phone's keys for a human reader. One request runs one script over keys of its phone, address,
// country and prefix, which do not share a slot of a Redis Cluster.
pub(super) fn code_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:code:{scope}")
}

pub(super) fn void_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:void:{scope}")
}

pub(super) fn cool_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:cool")
}

pub(super) fn sends_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:sends")
}

/// The set of first-answer keys kept for a phone.
pub(super) fn firsts_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:firsts")
}

pub(super) fn inbox_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:inbox")
}

pub(super) fn idempotency_key(ask: &Admit<'_>) -> String {
    let key = ask.idempotency.as_ref().map_or("none", |given| given.key.as_str());
    format!("lk:{{{}}}:first:{}:{key}", ask.phone, ask.route)
}

pub(super) fn change_key(user: UserId) -> String {
    format!("lk:change:{}", digest_of(user))
}

pub(super) fn logins_key(ip_key: &str) -> String {
    format!("lk:ip:{ip_key}:logins")
}

pub(super) fn request_key(request: RequestId) -> String {
    format!("{REQUEST}{request}")
}
