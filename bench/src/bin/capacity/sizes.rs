//! What a sign-in leaves behind, measured on private engines: rows, log, keys and what one queue carries. Recorded in
//! bench/sizes.json.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bench::load::{Pace, run};
use bench::provider::Provider;
use bench::ring::{self, Ring};
use deadpool_redis::redis::{self, aio::MultiplexedConnection};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};
use testkit::http::{Api, new_phone};
use tokio::time::sleep;

use crate::queue;

/// The limits of production, without those of an address: the whole load comes from one.
const LIMITS: [(&str, &str); 4] = [
    ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
    ("LATCHKEY_SENDS_PER_PHONE_HOUR", "5"),
    ("LATCHKEY_SENDS_PER_PHONE_DAY", "10"),
    ("LATCHKEY_PUMPING_GUARD", "record"),
];
const PATIENCE: Duration = Duration::from_mins(2);
/// After a stage: the outbox is published, statuses are told, the ledger's last batch is written.
const REST: Duration = Duration::from_secs(3);
/// Sign-ins before what is measured. Their keys are counted with the others.
const WARM_UP: usize = 200;
/// How many keys are looked at in one round trip.
const KEYS_AT_ONCE: usize = 500;

/// Measures with this many users, each of whom signs in once and refreshes once.
pub async fn measure(users: usize) -> anyhow::Result<Value> {
    let (engines, provider) = (ring::engines().await, Provider::start().await?);
    let mut settings = provider.settings().to_vec();
    settings.extend(LIMITS);
    let ring = Ring::start(&engines, &settings).await;
    let places = ring.system().engines.clone().context("it runs on engines")?;
    let mut database = testkit::postgres::connect(&places.database_url).await?;
    let client = redis::Client::open(places.redis_url.as_str())?;
    let mut keys = client.get_multiplexed_async_connection().await?;
    stages(&ring.api(), &provider, WARM_UP, &mut Vec::new(), &mut database).await?;
    // The first change of a page after a checkpoint is logged as a whole page: as in a long run, few are.
    sqlx::query("CHECKPOINT").execute(&mut database).await?;
    let (rows_before, memory_before) = (tables(&mut database).await?, memory(&mut keys).await?);
    let mut wal = Vec::new();
    stages(&ring.api(), &provider, users, &mut wal, &mut database).await?;
    let (rows, memory) = (tables(&mut database).await?, memory(&mut keys).await?);
    let classes = classes(&mut keys).await?;
    ring.stop().await;
    let mut measured = json!({
        "users": users,
        "wal_bytes": { "request": wal[0], "login": wal[1], "refresh": wal[2] },
        "tables": per_sign_in(&rows_before, &rows, users),
        "redis": { "bytes": (memory - memory_before) / count(users), "sign_ins": users + WARM_UP, "keys": classes },
    });
    measured["queues"] = queue::measure(&engines).await?;
    Ok(measured)
}

/// Code requests with their texts, logins, refreshes; adds the log that each of them wrote, in bytes for one.
async fn stages(
    api: &Api,
    provider: &Provider,
    users: usize,
    wal: &mut Vec<f64>,
    database: &mut PgConnection,
) -> anyhow::Result<()> {
    eprintln!("{users} sign-ins");
    let (reached, start) = (provider.reached(), written(database).await?);
    let asking = api.clone();
    let (asked, _) = run(Pace::AtOnce(64), 0..users, move |_| {
        let api = asking.clone();
        async move {
            let phone = new_phone();
            let id = api.otp(&phone).await.expect(202).text("request_id");
            (phone, id)
        }
    })
    .await;
    ensure!(provider.reaches(reached + users, PATIENCE).await, "a text was not sent");
    sleep(REST).await;
    let requested = written(database).await?;
    let known: Vec<_> =
        asked.into_iter().map(|(phone, id)| (provider.look(&phone).code, phone, id)).collect();
    let (logging_in, known) = (api.clone(), Arc::new(known));
    let (tokens, _) = run(Pace::AtOnce(64), 0..users, move |number| {
        let (api, known) = (logging_in.clone(), Arc::clone(&known));
        async move {
            let (code, phone, id) = &known[number];
            api.login_for(phone, code, id).await.expect(200).text("refresh")
        }
    })
    .await;
    sleep(REST).await;
    let logged_in = written(database).await?;
    let (refreshing, tokens) = (api.clone(), Arc::new(tokens));
    run(Pace::AtOnce(64), 0..users, move |number| {
        let (api, tokens) = (refreshing.clone(), Arc::clone(&tokens));
        async move { _ = api.refresh(&tokens[number]).await.expect(200) }
    })
    .await;
    sleep(REST).await;
    let refreshed = written(database).await?;
    let each = |from: f64, to: f64| ((to - from) / count(users)).round();
    wal.extend([each(start, requested), each(requested, logged_in), each(logged_in, refreshed)]);
    Ok(())
}

/// The position of PostgreSQL's log in bytes.
async fn written(database: &mut PgConnection) -> anyhow::Result<f64> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
    Ok(sqlx::query_scalar(sql).fetch_one(database).await?)
}

/// Rows, bytes and bytes of the indexes of each table.
type Tables = BTreeMap<String, [f64; 3]>;

async fn tables(database: &mut PgConnection) -> anyhow::Result<Tables> {
    let names = "SELECT relname::text FROM pg_stat_user_tables ORDER BY relname";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *database).await?;
    let mut found = Tables::new();
    for name in names {
        // The name comes from the catalogue, not from a stranger.
        let sql = format!(
            "SELECT count(*)::float8, pg_table_size('{name}')::float8, pg_indexes_size('{name}')::float8 FROM {name}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *database).await?;
        found.insert(name, [row.get(0), row.get(1), row.get(2)]);
    }
    Ok(found)
}

/// Of each table that grew by a tenth of a row for a sign-in or more: rows for a sign-in, bytes for a row.
fn per_sign_in(before: &Tables, after: &Tables, users: usize) -> Value {
    let mut tables = BTreeMap::new();
    for (name, now) in after {
        let was = before.get(name).copied().unwrap_or_default();
        let [rows, table, indexes] = [0, 1, 2].map(|at| now[at] - was[at]);
        if rows >= count(users) * 0.1 {
            tables.insert(
                name,
                json!({
                    "rows": (rows / count(users) * 100.0).round() / 100.0,
                    "table_bytes": (table / rows).round(), "index_bytes": (indexes / rows).round(),
                }),
            );
        }
    }
    json!(tables)
}

async fn memory(keys: &mut MultiplexedConnection) -> anyhow::Result<f64> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(keys).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.context("find the memory in use")?.trim().parse().context("read the memory in use")
}

/// The kinds of keys, by their names without what is a user's own: how many, bytes of each, seconds until they are gone.
async fn classes(keys: &mut MultiplexedConnection) -> anyhow::Result<Value> {
    let all: Vec<String> = redis::cmd("KEYS").arg("*").query_async(keys).await?;
    let mut classes: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    for some in all.chunks(KEYS_AT_ONCE) {
        let mut pipe = redis::pipe();
        for key in some {
            pipe.cmd("MEMORY").arg("USAGE").arg(key).cmd("PTTL").arg(key);
        }
        let answers: Vec<Option<i64>> = pipe.query_async(keys).await?;
        for (key, figures) in some.iter().zip(answers.chunks(2)) {
            let [Some(bytes), Some(left_ms)] = figures else { continue };
            let class = classes.entry(class(key)).or_default();
            let figures = [1.0, whole(*bytes), whole(*left_ms) / 1_000.0];
            for (sum, figure) in class.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
    }
    let figures = classes.into_iter().map(|(name, [many, bytes, left])| {
        let each =
            json!({ "keys": many, "bytes": (bytes / many).round(), "secs": (left / many).round() });
        (name, each)
    });
    Ok(json!(figures.collect::<BTreeMap<_, _>>()))
}

/// `lk:{…}:sends` for the sends of any phone.
fn class(key: &str) -> String {
    // The phones that verified lately share 65,536 sets, which hold few of them here.
    if key.starts_with("lk:proven:") {
        return "lk:proven:…".to_owned();
    }
    let part = |part: &str| match part {
        "lk" => "lk".to_owned(),
        own if own.starts_with('{')
            || own.len() > 12
            || own.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            "…".to_owned()
        }
        word => word.to_owned(),
    };
    key.split(':').map(part).collect::<Vec<_>>().join(":")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes and milliseconds of a key are small")]
fn whole(number: i64) -> f64 {
    number as f64
}
