//! Codes: issued, checked, closed, forgotten.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use super::answer::{Answer, encode, odd, read_code_requests};
use super::keys::{
    REQUEST, change_key, code_key, cooldown_key, idempotency_first_key, inbox_key, logins_key,
    net_key, rule_words, uncoded_key,
};
use super::{Redis, unique};
use crate::Guard;
use crate::types::CheckOutcome;
use crate::types::Closing;
use crate::types::Issue;
use crate::types::Issued;
use crate::types::Refund;
use crate::types::Scope;
use crate::types::Verify;
use domain::engine_error::EngineError;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use guard::Destination;

static ISSUE: LazyLock<Script> = script!("time", "issue");
static VERIFY: LazyLock<Script> = script!("time", "logins", "verify");
static REFUND: LazyLock<Script> = script!("refund");
static SPEND: LazyLock<Script> = script!("spend");
static CLOSE: LazyLock<Script> = script!("time", "raise", "guard", "unwant", "close");
static FORGET: LazyLock<Script> = script!("unwant", "forget");

impl Redis {
    pub async fn issue(&self, issue: &Issue<'_>) -> Result<Issued, EngineError> {
        let mut call = ISSUE.key(code_key(issue.phone, issue.scope));
        call.arg(self.clock.ahead_ms())
            .arg(issue.request_id.to_string())
            .arg(issue.code_id.to_string())
            .arg(issue.expires_at.ms())
            .arg(issue.code.map_or("", |code| code.digest))
            .arg(issue.code.map_or("", |code| code.sealed))
            .arg(encode(&issue.note)?)
            .arg(issue.note.channel.as_str());
        let answer = Answer(self.script(call).await?);
        Ok(match answer.word(0)? {
            "code" => Issued::Code(answer.word(1)?.to_owned()),
            "nothing" => Issued::Nothing,
            "used" => Issued::Used,
            "superseded" => Issued::Superseded,
            "expired" => Issued::Expired,
            other => return Err(odd(other)),
        })
    }

    pub async fn verify(&self, attempt: &Verify<'_>) -> Result<CheckOutcome, EngineError> {
        let mut call = VERIFY.key(code_key(attempt.phone, attempt.scope));
        call.key(uncoded_key(attempt.phone, attempt.scope))
            .key(logins_key(attempt.ip_key))
            .arg(self.clock.ahead_ms())
            .arg(attempt.digest)
            .arg(attempt.request_id.map_or_else(String::new, |id| id.to_string()))
            .arg(attempt.attempts)
            .arg(attempt.ttl_ms)
            .arg(attempt.logins_per_ip_minute)
            .arg(unique());
        let answer = Answer(self.script(call).await?);
        let code = || answer.word(1).map(|id| (!id.is_empty()).then_some(id));
        Ok(match answer.word(0)? {
            "right" => CheckOutcome::Matched {
                code_id: answer.parse(1)?,
                now: answer.time(2)?,
                expires_at: answer.time(3)?,
                attempts_left: answer.parse(4)?,
                channel: answer.parse(5)?,
                code_requests: read_code_requests(answer.0.get(6..).unwrap_or_default())?,
            },
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
            "limited" => CheckOutcome::Limited { retry_after: answer.secs(1)? },
            other => return Err(odd(other)),
        })
    }

    pub async fn refund(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        refund: Refund,
    ) -> Result<(), EngineError> {
        let (code, unused) = match refund {
            Refund::NoCode => (None, false),
            Refund::CodeCheck(code) => (Some(code), false),
            Refund::Unused(code) => (Some(code), true),
        };
        let mut call = REFUND.key(code_key(phone, scope));
        call.key(uncoded_key(phone, scope))
            .arg(code.map_or_else(String::new, |id| id.to_string()))
            .arg(u8::from(unused));
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn mark_exhausted(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        attempts: u32,
    ) -> Result<(), EngineError> {
        let mut call = SPEND.key(code_key(phone, scope));
        call.arg(code.to_string()).arg(attempts);
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        closing: Closing,
        destination: Destination<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let mut call = CLOSE.key(code_key(phone, scope));
        call.key(cooldown_key(phone))
            .key(uncoded_key(phone, scope))
            .key(net_key("p", destination.operator_prefix))
            .key(net_key("c", destination.country))
            .arg(self.clock.ahead_ms())
            .arg(code.to_string())
            .arg(closing.verified().map_or_else(String::new, |id| id.to_string()))
            .arg(REQUEST)
            .arg(rule_words(&guard.rule))
            .arg(closing.successes());
        let answer = Answer(self.script(call).await?);
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
            .arg(REQUEST);
        self.script::<i64>(call).await.map(drop)
    }
}
