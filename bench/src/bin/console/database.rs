//! A month of a middling Latchkey in PostgreSQL, and the plans of the statements that the pages run.

use std::fs;
use std::path::Path;

use accounts::GuardHours;
use anyhow::Context as _;
use domain::clock::Clock;
use ledger::hours::{Hours, hour_of};
use sql::Pool;
use sqlx::AssertSqlSafe;
use testkit::postgres;

/// How much is made.
#[derive(Clone, Copy)]
pub struct Amounts {
    pub users: u32,
    pub messages: u32,
    pub audit: u32,
}

/// What of it the pages are opened with.
pub struct Samples {
    pub user: String,
    pub request: String,
    pub provider_id: String,
    /// That of a message from the month's beginning: far from the newest ones, which are looked at first.
    pub old_provider_id: String,
}

const SEED: &str = include_str!("seed.sql");

/// Makes tables and fills them. The counters are filled by the gateway's own statements.
pub async fn fill(url: &str, amounts: Amounts, clock: &Clock) -> anyhow::Result<()> {
    let pool = Pool::postgres(&url.to_owned().into()).await?;
    pool.migrate(accounts::FUNCTIONS).await?;
    let mut seed = SEED.to_owned();
    for (name, value) in [
        ("$NOW", clock.now_ms()),
        ("$USERS", amounts.users.into()),
        ("$MESSAGES", amounts.messages.into()),
        ("$AUDIT", amounts.audit.into()),
    ] {
        seed = seed.replace(name, &value.to_string());
    }
    let mut own = postgres::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(seed)).execute(&mut own).await.context("fill the tables")?;
    let (hours, guard, now) = (Hours::new(&pool), GuardHours::new(&pool), clock.now());
    let this = hour_of(now);
    for hour in this - 30 * 24 + 2..=this {
        hours.roll(hour, 0, now).await?;
        guard.roll(hour, 0, now).await?;
    }
    // As autovacuum does in a database that was not filled a minute ago.
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut own).await.context("vacuum")?;
    pool.close().await;
    Ok(())
}

pub async fn samples(url: &str) -> anyhow::Result<Samples> {
    let mut own = postgres::connect(url).await?;
    let sql = "SELECT l.request_id::text, u.id::text, l.provider_message_id FROM sms_ledger l
         JOIN users u ON u.phone_number = l.phone_number
         WHERE l.state = 'undelivered' ORDER BY l.created_at DESC LIMIT 1";
    let (request, user, provider_id) = sqlx::query_as(sql).fetch_one(&mut own).await?;
    let sql = "SELECT provider_message_id FROM sms_ledger WHERE provider_message_id IS NOT NULL
         ORDER BY created_at LIMIT 1";
    let old_provider_id = sqlx::query_scalar(sql).fetch_one(&mut own).await?;
    Ok(Samples { user, request, provider_id, old_provider_id })
}

/// Makes the server write the plan of each statement to its log. Connections of before are ended: they would not.
pub async fn explain_all(url: &str) -> anyhow::Result<()> {
    let mut own = postgres::connect(url).await?;
    let database = url.rsplit('/').next().context("a URL names a database")?;
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
    ];
    for setting in settings {
        let sql = AssertSqlSafe(format!("ALTER DATABASE {database} SET {setting}"));
        sqlx::raw_sql(sql).execute(&mut own).await.context("have plans written")?;
    }
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(sql).execute(&mut own).await?;
    Ok(())
}

/// How long the server's log is.
pub fn log_length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |log| log.len())
}

/// The slowest plan that was written since the log had this length: its milliseconds and its text.
pub fn slowest_plan(log: &Path, since: u64) -> anyhow::Result<Option<(f64, String)>> {
    let text = fs::read(log).context("read the server's log")?;
    let text = String::from_utf8_lossy(&text[usize::try_from(since)?..]).into_owned();
    // An entry goes on for as long as its lines are indented.
    let mut slowest: Option<(f64, String)> = None;
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines() {
        match entries.last_mut() {
            Some(last) if line.starts_with('\t') => {
                last.push('\n');
                last.push_str(line.trim_start_matches('\t'));
            }
            _ => entries.push(line.to_owned()),
        }
    }
    for entry in entries {
        let Some((_, rest)) = entry.split_once("duration: ") else { continue };
        let Some((ms, plan)) = rest.split_once(" ms  plan:") else { continue };
        let ms: f64 = ms.parse().context("read a duration")?;
        if slowest.as_ref().is_none_or(|(most, _)| ms > *most) {
            slowest = Some((ms, plan.trim().to_owned()));
        }
    }
    Ok(slowest)
}
