//! Counts beside the codes: logins per address, writes per account, different bodies under one key, one-time keys, starts of a message.

use std::sync::LazyLock;

use deadpool_redis::redis::{AsyncCommands as _, Script};
use serde::Serialize;

use super::keys::{logins_key, writes_key};
use super::{Redis, unique};
use crate::counts::STARTS_KEPT_MS;
use crate::types::AddressLimit;
use crate::{DISTINCT_KEPT_SECS, secs_up};
use domain::engine_error::EngineError;
use domain::ids::UserId;

static COUNT_LOGIN: LazyLock<Script> = script!("time", "longest", "logins", "count_login");
static COUNT_WRITE: LazyLock<Script> = script!("time", "count_write");
static COUNT_DISTINCT: LazyLock<Script> = script!("count_distinct");
static FIRST_TIME: LazyLock<Script> = script!("time", "first_time");
static COUNT_START: LazyLock<Script> = script!("count_start");

/// What `count_login.lua` reads.
#[derive(Serialize)]
struct CountLoginCall<'a> {
    addresses: &'a [AddressLimit],
    /// Distinguishes this login from others of its millisecond.
    member: String,
}

impl Redis {
    pub async fn count_login(
        &self,
        addresses: &[AddressLimit],
    ) -> Result<Option<u64>, EngineError> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let mut call = COUNT_LOGIN.prepare_invoke();
        for address in addresses {
            call.key(logins_key(&address.key));
        }
        let document = CountLoginCall { addresses, member: unique() };
        let wait_ms: i64 = self.script_with(call, &document).await?;
        Ok((wait_ms > 0).then(|| secs_up(wait_ms)))
    }

    pub async fn count_write(
        &self,
        account: UserId,
        kind: &str,
        most: u64,
    ) -> Result<Option<u64>, EngineError> {
        let mut call = COUNT_WRITE.key(writes_key(account, kind));
        call.arg(self.clock.ahead_ms()).arg(most).arg(unique());
        let wait_ms: i64 = self.script(call).await?;
        Ok((wait_ms > 0).then(|| secs_up(wait_ms)))
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
