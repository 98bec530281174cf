//! What the model is fed with: recorded measurements, and assumptions that an operator replaces by their own.

use anyhow::Context as _;
use bench::recorded::slow_worker_rate;
use serde_json::Value;

const HISTORY: &str = include_str!("../../../history.jsonl");
const SIZES: &str = include_str!("../../../sizes.json");

/// The phones that verified lately share sets that are nearly empty in a measurement: the model counts them by account.
const PROVEN: &str = "lk:proven:…";

/// The processes, in the order of the tables.
pub const PROCESSES: [&str; 6] =
    ["gateway", "otp-worker", "sms-worker", "PostgreSQL", "Redis", "RabbitMQ"];

/// CPU seconds for 1,000 of a process.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub process: &'static str,
    pub request: f64,
    pub login: f64,
    pub refresh: f64,
}

/// What a table gets from a sign-in.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub rows: f64,
    /// Bytes for a row, without and of its indexes.
    pub row_bytes: f64,
    pub index_bytes: f64,
}

/// One kind of keys in Redis.
#[derive(Clone, Debug)]
pub struct KeyKind {
    pub name: String,
    /// For a sign-in.
    pub keys: f64,
    pub bytes: f64,
    /// How long a key stays.
    pub secs: f64,
}

pub struct Inputs {
    /// Of the newest recorded run of `bench/run`.
    pub costs: Vec<Cost>,
    pub cost_commit: String,
    pub tables: Vec<Table>,
    pub keys: Vec<KeyKind>,
    /// Bytes of PostgreSQL's log for a code request with its text, a login, a refresh.
    pub wal_bytes: [f64; 3],
    /// Messages a second through one quorum queue, and through two.
    pub queues: [f64; 2],
    /// Texts a second of one sms-worker whose provider takes half a second.
    pub worker_rate: f64,
}

impl Inputs {
    pub fn recorded() -> anyhow::Result<Self> {
        let newest = HISTORY.lines().rfind(|line| !line.trim().is_empty());
        let run: Value = serde_json::from_str(newest.context("a run is recorded")?)?;
        let sizes: Value = serde_json::from_str(SIZES)?;
        let figure = |at: &str| sizes.pointer(at).and_then(Value::as_f64).context(at.to_owned());
        Ok(Self {
            costs: PROCESSES.iter().map(|process| cost(&run, process)).collect::<Result<_, _>>()?,
            cost_commit: run["commit"].as_str().context("its commit")?.to_owned(),
            tables: tables(&sizes)?,
            keys: keys(&sizes)?,
            wal_bytes: [
                figure("/wal_bytes/request")?,
                figure("/wal_bytes/login")?,
                figure("/wal_bytes/refresh")?,
            ],
            queues: [figure("/queues/one/rate")?, figure("/queues/two/rate")?],
            worker_rate: slow_worker_rate().context("the rate of a worker with a slow provider")?,
        })
    }

    /// Bytes of the log for a sign-in with so many refreshes.
    pub fn wal(&self, refreshes: f64) -> f64 {
        let [request, login, refresh] = self.wal_bytes;
        request + login + refreshes * refresh
    }
}

impl Cost {
    /// CPU seconds of one sign-in with so many refreshes.
    pub fn sign_in(&self, refreshes: f64) -> f64 {
        (self.request + self.login + refreshes * self.refresh) / 1_000.0
    }
}

fn cost(run: &Value, process: &'static str) -> anyhow::Result<Cost> {
    let figure = |stage: &str| {
        let at = format!("/parts/whole/cpu/{process}/{stage}");
        let found = run.pointer(&at).with_context(|| format!("find {at}"))?;
        found["median"].as_f64().or_else(|| found.as_f64()).context(at)
    };
    let (request, login, refresh) = (figure("request")?, figure("login")?, figure("refresh")?);
    Ok(Cost { process, request, login, refresh })
}

fn tables(sizes: &Value) -> anyhow::Result<Vec<Table>> {
    let all = sizes["tables"].as_object().context("the tables")?;
    let table = |(name, found): (&String, &Value)| {
        let figure = |key: &str| found[key].as_f64().with_context(|| format!("{key} of {name}"));
        let (rows, row_bytes) = (figure("rows")?, figure("table_bytes")?);
        Ok(Table { name: name.clone(), rows, row_bytes, index_bytes: figure("index_bytes")? })
    };
    all.iter().map(table).collect()
}

fn keys(sizes: &Value) -> anyhow::Result<Vec<KeyKind>> {
    let users = sizes.pointer("/redis/sign_ins").and_then(Value::as_f64).context("the users")?;
    let all = sizes.pointer("/redis/keys").and_then(Value::as_object).context("the keys")?;
    let kind = |(name, found): (&String, &Value)| {
        let figure = |key: &str| found[key].as_f64().with_context(|| format!("{key} of {name}"));
        let (keys, bytes) = (figure("keys")? / users, figure("bytes")?);
        Ok(KeyKind { name: name.clone(), keys, bytes, secs: figure("secs")? })
    };
    let mut kinds = all.iter().map(kind).collect::<anyhow::Result<Vec<_>>>()?;
    // One set of the requests that are open: a member stays as long as its request's status.
    let stays = kinds.iter().find(|kind| kind.name.starts_with("lk:req:")).map(|kind| kind.secs);
    if let (Some(open), Some(secs)) = (kinds.iter_mut().find(|kind| kind.name == "lk:open"), stays)
    {
        *open = KeyKind { keys: 1.0, bytes: open.bytes / users, secs, name: open.name.clone() };
    }
    kinds.retain(|kind| kind.name != PROVEN);
    Ok(kinds)
}
