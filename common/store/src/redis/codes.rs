//! Codes: issued, checked, closed, forgotten.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use super::answer::{Answer, encode, odd, read_asks};
use super::keys::{
    REQUEST, change_key, code_key, cool_key, firsts_key, inbox_key, logins_key, net_key,
    rule_words, void_key,
};
use super::{Redis, unique};
use crate::Guard;
use crate::types::{Closing, Issue, Issued, Judged, Refund, Scope, Verify};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use guard::Place;

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

    pub async fn verify(&self, guess: &Verify<'_>) -> Result<Judged, EngineError> {
        let mut call = VERIFY.key(code_key(guess.phone, guess.scope));
        call.key(void_key(guess.phone, guess.scope))
            .key(logins_key(guess.ip_key))
            .arg(self.clock.ahead_ms())
            .arg(guess.digest)
            .arg(guess.request_id.map_or_else(String::new, |id| id.to_string()))
            .arg(guess.attempts)
            .arg(guess.ttl_ms)
            .arg(guess.logins_per_ip_minute)
            .arg(unique());
        let answer = Answer(self.script(call).await?);
        let code = || answer.word(1).map(|id| (!id.is_empty()).then_some(id));
        Ok(match answer.word(0)? {
            "right" => Judged::Right {
                code_id: answer.parse(1)?,
                now: answer.time(2)?,
                expires_at: answer.time(3)?,
                attempts_left: answer.parse(4)?,
                channel: answer.parse(5)?,
                asks: read_asks(answer.0.get(6..).unwrap_or_default())?,
            },
            "wrong" => Judged::Wrong {
                code: match code()? {
                    Some(_) => Some((answer.parse(1)?, answer.time(3)?)),
                    None => None,
                },
                now: answer.time(2)?,
                attempts_left: answer.parse(4)?,
            },
            "exhausted" => Judged::Exhausted {
                code: code()?.map(|_| answer.parse(1)).transpose()?,
                now: answer.time(2)?,
                until: answer.time(3)?,
            },
            "limited" => Judged::Limited { retry_after: answer.secs(1)? },
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
            Refund::Guess(code) => (Some(code), false),
            Refund::Unused(code) => (Some(code), true),
        };
        let mut call = REFUND.key(code_key(phone, scope));
        call.key(void_key(phone, scope))
            .arg(code.map_or_else(String::new, |id| id.to_string()))
            .arg(u8::from(unused));
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn spend(
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
        place: Place<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let mut call = CLOSE.key(code_key(phone, scope));
        call.key(cool_key(phone))
            .key(void_key(phone, scope))
            .key(net_key("p", place.operator_prefix))
            .key(net_key("c", place.country))
            .arg(self.clock.ahead_ms())
            .arg(code.to_string())
            .arg(closing.verified().map_or_else(String::new, |id| id.to_string()))
            .arg(REQUEST)
            .arg(rule_words(&guard.rule))
            .arg(closing.successes());
        let answer = Answer(self.script(call).await?);
        if let Some(mut shown) = answer.shown(0, self.clock.now())? {
            shown.added.verified = 1;
            guard.news.note(place, shown);
        }
        Ok(())
    }

    pub async fn forget(&self, phone: &PhoneKey, user: UserId) -> Result<(), EngineError> {
        let mut call = FORGET.key(code_key(phone, Scope::Login));
        call.key(void_key(phone, Scope::Login))
            .key(inbox_key(phone))
            .key(firsts_key(phone))
            .key(change_key(user))
            .arg(REQUEST);
        self.script::<i64>(call).await.map(drop)
    }
}
