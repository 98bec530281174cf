//! Code requests: admitted, withdrawn, marked as published.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;
use serde::Serialize;

use super::Redis;
use super::answer::{Answer, odd};
use super::keys::{Proven, REQUEST, admission_keys, idempotency_key};
use crate::types::{Admission, Admit, Admitted, RequestNote, as_text};
use crate::{
    COOLDOWN_CAP_MS, DEVICE_PASSES_A_PHONE_DAY, Guard, IDEMPOTENCY_MS, PASSES_A_DAY, STATUS_KEPT_MS,
};
use domain::engine_error::EngineError;
use domain::limits::DEVICES_AT_A_CODE;
use guard::Rule;

static ADMIT: LazyLock<Script> =
    script!("time", "sliding", "longest", "guard", "unwant", "proven", "admission_keys", "admit");
static WITHDRAW: LazyLock<Script> = script!("time", "guard", "admission_keys", "withdraw");
static PUBLISHED: LazyLock<Script> = script!("published");

/// What `admit.lua` reads.
#[derive(Serialize)]
struct AdmitCall<'a> {
    #[serde(flatten)]
    code_request: &'a Admit<'a>,
    #[serde(serialize_with = "as_text")]
    note: RequestNote,
    rule: &'a Rule,
    known_device: bool,
    devices: u32,
    passes: u64,
    /// The same for all known devices of the phone together.
    phone_passes: u64,
    proven: Proven,
    cooldown_cap_ms: i64,
    status_kept_ms: i64,
    idempotency_kept_ms: i64,
    /// The prefix of the keys of requests.
    request_keys: &'static str,
}

/// What `withdraw.lua` reads.
#[derive(Serialize)]
struct WithdrawCall<'a> {
    #[serde(flatten)]
    code_request: &'a Admit<'a>,
    rule: &'a Rule,
    known_device: bool,
}

impl Redis {
    pub async fn admit(
        &self,
        code_request: &Admit<'_>,
        guard: &Guard,
    ) -> Result<Admission, EngineError> {
        let document = AdmitCall {
            code_request,
            note: code_request.note(),
            rule: &guard.rule,
            known_device: code_request.known_device.is_some(),
            devices: DEVICES_AT_A_CODE,
            passes: PASSES_A_DAY,
            phone_passes: DEVICE_PASSES_A_PHONE_DAY,
            proven: Proven::of(code_request.phone),
            cooldown_cap_ms: COOLDOWN_CAP_MS,
            status_kept_ms: STATUS_KEPT_MS,
            idempotency_kept_ms: IDEMPOTENCY_MS,
            request_keys: REQUEST,
        };
        let answer =
            Answer(self.script_with(admission_keys(&ADMIT, code_request), &document).await?);
        Ok(match answer.word(0)? {
            "admitted" => {
                let now = answer.time(2)?;
                if let Some(mut shown) = answer.shown(5, now)? {
                    shown.added.sends = 1;
                    guard.findings.note(code_request.destination(), shown);
                }
                Admission::Admitted(Admitted {
                    request_id: code_request.request_id,
                    code_id: answer.parse(1)?,
                    channel: code_request.channel,
                    now,
                    expires_at: answer.time(3)?,
                    resend_at: answer.time(4)?,
                    published: false,
                })
            }
            "replayed" => Admission::Replayed(Admitted {
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
        let document = WithdrawCall {
            code_request,
            rule: &guard.rule,
            known_device: code_request.known_device.is_some(),
        };
        let answer =
            Answer(self.script_with(admission_keys(&WITHDRAW, code_request), &document).await?);
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
