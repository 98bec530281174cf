//! The engines of a process, connected once at start and passed to every part.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::presence::Presence;
use bus::Bus;
use bus::consumer::Crashes;
use config::Config;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::keys::Keys;
use futures::future::BoxFuture;
use serde_json::json;
use sql::Pool;
use store::{CrashCounts, DeliveryStore, Store};

/// The engines of a process, embedded or real, with the keys, the clock and the health. Cheap to clone.
#[derive(Clone)]
pub struct Connections<S = Store> {
    pub bus: Bus,
    pub store: S,
    pub sql: Pool,
    pub keys: Arc<Keys>,
    pub clock: Clock,
    pub health: Health,
    pub presence: Presence,
}

impl Connections {
    /// Connects to all three engines, or creates the embedded ones. It waits for an engine that is unavailable at
    /// start, logs its attempts and keeps `/readyz` at 503: a process that gave up would need a manual restart.
    ///
    /// # Errors
    /// When an engine answers and refuses us (a wrong password counts as unavailable, a wrong set-up does not), or when
    /// `stop` comes first.
    pub async fn connect(
        config: &Config,
        service: &'static str,
        clock: Clock,
        health: Health,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let keys = Arc::new(config.keys()?);
        let sql = wait_for(&health, "database", stop, || open_pool(&config.engines)).await?;
        let (store, bus) = match &config.engines {
            config::EngineSettings::Embedded { .. } => {
                (Store::memory(clock.clone()), Bus::memory(clock.clone()))
            }
            config::EngineSettings::Services { redis_url, amqp_url, .. } => (
                wait_for(&health, "redis", stop, || Store::connect_redis(redis_url, clock.clone()))
                    .await?,
                wait_for(&health, "rabbitmq", stop, || Bus::connect_rabbit(amqp_url, service))
                    .await?,
            ),
        };
        let presence = Presence::default();
        let pool = sql.clone();
        presence.tell("database", "pool", move || match pool.usage() {
            Some(usage) => {
                json!({ "size": usage.size, "in_use": usage.in_use, "most": usage.most })
            }
            None => serde_json::Value::Null,
        });
        Ok(Self { bus, store, sql, keys, clock, health, presence })
    }

    /// What delivery is given: it cannot reach a code.
    pub fn for_delivery(&self) -> Connections<DeliveryStore> {
        let Self { bus, store, sql, keys, clock, health, presence } = self.clone();
        Connections { bus, store: store.for_delivery(), sql, keys, clock, health, presence }
    }

    /// Migrates the schema to this version. Safe for several processes at once: the migration takes a lock.
    ///
    /// # Errors
    /// When a migration fails, or when `stop` comes first.
    pub async fn migrate(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        wait_for(&self.health, "schema", stop, || self.sql.migrate(accounts::FUNCTIONS)).await
    }

    /// Watches the engines for `/readyz` until `stop`, or until one of our own parts is dead and only a new process can
    /// restore it.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            let (db, store, bus) =
                tokio::join!(self.sql.ready(), self.store.ready(), self.bus.ready());
            self.health.report("database", db.err());
            self.health.report("redis", store.err());
            self.health.report("rabbitmq", bus.err());
            if self.bus.is_dead() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
    }
}

impl<S> Connections<S> {
    /// Waits until the gateway or `latchkey migrate` has created the tables: services start in any order.
    pub async fn wait_for_schema(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        wait_for(&self.health, "schema", stop, || self.sql.has_schema(accounts::FUNCTIONS)).await
    }
}

/// The database that the settings name, connected: see [`Pool::postgres`] and [`Pool::sqlite`].
pub async fn open_pool(engines: &config::EngineSettings) -> Result<Pool, EngineError> {
    match engines {
        config::EngineSettings::Embedded { data_dir } => Pool::sqlite(data_dir).await,
        config::EngineSettings::Services { database_url, .. } => Pool::postgres(database_url).await,
    }
}

/// The starts of suspects, counted in the code store: where a crash of this process does not reach.
pub struct StoredCrashCounts(pub CrashCounts);

impl Crashes for StoredCrashCounts {
    fn unsurvived<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(self.0.get(id))
    }

    fn started<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(self.0.count(id))
    }

    fn ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.0.forget(id))
    }
}

/// The process was stopped before it could start. This is not a failure.
#[derive(Debug, thiserror::Error)]
#[error("stopped while waiting for {0}")]
pub struct Stopped(&'static str);

/// The wait between two attempts. Short at first: services that start together wait only moments for each other.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Retries `connect` until the engine is available.
///
/// # Errors
/// An error that waiting cannot fix, or [`Stopped`].
pub(crate) async fn wait_for<T, F>(
    health: &Health,
    part: &'static str,
    stop: &CancellationToken,
    connect: impl Fn() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let (mut failures, mut wait) = (0_u32, FIRST_WAIT);
    loop {
        match connect().await {
            Ok(connected) => {
                health.report(part, None::<EngineError>);
                return Ok(connected);
            }
            Err(error) if error.is_away() => {
                // Log the first attempts, then every tenth: an outage overnight must not fill the disk.
                if failures < 5 || failures.is_multiple_of(10) {
                    tracing::warn!(part, error = format!("{error:#}"), "cannot connect, retrying");
                }
                failures += 1;
                health.report(part, Some(error));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Stopped(part).into()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
