//! Connections, opened before anything is measured, and the parts that use them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Client, Script};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;

use crate::Arguments;
use crate::broker::Broker;

/// As many as the services have.
const DATABASE_CONNECTIONS: u32 = 16;
const REDIS_CONNECTIONS: usize = 4;
/// Three fields and an expiry: a script of the services runs five to ten commands.
const SCRIPT: &str = "redis.call('HSET', KEYS[1], 'a', ARGV[1], 'b', ARGV[2], 'c', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 300000)
return redis.call('HGET', KEYS[1], 'b')";
/// The size of the signed part of a token.
const SIGNED: [u8; 400] = [b'x'; 400];

pub struct Bare {
    broker: Broker,
    redis: Vec<MultiplexedConnection>,
    script: Script,
    database: PgPool,
    next_row: AtomicI64,
    ecdsa: EcdsaKeyPair,
    hmac: hmac::Key,
    client: reqwest::Client,
    provider: String,
}

impl Bare {
    pub async fn connect(arguments: &Arguments) -> anyhow::Result<Self> {
        let client = Client::open(arguments.redis.as_str())?;
        let mut redis = Vec::new();
        for _ in 0..REDIS_CONNECTIONS {
            redis.push(client.get_multiplexed_async_connection().await?);
        }
        let pool = PgPoolOptions::new()
            .max_connections(DATABASE_CONNECTIONS)
            .min_connections(DATABASE_CONNECTIONS)
            .test_before_acquire(false);
        let database = pool.connect(&arguments.database).await?;
        let table = "CREATE TABLE bare (id bigint PRIMARY KEY, body text NOT NULL)";
        sqlx::query(table).execute(&database).await?;
        let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(128);
        Ok(Self {
            broker: Broker::connect(&arguments.broker).await.context("connect to RabbitMQ")?,
            redis,
            script: Script::new(SCRIPT),
            database,
            next_row: AtomicI64::new(0),
            ecdsa: ecdsa.context("generate a key")?,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, b"a-key-of-the-bare-parts"),
            client: client.build()?,
            provider: arguments.provider.clone(),
        })
    }

    /// Makes `count` of a part, `at_once` at any time.
    pub async fn make(
        self: &Arc<Self>,
        part: &str,
        count: usize,
        at_once: usize,
    ) -> anyhow::Result<()> {
        match part {
            "publish" => self.broker.pass(count, at_once).await,
            "script" => self.each(count, at_once, Self::run_script).await,
            "insert" => self.each(count, at_once, Self::insert).await,
            "sign" => self.each(count, at_once, Self::sign).await,
            "call" => self.each(count, at_once, Self::call).await,
            _ => bail!("no part {part}"),
        }
    }

    async fn each<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        self: &Arc<Self>,
        count: usize,
        at_once: usize,
        one: fn(Arc<Self>, usize) -> F,
    ) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for _ in 0..at_once {
            let (bare, next) = (Arc::clone(self), Arc::clone(&next));
            running.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(());
                    }
                    one(Arc::clone(&bare), number).await?;
                }
            });
        }
        running.join_all().await.into_iter().collect()
    }

    async fn run_script(self: Arc<Self>, number: usize) -> anyhow::Result<()> {
        let mut connection = self.redis[number % REDIS_CONNECTIONS].clone();
        let mut call = self.script.key(format!("bare:{number}"));
        let answer: String = call.arg("one").arg("two").invoke_async(&mut connection).await?;
        ensure!(answer == "two", "the script answered {answer}");
        Ok(())
    }

    async fn insert(self: Arc<Self>, _number: usize) -> anyhow::Result<()> {
        let id = self.next_row.fetch_add(1, Ordering::Relaxed);
        sqlx::query("INSERT INTO bare (id, body) VALUES ($1, $2)")
            .bind(id)
            .bind("three hundred bytes or so".repeat(12))
            .execute(&self.database)
            .await?;
        Ok(())
    }

    fn sign(self: Arc<Self>, _number: usize) -> std::future::Ready<anyhow::Result<()>> {
        std::future::ready(self.sign_now())
    }

    fn sign_now(&self) -> anyhow::Result<()> {
        // The cryptographic library's API accepts only its own random generator.
        let signature = self.ecdsa.sign(&SystemRandom::new(), &SIGNED).context("sign")?;
        black_box((signature, hmac::sign(&self.hmac, &SIGNED)));
        Ok(())
    }

    async fn call(self: Arc<Self>, number: usize) -> anyhow::Result<()> {
        let body = json!({
            "message_id": number, "attempt_id": number, "channel": "sms",
            "phone_number": format!("+98913{number:07}"), "text": "123456 is your code.",
        });
        let answer = self.client.post(&self.provider).json(&body).send().await?;
        ensure!(answer.status() == 200, "the provider answered {}", answer.status());
        black_box(answer.json::<Value>().await?);
        Ok(())
    }
}
