//! Counts beside the codes: logins per address, writes of the signed-in, different bodies under one key, one-time keys, starts of a message.

use std::sync::LazyLock;

use deadpool_redis::redis::{AsyncCommands as _, Script};
use serde::Serialize;

use super::answer::Answer;
use super::keys::{add_login_keys, failures_key, writes_key};
use super::{Redis, unique};
use crate::counts::STARTS_KEPT_MS;
use crate::types::{FailureRange, LoginAddresses, SuspiciousFailures};
use crate::{
    DISTINCT_KEPT_SECS, FAILURE_FORGET_MS, FAILURE_WAIT_CAP_MS, FAILURE_WAIT_MS, FAILURE_WINDOW_MS,
    SUSPICIOUS_PHONES, secs_up,
};
use domain::engine_error::EngineError;
use domain::keys::PhoneKey;
use uuid::Uuid;

static COUNT_LOGIN: LazyLock<Script> =
    script!("time", "sliding", "longest", "logins", "count_login");
static COUNT_WRITE: LazyLock<Script> = script!("time", "sliding", "count_write");
static NOTE_FAILURE: LazyLock<Script> = script!("time", "sliding", "note_failure");
static COUNT_DISTINCT: LazyLock<Script> = script!("count_distinct");
static FIRST_TIME: LazyLock<Script> = script!("time", "first_time");
static COUNT_START: LazyLock<Script> = script!("count_start");

/// What `count_login.lua` reads.
#[derive(Serialize)]
struct CountLoginCall<'a> {
    addresses: &'a LoginAddresses,
    /// Distinguishes this login from others of its millisecond.
    member: String,
}

/// What `note_failure.lua` reads.
#[derive(Serialize)]
struct FailureCall<'a> {
    ranges: &'a [FailureRange],
    /// The narrowest of the ranges.
    network: &'a str,
    /// Half of the phone's key tells phones apart.
    phone: &'a str,
    window_ms: i64,
    wait_ms: i64,
    wait_cap_ms: i64,
    forget_ms: i64,
    suspicious: u64,
}

impl Redis {
    pub async fn count_login(
        &self,
        addresses: &LoginAddresses,
    ) -> Result<Option<u64>, EngineError> {
        if addresses.logins.is_empty() && addresses.failures.is_empty() {
            return Ok(None);
        }
        let mut call = COUNT_LOGIN.prepare_invoke();
        add_login_keys(&mut call, addresses);
        let document = CountLoginCall { addresses, member: unique() };
        let wait_ms: i64 = self.script_with(call, &document).await?;
        Ok((wait_ms > 0).then(|| secs_up(wait_ms)))
    }

    pub async fn count_write(
        &self,
        writer: Uuid,
        kind: &str,
        most: u64,
    ) -> Result<Option<u64>, EngineError> {
        let mut call = COUNT_WRITE.key(writes_key(writer, kind));
        call.arg(self.clock.ahead_ms()).arg(most).arg(unique());
        let wait_ms: i64 = self.script(call).await?;
        Ok((wait_ms > 0).then(|| secs_up(wait_ms)))
    }

    pub async fn note_failure(
        &self,
        ranges: &[FailureRange],
        phone: &PhoneKey,
    ) -> Result<Option<SuspiciousFailures>, EngineError> {
        let mut call = NOTE_FAILURE.key("lk:failures");
        call.key("lk:failures:phones");
        for range in ranges {
            let wait = failures_key(&range.key);
            call.key(&wait).key(format!("{wait}:phones")).key(format!("{wait}:networks"));
        }
        let document = FailureCall {
            ranges,
            network: ranges.first().map_or("", |range| &range.key),
            phone: &phone.as_str()[..16],
            window_ms: FAILURE_WINDOW_MS,
            wait_ms: FAILURE_WAIT_MS,
            wait_cap_ms: FAILURE_WAIT_CAP_MS,
            forget_ms: FAILURE_FORGET_MS,
            suspicious: SUSPICIOUS_PHONES,
        };
        let answer = Answer(self.script_with(call, &document).await?);
        if answer.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(SuspiciousFailures { failures: answer.parse(0)?, phones: answer.parse(1)? }))
    }

    pub async fn count_distinct(
        &self,
        key: &str,
        member: &str,
        most: u32,
    ) -> Result<bool, EngineError> {
        let mut call = COUNT_DISTINCT.key(format!("lk:distinct:{key}"));
        call.arg(member).arg(most).arg(DISTINCT_KEPT_SECS * 1000);
        Ok(self.script::<i64>(call).await? == 1)
    }

    pub async fn first_time(&self, key: &str, kept_secs: u64) -> Result<bool, EngineError> {
        let mut call = FIRST_TIME.key(format!("lk:once:{key}"));
        call.arg(self.clock.ahead_ms()).arg(kept_secs * 1000);
        Ok(self.script::<i64>(call).await? == 1)
    }

    pub async fn count_start(&self, message: &str) -> Result<u32, EngineError> {
        let mut call = COUNT_START.key(format!("lk:starts:{message}"));
        call.arg(STARTS_KEPT_MS);
        self.script(call).await
    }

    pub async fn starts(&self, message: &str) -> Result<u32, EngineError> {
        let key = format!("lk:starts:{message}");
        let starts: Option<u32> = self.run(async |mut lane| lane.get(&key).await).await?;
        Ok(starts.unwrap_or(0))
    }

    pub async fn forget_starts(&self, message: &str) -> Result<(), EngineError> {
        let key = format!("lk:starts:{message}");
        self.run(async |mut lane| lane.del(&key).await).await
    }
}
