//! The system under load: one process per service on durable private engines, or everything in one process.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use testkit::engines::EngineSet;
use testkit::http::Api;
use testkit::launch::Keeps;
use testkit::postgres::Postgres;
use testkit::process::Programs;
use testkit::rabbit::Rabbit;
use testkit::redis::Redis;
use testkit::server::Server;
use testkit::system::{Apart, System};

const ONE_EACH: Apart = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };

/// Private engines that keep everything they acknowledge.
pub struct Servers {
    postgres: Postgres,
    redis: Redis,
    rabbit: Rabbit,
}

pub async fn engines() -> Servers {
    let (postgres, redis, rabbit) = tokio::join!(
        Postgres::start(Keeps::AsInProduction),
        Redis::start(Keeps::AsInProduction),
        Rabbit::start(Keeps::AsInProduction)
    );
    Servers { postgres, redis, rabbit }
}

impl Servers {
    /// Returns an empty database, Redis database and vhost.
    pub async fn places(&self) -> EngineSet {
        EngineSet {
            database_url: self.postgres.database().await,
            redis_url: self.redis.database(),
            amqp_url: self.rabbit.vhost().await,
        }
    }

    pub fn parts(&self) -> [(&'static str, &Server); 3] {
        [
            ("PostgreSQL", &self.postgres.server),
            ("Redis", &self.redis.server),
            ("RabbitMQ", &self.rabbit.server),
        ]
    }
}

/// A running system with its own database, Redis database and vhost in the engines, if it uses any.
pub struct Ring<'a> {
    engines: Option<&'a Servers>,
    system: System,
}

impl<'a> Ring<'a> {
    /// Starts a system with no limits on, except those in `more`: `latchkey` in its roles, as in the image.
    pub async fn start(engines: &'a Servers, more: &[(&str, &str)]) -> Self {
        Self::start_of(&Programs::InRoles, engines, more).await
    }

    /// Like [`Ring::start`], with these programs.
    pub async fn start_of(
        programs: &Programs,
        engines: &'a Servers,
        more: &[(&str, &str)],
    ) -> Self {
        let (places, settings) = (engines.places().await, quiet(more));
        let system = System::apart_of(programs.clone(), places, ONE_EACH, &settings).await;
        Self { engines: Some(engines), system }
    }

    /// Starts `latchkey` alone, on memory and SQLite.
    pub async fn embedded(programs: &Programs, more: &[(&str, &str)]) -> Self {
        Self { engines: None, system: System::embedded(programs.clone(), &quiet(more)).await }
    }

    pub fn api(&self) -> Api {
        self.system.api()
    }

    /// Returns the system itself, for operator commands.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns Latchkey's processes first, then the engines.
    pub fn parts(&self) -> Vec<(&'static str, &Server)> {
        let mut parts = self.ours();
        parts.extend(self.engines.into_iter().flat_map(Servers::parts));
        parts
    }

    pub fn ours(&self) -> Vec<(&'static str, &Server)> {
        self.system
            .processes
            .iter()
            .map(|process| (process.binary.name(), &process.server))
            .collect()
    }

    pub async fn stop(self) {
        self.system.stop().await;
    }
}

fn quiet<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("RUST_LOG", "warn")].iter().chain(more).copied().collect()
}

/// Each service's own program of this folder; `None`: of those that were built with this one.
///
/// # Errors
/// If there is no such folder.
pub fn programs(folder: Option<&Path>) -> anyhow::Result<Programs> {
    let own = || std::env::current_exe().ok()?.parent().map(PathBuf::from);
    let folder = folder.map(PathBuf::from).or_else(own).context("find the programs")?;
    Ok(Programs::Own(folder.canonicalize().context("find the folder of the programs")?))
}
