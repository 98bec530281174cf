//! Codes: issued, checked, closed, forgotten.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;
use serde::Serialize;

use super::answer::{Answer, odd, read_code_requests};
use super::keys::{
    OPEN, Proven, REQUEST, add_login_keys, change_key, code_key, cooldown_key, forgiven_keys,
    idempotency_first_key, inbox_key, net_key, request_key, requester_key, uncoded_key,
};
use super::requests::RaiseCall;
use super::{Redis, unique};
use crate::types::{CheckOutcome, Closing, Issue, Issued, Matched, Refund, Scope, Verify};
use crate::{Guard, STATUS_KEPT_MS};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, RequestId, UserId};
use domain::keys::PhoneKey;
use domain::limits::DEVICES_AT_A_CODE;
use domain::vocabulary::Channel;
use guard::{Destination, Rule};

static ISSUE: LazyLock<Script> = script!("time", "raise", "issue");
static VERIFY: LazyLock<Script> = script!("time", "sliding", "longest", "logins", "verify");
static REFUND: LazyLock<Script> = script!("refund");
static MARK_EXHAUSTED: LazyLock<Script> = script!("mark_exhausted");
static CLOSE: LazyLock<Script> = script!("time", "raise", "guard", "unwant", "proven", "close");
static FORGET: LazyLock<Script> = script!("time", "unwant", "proven", "forget");

/// What `issue.lua` reads.
#[derive(Serialize)]
struct IssueCall<'a> {
    #[serde(flatten)]
    issue: &'a Issue<'a>,
    channel: Channel,
    with_code: RaiseCall,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_code: Option<RaiseCall>,
    status_kept_ms: i64,
}

/// What `verify.lua` reads.
#[derive(Serialize)]
struct VerifyCall<'a> {
    #[serde(flatten)]
    check: &'a Verify<'a>,
    /// The most known devices whose attempts are counted apart.
    devices: u32,
    /// Distinguishes this login from others of its millisecond.
    member: String,
}

/// What `close.lua` reads.
#[derive(Serialize)]
struct CloseCall<'a> {
    code_id: CodeId,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<RequestId>,
    /// Whom the sign-in forgives, as in [`Answered`](crate::types::Answered).
    named: bool,
    askers: &'a [String],
    /// How many of the code's attempts were no failure.
    successes: u32,
    /// The known device that made them.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    rule: &'a Rule,
    /// Set if the phone is proven by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<Proven>,
    /// The prefix of the keys of requests.
    request_keys: &'static str,
    /// The prefix of what the askers were forgiven.
    forgiven_keys: String,
}

/// What `forget.lua` reads.
#[derive(Serialize)]
struct ForgetCall {
    request_keys: &'static str,
    proven: Proven,
}

impl Redis {
    pub async fn issue(&self, issue: &Issue<'_>) -> Result<Issued, EngineError> {
        let mut call = ISSUE.key(code_key(issue.phone, issue.scope));
        call.key(request_key(issue.request_id)).key(OPEN);
        let (with_code, without_code) = issue.raises();
        let document = IssueCall {
            issue,
            channel: issue.note.channel,
            with_code: RaiseCall::of(with_code),
            without_code: without_code.map(RaiseCall::of),
            status_kept_ms: STATUS_KEPT_MS,
        };
        let answer = Answer(self.script_with(call, &document).await?);
        Ok(match answer.word(0)? {
            "code" => Issued::Code(answer.word(1)?.to_owned()),
            "nothing" => Issued::Nothing,
            "used" => Issued::Used,
            "superseded" => Issued::Superseded,
            "expired" => Issued::Expired,
            other => return Err(odd(other)),
        })
    }

    pub async fn verify(&self, check: &Verify<'_>) -> Result<CheckOutcome, EngineError> {
        let mut call = VERIFY.key(code_key(check.phone, check.scope));
        call.key(uncoded_key(check.phone, check.scope));
        add_login_keys(&mut call, check.addresses);
        let document = VerifyCall { check, devices: DEVICES_AT_A_CODE, member: unique() };
        let answer = Answer(self.script_with(call, &document).await?);
        let code = || answer.word(1).map(|id| (!id.is_empty()).then_some(id));
        Ok(match answer.word(0)? {
            "right" => CheckOutcome::Matched(Matched {
                code_id: answer.parse(1)?,
                now: answer.time(2)?,
                expires_at: answer.time(3)?,
                attempts_left: answer.parse(4)?,
                channel: answer.parse(5)?,
                code_requests: read_code_requests(answer.0.get(6..).unwrap_or_default())?,
            }),
            "wrong" => CheckOutcome::Wrong {
                code: match code()? {
                    Some(_) => Some((answer.parse(1)?, answer.time(3)?)),
                    None => None,
                },
                now: answer.time(2)?,
                attempts_left: answer.parse(4)?,
            },
            "exhausted" => CheckOutcome::Exhausted {
                code: code()?.map(|_| answer.parse(1)).transpose()?,
                now: answer.time(2)?,
                until: answer.time(3)?,
            },
            "foreign" => {
                CheckOutcome::Foreign { now: answer.time(1)?, attempts_left: answer.parse(2)? }
            }
            "limited" => CheckOutcome::Limited { retry_after: answer.secs(1)? },
            other => return Err(odd(other)),
        })
    }

    pub async fn refund(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        refund: Refund,
        device: Option<&str>,
    ) -> Result<(), EngineError> {
        let (code, unused) = match refund {
            Refund::NoCode => (None, false),
            Refund::CodeCheck(code) => (Some(code), false),
            Refund::Unused(code) => (Some(code), true),
        };
        let mut call = REFUND.key(code_key(phone, scope));
        call.key(uncoded_key(phone, scope))
            .arg(code.map_or_else(String::new, |id| id.to_string()))
            .arg(u8::from(unused))
            .arg(device.unwrap_or_default());
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn mark_exhausted(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        attempts: u32,
        device: Option<&str>,
    ) -> Result<(), EngineError> {
        let mut call = MARK_EXHAUSTED.key(code_key(phone, scope));
        call.arg(code.to_string()).arg(attempts).arg(device.unwrap_or_default());
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        closing: Closing<'_>,
        destination: Destination<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let mut call = CLOSE.key(code_key(phone, scope));
        call.key(cooldown_key(phone))
            .key(uncoded_key(phone, scope))
            .key(net_key("p", destination.operator_prefix))
            .key(net_key("c", destination.country));
        let answered = closing.verified();
        let document = CloseCall {
            code_id: code,
            verified: answered.map(|answered| answered.request),
            named: answered.is_some_and(|answered| answered.named),
            askers: answered.map_or(&[], |answered| answered.askers),
            successes: closing.successes(),
            device: closing.device(),
            rule: &guard.rule,
            proven: closing.proves_phone().then(|| Proven::of(phone)),
            request_keys: REQUEST,
            forgiven_keys: forgiven_keys(phone),
        };
        let answer = Answer(self.script_with(call, &document).await?);
        if let Some(mut shown) = answer.shown(0, self.clock.now())? {
            shown.added.verified = 1;
            guard.findings.note(destination, shown);
        }
        Ok(())
    }

    pub async fn forget(&self, phone: &PhoneKey, user: UserId) -> Result<(), EngineError> {
        let mut call = FORGET.key(code_key(phone, Scope::Login));
        call.key(uncoded_key(phone, Scope::Login))
            .key(inbox_key(phone))
            .key(idempotency_first_key(phone))
            .key(change_key(user))
            .key(requester_key(user));
        let document = ForgetCall { request_keys: REQUEST, proven: Proven::of(phone) };
        self.script_with::<i64>(call, &document).await.map(drop)
    }
}
