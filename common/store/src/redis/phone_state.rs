//! What is kept of a phone, for staff.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;
use serde::Serialize;

use super::Redis;
use super::answer::Answer;
use super::keys::{code_key, cooldown_key, sends_key, uncoded_key};
use crate::phone_state::{CodeState, PhoneState};
use crate::types::Scope;
use domain::engine_error::EngineError;
use domain::keys::PhoneKey;

static PHONE_STATE: LazyLock<Script> = script!("time", "phone_state");

/// What `phone_state.lua` reads beside its keys.
#[derive(Serialize)]
struct Nothing {}

impl Redis {
    pub async fn phone_state(
        &self,
        phone: &PhoneKey,
        scope: Scope,
    ) -> Result<PhoneState, EngineError> {
        let mut call = PHONE_STATE.key(code_key(phone, scope));
        call.key(uncoded_key(phone, scope)).key(cooldown_key(phone)).key(sends_key(phone));
        let answer = Answer(self.script_with(call, &Nothing {}).await?);
        let now = answer.time(0)?;
        let code = match answer.word(1)? {
            "" => None,
            _ => Some(CodeState {
                id: answer.parse(1)?,
                expires_at: answer.time(2)?,
                used: answer.word(3)? == "1",
                attempts: answer.parse(4)?,
                issued: answer.word(5)? == "1",
            }),
        };
        let (uncoded, until): (u32, _) = (answer.parse(6)?, answer.time(7)?);
        Ok(PhoneState {
            now,
            code,
            uncoded: (until > now).then_some((uncoded, until)),
            cooldown_until: Some(answer.time(8)?).filter(|until| *until > now),
            sends_hour: answer.parse(9)?,
            sends_day: answer.parse(10)?,
        })
    }
}
