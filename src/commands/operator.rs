//! What the commands share: a connection to the database, a confirmation, a name for the audit.

use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use common::clock::Clock;
use common::config::Config;
use common::db::Db;
use common::keys::Keys;
use serde_json::Value;

/// What a command works with.
pub(crate) struct Operator {
    pub config: Config,
    pub db: Db,
    pub keys: Keys,
    pub clock: Clock,
}

impl Operator {
    /// Connects with the settings that the services have, to the schema of this version.
    pub async fn connect() -> anyhow::Result<Self> {
        let config = Config::load_as_found()?;
        let db = Db::connect(&config.engines).await.context("connect to the database")?;
        db.migrate().await.context("migrate the database")?;
        let keys = config.keys()?;
        Ok(Self { config, db, keys, clock: Clock::system() })
    }
}

/// Who the audit names for an act from the command line.
pub(crate) const ACTOR: &str = "operator";

/// Asks before something is destroyed; `--yes` answers beforehand.
pub(crate) fn confirm(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("{what}: say --yes to do it without being asked");
    }
    print!("{what}? [y/N] ");
    std::io::stdout().flush().context("ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!("left as it is") }
}

/// Writes to standard output. A reader that has seen enough, as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("print"),
    }
}

/// Prints JSON for programs.
pub(crate) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}

/// Prints JSON for programs, or the sentence for a person.
pub(crate) fn say(json: bool, value: &Value, text: &str) -> anyhow::Result<()> {
    if json { print_json(value) } else { print(&format!("{text}\n")) }
}

/// Prints rows under a heading, each column as wide as its widest cell.
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
