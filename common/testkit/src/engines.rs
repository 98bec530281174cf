//! RabbitMQ, Redis and PostgreSQL for the tests: one private server of each per run, a clean space in each per test.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;

use crate::launch::{Keeps, Restart, allowed};
use crate::postgres::{self, Postgres};
use crate::proxy::Proxy;
use crate::rabbit::Rabbit;
use crate::redis::Redis;
use crate::stalls;

/// The servers that all tests of a run share; each starts on first use.
#[derive(Debug)]
pub struct Engines {
    postgres: Shared<Postgres>,
    redis: Shared<Redis>,
    rabbit: Shared<Rabbit>,
}

/// A test's own spaces on the shared or private servers: each URL can be changed.
#[derive(Debug, Clone)]
pub struct EngineSet {
    pub database_url: String,
    pub redis_url: String,
    pub amqp_url: String,
}

impl Engines {
    /// Returns the shared servers and starts all three.
    pub fn shared() -> &'static Self {
        let engines = Self::one_by_one();
        engines.postgres.begin();
        engines.redis.begin();
        engines.rabbit.begin();
        engines
    }

    /// Returns the shared servers for a test that does not need all: each starts on first use.
    pub fn one_by_one() -> &'static Self {
        static ENGINES: Engines =
            Engines { postgres: Shared::new(), redis: Shared::new(), rabbit: Shared::new() };
        allowed();
        &ENGINES
    }

    /// Returns an empty database, an empty Redis database number and a vhost that no other test has.
    pub async fn fresh(&'static self) -> EngineSet {
        let (database_url, redis_url, amqp_url) =
            tokio::join!(self.database(), self.redis(), self.vhost());
        EngineSet { database_url, redis_url, amqp_url }
    }

    pub async fn database(&'static self) -> String {
        self.postgres.get().await.database().await
    }

    /// Database numbers separate the keys, but not the channels of PUBLISH.
    pub async fn redis(&'static self) -> String {
        self.redis.get().await.database()
    }

    pub async fn vhost(&'static self) -> String {
        self.rabbit.get().await.vhost().await
    }

    /// Returns the shared node, for queries only; never stop it.
    pub async fn rabbit_node(&'static self) -> &'static Rabbit {
        self.rabbit.get().await
    }
}

impl EngineSet {
    /// Puts a proxy before the database.
    pub async fn proxy_database(&mut self) -> Proxy {
        through_a_proxy(&mut self.database_url).await
    }

    /// Puts a proxy before Redis.
    pub async fn proxy_redis(&mut self) -> Proxy {
        through_a_proxy(&mut self.redis_url).await
    }

    /// Puts a proxy before the broker.
    pub async fn proxy_broker(&mut self) -> Proxy {
        through_a_proxy(&mut self.amqp_url).await
    }

    /// Returns the URLs as the product's settings.
    pub fn env(&self) -> BTreeMap<String, String> {
        [
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.redis_url),
            ("AMQP_URL", &self.amqp_url),
        ]
        .map(|(name, url)| (name.to_owned(), url.clone()))
        .into()
    }
}

async fn through_a_proxy(url: &mut String) -> Proxy {
    let (proxy, through) = Proxy::before_url(url).await;
    *url = through;
    proxy
}

/// An engine that starts by itself and can be started in its own thread.
trait Start: Restart + Sized + Send + Sync + 'static {
    /// What it is called, and what it answers at once when it is well.
    const HELLO: (&'static str, &'static [u8]);

    async fn start_shared() -> Self;
}

impl Start for Postgres {
    const HELLO: (&'static str, &'static [u8]) = ("the shared PostgreSQL", postgres::HELLO);

    async fn start_shared() -> Self {
        Self::start(Keeps::Nothing).await
    }
}

impl Start for Redis {
    const HELLO: (&'static str, &'static [u8]) = ("the shared Redis", b"PING\r\n");

    async fn start_shared() -> Self {
        Self::start(Keeps::Nothing).await
    }
}

impl Start for Rabbit {
    const HELLO: (&'static str, &'static [u8]) = ("the shared RabbitMQ", b"AMQP\x00\x00\x09\x01");

    async fn start_shared() -> Self {
        Self::start(Keeps::Nothing).await
    }
}

/// Started once, on first use; a failure is the same for all users.
#[derive(Debug)]
struct Shared<T>(OnceLock<Result<T, String>>);

impl<T: Start> Shared<T> {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn begin(&'static self) {
        if self.0.get().is_none() {
            thread::spawn(|| self.wait().is_ok());
        }
    }

    async fn get(&'static self) -> &'static T {
        let started =
            tokio::task::spawn_blocking(|| self.wait()).await.expect("waiting does not panic");
        started.unwrap_or_else(|why| panic!("{why}"))
    }

    fn wait(&self) -> Result<&T, &str> {
        // A separate runtime and thread: each test has its own runtime, and the server outlives them all.
        let started = self.0.get_or_init(|| {
            let runtime = || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("make a runtime")
            };
            let started = thread::spawn(move || runtime().block_on(T::start_shared())).join();
            let mut engine = started.map_err(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                text.or(panic.downcast_ref::<&str>().copied())
                    .unwrap_or("an engine did not start")
                    .to_owned()
            })?;
            stalls::watch_server(T::HELLO.0, engine.server().1, T::HELLO.1);
            Ok(engine)
        });
        started.as_ref().map_err(String::as_str)
    }
}

#[cfg(test)]
mod on_the_engines {
    use std::collections::BTreeSet;

    use deadpool_redis::redis::{self, AsyncCommands as _};
    use lapin::{ConnectionProperties, options::QueueDeclareOptions};
    use sqlx::Connection as _;

    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn redis_connection(url: &str) -> redis::aio::MultiplexedConnection {
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    async fn queue_length(url: &str, name: &str) -> lapin::Result<u32> {
        let connection = lapin::Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel
            .queue_declare(name.into(), passive, lapin::types::FieldTable::default())
            .await?;
        Ok(queue.message_count())
    }

    async fn declare(url: &str, name: &str) {
        let connection =
            lapin::Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel
            .queue_declare(name.into(), durable, lapin::types::FieldTable::default())
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_tests_share_no_data() {
        let engines = Engines::shared();
        let (one, other) = tokio::join!(engines.fresh(), engines.fresh());

        postgres::connect(&one.database_url).await.unwrap().close().await.unwrap();
        let mut in_one = postgres::connect(&one.database_url).await.unwrap();
        sqlx::query("CREATE TABLE mark (id int)").execute(&mut in_one).await.unwrap();
        let mut in_other = postgres::connect(&other.database_url).await.unwrap();
        assert!(
            sqlx::query("SELECT id FROM mark").fetch_all(&mut in_one).await.unwrap().is_empty()
        );
        sqlx::query("SELECT id FROM mark").fetch_all(&mut in_other).await.unwrap_err();

        let () = redis_connection(&one.redis_url).await.set("mark", 1).await.unwrap();
        let mark: Option<u32> = redis_connection(&other.redis_url).await.get("mark").await.unwrap();
        assert_eq!(mark, None);

        declare(&one.amqp_url, "mark").await;
        assert_eq!(queue_length(&one.amqp_url, "mark").await.unwrap(), 0);
        queue_length(&other.amqp_url, "mark").await.unwrap_err();
        assert_eq!(one.env().len(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn vhosts_do_not_run_out() {
        let engines = Engines::one_by_one();
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            assert!(seen.insert(engines.vhost().await));
        }
        declare(seen.last().unwrap(), "mark").await;
        let listed = engines.rabbit_node().await.ctl(&["-q", "list_vhosts"]).await;
        assert!(seen.iter().all(|url| listed.contains(url.rsplit('/').next().unwrap())));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_postgres_comes_back_with_what_was_committed() {
        let mut private = Postgres::start(Keeps::Everything).await;
        let url = private.database().await;
        let mut connection = postgres::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE mark (id int)").execute(&mut connection).await.unwrap();
        sqlx::query("INSERT INTO mark VALUES (1)").execute(&mut connection).await.unwrap();
        private.restart().await;
        sqlx::query("SELECT id FROM mark").fetch_all(&mut connection).await.unwrap_err();
        let mut connection = postgres::connect(&url).await.unwrap();
        assert_eq!(
            sqlx::query("SELECT id FROM mark").fetch_all(&mut connection).await.unwrap().len(),
            1
        );
        assert!(postgres::dump(&url).contains("INSERT INTO public.mark VALUES (1);"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_redis_comes_back_with_what_was_written() {
        let mut private = Redis::start(Keeps::Everything).await;
        let url = private.database();
        let () = redis_connection(&url).await.set("mark", 7).await.unwrap();
        private.restart().await;
        let mark: u32 = redis_connection(&url).await.get("mark").await.unwrap();
        assert_eq!(mark, 7);
        assert!(private.data().join("appendonlydir").is_dir());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_paused_redis_holds_its_clients_until_it_is_resumed() {
        let private = Redis::start(Keeps::Nothing).await;
        let mut connection = redis_connection(&private.database()).await;
        let () = connection.set("mark", 7).await.unwrap();
        private.server.pause().await;
        let mut waiting = tokio::spawn(async move { connection.get::<_, u32>("mark").await });
        timeout(Duration::from_millis(300), &mut waiting).await.unwrap_err();
        private.server.resume();
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_rabbit_comes_back_with_its_queues() {
        let mut private = Rabbit::start(Keeps::Everything).await;
        let url = private.vhost().await;
        declare(&url, "mark").await;
        // What it declared a moment ago is not on disk yet, and a kill would take it along.
        private.eval("mnesia:sync_log().").await;
        private.restart().await;
        // The listener may open before the last vhost is up.
        let length =
            crate::eventually("the queue after the restart", crate::PATIENCE, async || {
                queue_length(&url, "mark").await.ok()
            });
        assert_eq!(length.await, 0);
        assert!(private.data().is_dir());
    }
}
