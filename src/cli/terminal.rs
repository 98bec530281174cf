//! What the commands share on the terminal: `--json`, `--yes`, questions, sentences and tables.

use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Args;
use domain::timestamp::Timestamp;
use gateway::validate::visible;
use serde_json::Value;

/// How a command prints its result.
#[derive(Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

impl OutputArgs {
    /// Prints JSON for programs or a sentence for people.
    pub fn say(self, value: &Value, text: &str) -> anyhow::Result<()> {
        if self.json { print_json(value) } else { print(&format!("{text}\n")) }
    }

    /// Prints JSON for programs or a table for people.
    pub fn table(
        self,
        value: &Value,
        heading: &[&str],
        rows: &[Vec<String>],
    ) -> anyhow::Result<()> {
        if self.json { print_json(value) } else { print_table(heading, rows) }
    }
}

/// Whether a command that destroys something asks first.
#[derive(Clone, Copy, Args)]
pub(crate) struct ConfirmArgs {
    #[arg(long, help = "Do not ask for confirmation")]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks for confirmation, unless `--yes` gave it.
    ///
    /// # Errors
    /// If the answer is not yes, or there is no terminal to ask on.
    pub fn ask(self, what: &str) -> anyhow::Result<()> {
        if self.yes {
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

/// Prints a table; each column is as wide as its widest cell.
pub(crate) fn print_table(heading: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    print(&as_table(heading, rows))
}

/// Lays out a table. A cell may come from the broker or the database, and others may write there: it shows what it
/// holds and controls nothing (escape sequences, line breaks, the direction of text).
fn as_table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
    let all = || std::iter::once(&heading).chain(&rows);
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
    text
}

/// Parses the time that an option was given.
pub(crate) fn time(option: &str, text: &str) -> anyhow::Result<Timestamp> {
    Timestamp::parse(text)
        .with_context(|| format!("{option} must be an RFC 3339 time, such as 2027-01-01T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f29_no_cell_controls_the_terminal_or_adds_a_row() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = as_table(
            &["ID", "REASON"],
            &[
                row(["\u{1b}]0;owned\u{7}\u{1b}[2K\u{1b}[1A", "forged\nfake-row  all good"]),
                row(["2", "\u{202e}dehgorf"]),
            ],
        );
        assert_eq!(table.lines().count(), 3, "{table:?}");
        assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table:?}");
        assert!(!table.contains('\u{202e}'), "{table:?}");
        assert!(table.contains("]0;owned") && table.contains("fake-row"), "{table:?}");
    }
}
