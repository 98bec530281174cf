//! What a process is connected to: made once at start, given to everything that works.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::health::Health;
use bus::Bus;
use bus::consumer::Crashes;
use config::Config;
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::keys::Keys;
use futures::future::BoxFuture;
use sql::Pool;
use store::OtpStore;

/// The engines behind a process, embedded or real, and what goes with them everywhere. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    pub bus: Bus,
    pub store: OtpStore,
    pub sql: Pool,
    pub keys: Arc<Keys>,
    pub clock: Clock,
    pub health: Health,
}

impl Connections {
    /// Connects to all three engines, or makes the embedded ones. An engine that is away at start is waited for, with a
    /// line in the log for each try and `/readyz` at 503: a process that gives up would have to be woken by hand.
    ///
    /// # Errors
    /// When an engine answers and refuses us (a wrong password is as good as away, a wrong set-up is not), or when
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
                (OtpStore::memory(clock.clone()), Bus::memory(clock.clone()))
            }
            config::EngineSettings::Services { redis_url, amqp_url, .. } => (
                wait_for(&health, "redis", stop, || {
                    OtpStore::connect_redis(redis_url, clock.clone())
                })
                .await?,
                wait_for(&health, "rabbitmq", stop, || Bus::connect_rabbit(amqp_url, service))
                    .await?,
            ),
        };
        Ok(Self { bus, store, sql, keys, clock, health })
    }

    /// Brings the schema up to this version. Safe when several do it at once: the migration holds a lock of its own.
    ///
    /// # Errors
    /// When a migration fails, or when `stop` comes first.
    pub async fn migrate(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        wait_for(&self.health, "schema", stop, || self.sql.migrate(accounts::FUNCTIONS)).await
    }

    /// Waits until the gateway or `latchkey migrate` has made the tables: services start in any order.
    pub async fn wait_for_schema(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        wait_for(&self.health, "schema", stop, || self.sql.has_schema(accounts::FUNCTIONS)).await
    }

    /// Watches the engines for `/readyz` until `stop`, or until a part of ours is found dead that nothing but a new
    /// process brings back.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            let (db, otps, bus) =
                tokio::join!(self.sql.ready(), self.store.ready(), self.bus.ready());
            self.health.report("database", db.err());
            self.health.report("redis", otps.err());
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

/// The database that the settings name, connected: see [`Pool::postgres`] and [`Pool::sqlite`].
pub async fn open_pool(engines: &config::EngineSettings) -> Result<Pool, EngineError> {
    match engines {
        config::EngineSettings::Embedded { data_dir } => Pool::sqlite(data_dir).await,
        config::EngineSettings::Services { database_url, .. } => Pool::postgres(database_url).await,
    }
}

/// The starts of suspects, counted in the code store: where a crash of this process does not reach.
pub struct StoredCrashCounts(pub OtpStore);

impl Crashes for StoredCrashCounts {
    fn unsurvived<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(self.0.starts(id))
    }

    fn started<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(self.0.count_start(id))
    }

    fn ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.0.forget_starts(id))
    }
}

/// The process was told to stop before it could begin: no failure.
#[derive(Debug, thiserror::Error)]
#[error("stopped while waiting for {0}")]
pub struct Stopped(&'static str);

/// Between two tries. Short at first: services that start together wait for each other by moments.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Does it as soon as the engine is there.
///
/// # Errors
/// What waiting does not mend, or [`Stopped`].
pub(crate) async fn wait_for<T, F>(
    health: &Health,
    part: &'static str,
    stop: &CancellationToken,
    connect: impl Fn() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let (mut told, mut wait) = (0_u32, FIRST_WAIT);
    loop {
        match connect().await {
            Ok(connected) => {
                health.report(part, None::<EngineError>);
                return Ok(connected);
            }
            Err(error) if error.is_away() => {
                // Every try at first, then one line in ten: a night's outage should not fill a disk.
                if told < 5 || told.is_multiple_of(10) {
                    tracing::warn!(
                        part,
                        error = format!("{error:#}"),
                        "not connected yet, trying again"
                    );
                }
                told += 1;
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
