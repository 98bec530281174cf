//! The Redis key names.

use deadpool_redis::redis::{Script, ScriptInvocation};

use serde::Serialize;

use crate::PROVEN_EPOCH_MS;
use crate::types::{Admit, LoginAddresses, Scope, digest_of};
use domain::ids::{RequestId, UserId};
use domain::keys::PhoneKey;
use uuid::Uuid;

pub(super) const OPEN: &str = "lk:open";
pub(super) const REQUEST: &str = "lk:req:";
const PROVEN: &str = "lk:proven:";

/// The keys of `admission_keys.lua`, in its order.
pub(super) fn admission_keys<'s>(
    script: &'s Script,
    code_request: &Admit<'_>,
) -> ScriptInvocation<'s> {
    let mut call = script.key(code_key(code_request.phone, code_request.scope));
    call.key(cooldown_key(code_request.phone))
        .key(sends_key(code_request.phone))
        .key(idempotency_key(code_request))
        .key(format!("lk:country:{}", code_request.country))
        .key(format!("lk:prefix:{}", code_request.operator_prefix))
        .key("lk:world")
        .key(request_key(code_request.request_id))
        .key(OPEN)
        .key(idempotency_first_key(code_request.phone))
        .key(net_key("p", code_request.operator_prefix))
        .key(net_key("c", code_request.country))
        .key(device_key(code_request))
        .key(proven_key(code_request.phone))
        .key(format!("{}{}", forgiven_keys(code_request.phone), code_request.asker))
        .key(format!("lk:{{{}}}:devices", code_request.phone));
    for address in code_request.addresses {
        call.key(address_sends_key(&address.key));
    }
    call
}

/// A net of the pumping guard: `p` for a prefix, `c` for a country.
pub(super) fn net_key(kind: &str, name: &str) -> String {
    format!("lk:guard:{kind}:{name}")
}

// The braces only group a phone's keys for a human reader. One request runs one script over keys of its phone, address,
// country and prefix, which do not share a slot of a Redis Cluster.
pub(super) fn code_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:code:{scope}")
}

pub(super) fn uncoded_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:void:{scope}")
}

pub(super) fn cooldown_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:cool")
}

pub(super) fn sends_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:sends")
}

/// The set of first-answer keys kept for a phone.
pub(super) fn idempotency_first_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:firsts")
}

pub(super) fn inbox_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:inbox")
}

/// The pattern of [`inbox_key`].
pub(super) const INBOX_KEYS: &str = "lk:{*}:inbox";

/// The phone of an [`inbox_key`].
pub(super) fn phone_of_inbox(key: &str) -> Option<PhoneKey> {
    PhoneKey::stored(key.strip_prefix("lk:{")?.strip_suffix("}:inbox")?)
}

pub(super) fn idempotency_key(code_request: &Admit<'_>) -> String {
    let key = code_request.idempotency.as_ref().map_or("none", |given| given.key.as_str());
    format!("lk:{{{}}}:first:{}:{key}", code_request.phone, code_request.route)
}

pub(super) fn change_key(user: UserId) -> String {
    format!("lk:change:{}", digest_of(user.uuid()))
}

/// Who requested the change of [`change_key`]. A key of its own, because a gateway of the former version reads that one.
pub(super) fn requester_key(user: UserId) -> String {
    format!("{}:by", change_key(user))
}

/// What the known device that asks has used of its budget.
fn device_key(code_request: &Admit<'_>) -> String {
    let device =
        code_request.known_device.map_or_else(|| "none".to_owned(), |user| digest_of(user.uuid()));
    format!("lk:{{{}}}:device:{device}", code_request.phone)
}

/// The prefix of the keys that hold, per asker, what a sign-in forgave it.
pub(super) fn forgiven_keys(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:forgiven:")
}

/// Where it is kept that a phone verified: the set's bucket, one of 65,536, and the integer in it. Together they are 64
/// bits of the phone's key, so that no two of some million phones are taken for each other.
#[derive(Serialize)]
pub(super) struct Proven {
    keys: &'static str,
    bucket: String,
    member: String,
    epoch_ms: i64,
}

impl Proven {
    pub(super) fn of(phone: &PhoneKey) -> Self {
        let (bucket, rest) = phone.as_str().split_at(4);
        let member = u64::from_str_radix(&rest[..12], 16).unwrap_or_default().to_string();
        Self { keys: PROVEN, bucket: bucket.to_owned(), member, epoch_ms: PROVEN_EPOCH_MS }
    }
}

/// The keys of `logins.lua`.
pub(super) fn add_login_keys(call: &mut ScriptInvocation<'_>, addresses: &LoginAddresses) {
    for address in &addresses.logins {
        call.key(logins_key(&address.key));
    }
    for range in &addresses.failures {
        call.key(failures_key(&range.key));
    }
}

pub(super) fn logins_key(range: &str) -> String {
    format!("lk:ip:{range}:logins")
}

pub(super) fn address_sends_key(range: &str) -> String {
    format!("lk:ip:{range}:sends")
}

/// What a phone that verified lately has used of its budget.
pub(super) fn proven_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:proven")
}

pub(super) fn failures_key(range: &str) -> String {
    format!("lk:ip:{range}:failures")
}

pub(super) fn writes_key(writer: Uuid, kind: &str) -> String {
    format!("lk:me:{}:{kind}", digest_of(writer))
}

pub(super) fn request_key(request: RequestId) -> String {
    format!("{REQUEST}{request}")
}
