//! The store on Redis: the one folder that speaks to it. Every act is one script; the scripts stand beside it.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::anyhow;
use deadpool_redis::redis::{self, ScriptInvocation};
use deadpool_redis::{Config, Pool, Runtime};
use secrecy::{ExposeSecret as _, SecretString};

use self::lanes::Lane;
use super::hub::Hub;
use crate::clock::Clock;
use crate::engine_error::EngineError;
use crate::timestamp::Timestamp;

macro_rules! script {
    ($($part:literal),+) => {
        // The first line lets a full server refuse the script before it begins. Without it a script that deletes before
        // it adds would run past `maxmemory`.
        LazyLock::new(|| Script::new(concat!("#!lua\n", $(include_str!(concat!("../scripts/", $part, ".lua"))),+)))
    };
}

mod admit;
mod answer;
mod codes;
mod counts;
mod hear;
mod keys;
mod lanes;
mod requests;

const ENGINE: &str = "Redis";
/// Connections that all requests share. A connection carries many commands at once, so few of them give more than one
/// per request would, at less than half the CPU.
const LANES: usize = 4;
/// After this a command counts as unanswered: half of what a client may wait for its 503 (P12).
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Redis {
    pool: Pool,
    lanes: [Lane; LANES],
    next: AtomicUsize,
    clock: Clock,
}

impl Redis {
    pub async fn connect(url: &SecretString, clock: Clock, hub: Hub) -> Result<Self, EngineError> {
        let mut config = Config::from_url(url.expose_secret());
        config.pool = Some(deadpool_redis::PoolConfig::new(LANES));
        let pool = config
            .builder()
            .map_err(|_| EngineError::broken(ENGINE, anyhow!("REDIS_URL is not a Redis address")))?
            .create_timeout(Some(CONNECT_WITHIN))
            .wait_timeout(Some(CONNECT_WITHIN))
            .recycle_timeout(Some(CONNECT_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| EngineError::broken(ENGINE, e))?;
        let redis = Self { pool, lanes: Default::default(), next: AtomicUsize::new(0), clock };
        redis.refuse_eviction().await?;
        let client = redis::Client::open(url.expose_secret()).map_err(|_| {
            EngineError::broken(ENGINE, anyhow!("REDIS_URL is not a Redis address"))
        })?;
        tokio::spawn(hear::follow(client, hub));
        Ok(redis)
    }

    /// An evicting server would drop guesses and used codes under memory pressure, silently.
    async fn refuse_eviction(&self) -> Result<(), EngineError> {
        let info: String = self
            .run(async |mut lane| redis::cmd("INFO").arg("memory").query_async(&mut lane).await)
            .await?;
        let policy = info
            .lines()
            .find_map(|line| line.strip_prefix("maxmemory_policy:"))
            .unwrap_or("noeviction")
            .trim();
        if policy == "noeviction" {
            return Ok(());
        }
        let cause = anyhow!(
            "its maxmemory-policy is {policy}: set `maxmemory-policy noeviction`, or codes and counts vanish"
        );
        Err(EngineError::broken(ENGINE, cause))
    }

    pub async fn time(&self) -> Result<Timestamp, EngineError> {
        let (secs, micros): (i64, i64) =
            self.run(async |mut lane| redis::cmd("TIME").query_async(&mut lane).await).await?;
        Ok(Timestamp::from_ms(secs * 1000 + micros / 1000 + self.clock.ahead_ms()))
    }

    pub async fn ready(&self) -> Result<(), EngineError> {
        self.run(async |mut lane| redis::cmd("PING").query_async::<()>(&mut lane).await).await
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        call: ScriptInvocation<'_>,
    ) -> Result<T, EngineError> {
        self.run(async |mut lane| call.invoke_async(&mut lane).await).await
    }
}

fn unique() -> String {
    crate::keys::hex(&crate::rng::bytes::<8>())
}

fn secs_up(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().div_ceil(1000)
}
