//! Code requests: admitted, withdrawn, marked as published.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use super::Redis;
use super::answer::{Answer, encode, odd};
use super::keys::{REQUEST, admission_keys, idempotency_key, rule_words};
use crate::COOLDOWN_CAP_MS;
use crate::Guard;
use crate::IDEMPOTENCY_MS;
use crate::STATUS_KEPT_MS;
use crate::types::Admission;
use crate::types::Admit;
use crate::types::Replay;
use crate::types::RequestNote;
use domain::engine_error::EngineError;
use domain::vocabulary::PumpingGuard;

static ADMIT: LazyLock<Script> = script!("time", "guard", "unwant", "admit");
static WITHDRAW: LazyLock<Script> = script!("time", "guard", "withdraw");
static PUBLISHED: LazyLock<Script> = script!("published");

impl Redis {
    pub async fn admit(
        &self,
        code_request: &Admit<'_>,
        guard: &Guard,
    ) -> Result<Admission, EngineError> {
        let limits = code_request.limits;
        let mut call = admission_keys(&ADMIT, code_request);
        let note = RequestNote {
            channel: code_request.channel,
            locale: code_request.locale.map(str::to_owned),
            profile: None,
        };
        call.arg(self.clock.ahead_ms())
            .arg(code_request.request_id.to_string())
            .arg(code_request.new_code_id.to_string())
            .arg(code_request.ttl_ms)
            .arg(code_request.attempts)
            .arg(u8::from(code_request.idempotency.is_some()))
            .arg(code_request.idempotency.as_ref().map_or("", |key| key.body.as_str()))
            .arg(u8::from(code_request.unlimited))
            .arg(limits.resend_cooldown_secs * 1000)
            .arg(COOLDOWN_CAP_MS)
            .arg(limits.sends_per_phone_hour)
            .arg(limits.sends_per_phone_day)
            .arg(limits.sends_per_ip_hour)
            .arg(limits.sends_per_country_hour)
            .arg(limits.sends_per_country_day)
            .arg(limits.sends_per_prefix_hour)
            .arg(limits.sends_per_prefix_day)
            .arg(limits.sends_global_day)
            .arg(code_request.channel.as_str())
            .arg(encode(&note)?)
            .arg(STATUS_KEPT_MS)
            .arg(IDEMPOTENCY_MS)
            .arg(
                if code_request.unlimited { PumpingGuard::Off } else { code_request.guard }
                    .as_str(),
            )
            .arg(rule_words(&guard.rule))
            .arg(REQUEST)
            .arg(code_request.only_code.map_or_else(String::new, |id| id.to_string()));
        let answer = Answer(self.script(call).await?);
        Ok(match answer.word(0)? {
            "admitted" => {
                let now = answer.time(2)?;
                if let Some(mut shown) = answer.shown(5, now)? {
                    shown.added.sends = 1;
                    guard.findings.note(code_request.destination(), shown);
                }
                Admission::Admitted {
                    code_id: answer.parse(1)?,
                    now,
                    expires_at: answer.time(3)?,
                    resend_at: answer.time(4)?,
                }
            }
            "replayed" => Admission::Replayed(Replay {
                request_id: answer.parse(1)?,
                code_id: answer.parse(2)?,
                channel: answer.parse(3)?,
                now: answer.time(4)?,
                expires_at: answer.time(5)?,
                resend_at: answer.time(6)?,
                published: answer.word(7)? == "1",
            }),
            "reused" => Admission::KeyReused,
            "limited" => {
                if let Some(mut shown) = answer.shown(3, self.clock.now())? {
                    shown.would_refuse = false;
                    shown.added.refused = 1;
                    guard.findings.note(code_request.destination(), shown);
                }
                Admission::Limited { limit: answer.parse(1)?, retry_after: answer.secs(2)? }
            }
            "gone" => Admission::Gone,
            "exhausted" => Admission::Exhausted { retry_after: answer.secs(1)? },
            other => return Err(odd(other)),
        })
    }

    pub async fn withdraw(
        &self,
        code_request: &Admit<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let mut call = admission_keys(&WITHDRAW, code_request);
        call.arg(code_request.request_id.to_string())
            .arg(u8::from(code_request.idempotency.is_some()))
            .arg(u8::from(!code_request.unlimited))
            .arg(u8::from(code_request.limits.resend_cooldown_secs > 0))
            .arg(self.clock.ahead_ms())
            .arg(rule_words(&guard.rule));
        let answer = Answer(self.script(call).await?);
        if let Some(mut shown) = answer.shown(0, self.clock.now())? {
            shown.added.sends = -1;
            guard.findings.note(code_request.destination(), shown);
        }
        Ok(())
    }

    pub async fn published(&self, code_request: &Admit<'_>) -> Result<(), EngineError> {
        let mut call = PUBLISHED.key(idempotency_key(code_request));
        call.arg(code_request.request_id.to_string());
        self.script::<i64>(call).await.map(drop)
    }
}
