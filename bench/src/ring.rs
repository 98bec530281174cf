//! The system under load: one process per service on durable private engines.

use testkit::engines::EngineSet;
use testkit::http::Api;
use testkit::launch::Keeps;
use testkit::postgres::Postgres;
use testkit::rabbit::Rabbit;
use testkit::redis::Redis;
use testkit::server::Server;
use testkit::system::{Apart, System};

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

/// A running system with its own database, Redis database and vhost in the engines.
pub struct Ring<'a> {
    engines: &'a Servers,
    system: System,
}

impl<'a> Ring<'a> {
    /// Starts a system with no limits on, except those in `more`.
    pub async fn start(engines: &'a Servers, more: &[(&str, &str)]) -> Self {
        let places = EngineSet {
            database_url: engines.postgres.database().await,
            redis_url: engines.redis.database(),
            amqp_url: engines.rabbit.vhost().await,
        };
        let mut settings = vec![("RUST_LOG", "warn")];
        settings.extend(more);
        let one_each = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        Self { engines, system: System::apart(places, one_each, &settings).await }
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
        parts.push(("PostgreSQL", &self.engines.postgres.server));
        parts.push(("Redis", &self.engines.redis.server));
        parts.push(("RabbitMQ", &self.engines.rabbit.server));
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
