//! What the commands share: a database connection, confirmations, the audit actor, and output.

use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use accounts::{Accounts, Attempts, Blocks, GuardHistory, Sessions};
use anyhow::{Context as _, bail};
use config::{Config, EngineSettings};
use domain::clock::Clock;
use domain::keys::Keys;
use domain::timestamp::Timestamp;
use serde_json::Value;
use service::connections::open_pool;
use sql::Pool;

/// The context of a command.
pub(crate) struct Operator {
    pub config: Config,
    pub sql: Pool,
    pub keys: Keys,
    pub clock: Clock,
}

impl Operator {
    /// Connects with the settings of the services and migrates the schema to this version.
    pub async fn connect() -> anyhow::Result<Self> {
        let config = Config::load_as_found()?;
        let sql = connect(&config.engines).await?;
        let keys = config.keys()?;
        Ok(Self { config, sql, keys, clock: Clock::system() })
    }

    pub fn accounts(&self) -> Accounts {
        Accounts::new(&self.sql)
    }

    pub fn attempts(&self) -> Attempts {
        Attempts::new(&self.sql)
    }

    pub fn blocks(&self) -> Blocks {
        Blocks::new(&self.sql)
    }

    pub fn guard_history(&self) -> GuardHistory {
        GuardHistory::new(&self.sql)
    }

    pub fn sessions(&self) -> Sessions {
        Sessions::new(&self.sql)
    }

    /// Records an action in the audit. Call it before printing: nothing is shown that could not be recorded.
    pub async fn note(&self, act: &str, subject: &str, detail: &Value) -> anyhow::Result<()> {
        note(&self.sql, self.clock.now(), act, subject, detail).await
    }
}

async fn connect(engines: &EngineSettings) -> anyhow::Result<Pool> {
    let sql = open_pool(engines).await.context("connect to the database")?;
    sql.migrate(accounts::FUNCTIONS).await.context("migrate the database")?;
    Ok(sql)
}

async fn note(
    sql: &Pool,
    now: Timestamp,
    act: &str,
    subject: &str,
    detail: &Value,
) -> anyhow::Result<()> {
    accounts::Audit::new(sql)
        .add(now, ACTOR, act, subject, detail)
        .await
        .context("write to the audit")
}

/// The audit for actions outside the database. Opened before the action: if the audit is not writable, the command
/// does nothing.
pub(crate) struct Audit(Option<Pool>);

impl Audit {
    /// Opens the audit in PostgreSQL, or in the embedded database if it exists: the first start creates that database,
    /// and a key can be generated before.
    pub async fn open(engines: &EngineSettings) -> anyhow::Result<Self> {
        let there = match engines {
            EngineSettings::Services { .. } => true,
            EngineSettings::Embedded { data_dir } => Pool::sqlite_is_in(data_dir),
        };
        Ok(Self(if there { Some(connect(engines).await?) } else { None }))
    }

    /// Records nothing, for use without a configured database.
    pub const fn none() -> Self {
        Self(None)
    }

    pub async fn note(&self, act: &str, subject: &str, detail: &Value) -> anyhow::Result<()> {
        match &self.0 {
            Some(sql) => note(sql, Clock::system().now(), act, subject, detail)
                .await
                .context("the action was done but is missing in the audit"),
            None => Ok(()),
        }
    }
}

/// The audit actor for actions from the command line.
pub(crate) const ACTOR: &str = "operator";

/// Asks for confirmation before a destructive action; `--yes` skips the question.
pub(crate) fn confirm(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("{what}: pass --yes to confirm without a terminal");
    }
    print!("{what}? [y/N] ");
    std::io::stdout().flush().context("print the question")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!("cancelled") }
}

/// Writes to standard output. A reader that closes early, such as `head`, is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("write to standard output"),
    }
}

/// Prints JSON for programs.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}

/// Prints JSON for programs or a sentence for people.
pub(crate) fn say(json: bool, value: &Value, text: &str) -> anyhow::Result<()> {
    if json { print_json(value) } else { print(&format!("{text}\n")) }
}

/// Prints a table; each column is as wide as its widest cell.
pub(crate) fn print_table(heading: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in all() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    print(&text)
}
