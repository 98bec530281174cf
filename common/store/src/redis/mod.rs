//! The store on Redis: only this folder talks to it. Every operation is one script; the scripts are in the folder
//! `lua`.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::anyhow;
use deadpool_redis::redis::{self, ScriptInvocation};
use secrecy::SecretString;
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use self::connection::SharedConnection;
use self::primary::Primary;
use super::about::About;
use super::watchers::StatusWatchers;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;

macro_rules! script {
    ($($part:literal),+) => {
        // The first line lets a full server refuse the script before it begins. Without it, a script that deletes
        // before it adds would run past `maxmemory`.
        LazyLock::new(|| Script::new(concat!("#!lua\n", $(include_str!(concat!("../../lua/", $part, ".lua"))),+)))
    };
}

mod admit;
mod answer;
mod codes;
mod connection;
mod counts;
mod guard_nets;
mod keys;
mod limit_state;
mod loads;
mod phone_state;
mod primary;
mod requests;
mod status_subscription;

const ENGINE: &str = "Redis";
/// Connections that all requests share. A connection carries many commands at once, so a few of them achieve more than
/// one per request, at less than half the CPU.
const LANES: usize = 4;
/// After this time a command counts as unanswered: half of what a client may wait for its 503 (P12).
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The server's own time: seconds, and microseconds of the last one.
type Time = (i64, i64);

pub(super) struct Redis {
    primary: Primary,
    lanes: Arc<[SharedConnection; LANES]>,
    next: AtomicUsize,
    clock: Clock,
    _watching: AbortOnDropHandle<()>,
    /// Completed once this process subscribes to changes.
    subscribed: Once,
}

impl Redis {
    pub async fn connect(url: &SecretString, clock: Clock) -> Result<Self, EngineError> {
        let primary = Primary::of(url)?;
        let (lanes, next) = (Arc::default(), AtomicUsize::new(0));
        let watching = connection::leave_a_former_primary(primary.clone(), Arc::clone(&lanes));
        let redis = Self {
            primary,
            lanes,
            next,
            clock,
            _watching: AbortOnDropHandle::new(tokio::spawn(watching)),
            subscribed: Once::new(),
        };
        redis.refuse_eviction().await?;
        Ok(redis)
    }

    /// Subscribes to status changes on the first call. A process without a waiter needs no connection for them and is
    /// not woken by every status change.
    pub fn subscribe(&self, watchers: &StatusWatchers) {
        self.subscribed.call_once(|| {
            tokio::spawn(status_subscription::follow(self.primary.clone(), watchers.clone()));
        });
    }

    /// Under memory pressure an evicting server would silently drop attempts and used codes.
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

    pub async fn about(&self) -> Result<About, EngineError> {
        let info: String =
            self.run(async |mut lane| redis::cmd("INFO").query_async(&mut lane).await).await?;
        Ok(About::of(&info))
    }

    pub async fn ready(&self) -> Result<(), EngineError> {
        self.run(async |mut lane| redis::cmd("PING").query_async::<()>(&mut lane).await).await
    }

    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        let time = self.run(async |mut lane| redis::cmd("TIME").query_async(&mut lane).await);
        Ok(self.time(time.await?))
    }

    /// The server's time as the scripts read it.
    fn time(&self, (secs, micros): Time) -> Timestamp {
        Timestamp::from_ms(secs * 1000 + micros / 1000 + self.clock.ahead_ms())
    }

    /// Runs a script whose one argument is a JSON document: `document`, and the offset of the clock.
    async fn script_with<T: redis::FromRedisValue>(
        &self,
        mut call: ScriptInvocation<'_>,
        document: &impl Serialize,
    ) -> Result<T, EngineError> {
        #[derive(Serialize)]
        struct Document<'a, D> {
            ahead_ms: i64,
            #[serde(flatten)]
            rest: &'a D,
        }
        let document = Document { ahead_ms: self.clock.ahead_ms(), rest: document };
        let text = serde_json::to_string(&document).map_err(|e| EngineError::broken(ENGINE, e))?;
        call.arg(text);
        self.script(call).await
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        call: ScriptInvocation<'_>,
    ) -> Result<T, EngineError> {
        self.run(async |mut lane| call.invoke_async(&mut lane).await).await
    }
}

fn unique() -> String {
    format!("{:016x}", domain::rng::id_u64())
}
