//! `latchkey errors`: the codes of refusals.

use std::fmt::Write as _;

use clap::Args;
use gateway::ErrorRow;
use serde_json::{Value, json};

use super::terminal::{OutputArgs, print};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    output: OutputArgs,
    #[arg(
        long,
        conflicts_with = "json",
        help = "Print the page that explains all codes (docs/errors.md)"
    )]
    markdown: bool,
}

/// Prints the codes of refusals with what an app does about each: as lines, as JSON, or as the page docs/errors.md. Needs
/// no settings.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = match (arguments.markdown, arguments.output.json) {
        (true, _) => gateway::errors_page(),
        (false, true) => format!("{:#}\n", as_json()),
        (false, false) => as_lines(),
    };
    print(&text)
}

fn as_json() -> Value {
    let one = |row: ErrorRow| {
        let ErrorRow { code, statuses, when, then, members } = row;
        json!({ "code": code, "statuses": statuses, "when": when, "then": then, "members": members })
    };
    gateway::errors().into_iter().map(one).collect()
}

fn as_lines() -> String {
    let mut text = String::new();
    for ErrorRow { code, statuses, when, then, members } in gateway::errors() {
        let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let _ = write!(text, "{} {code}", statuses.join("/"));
        if !members.is_empty() {
            let _ = write!(text, " ({})", members.join(", "));
        }
        let _ = writeln!(text, "\n    {when}\n    {then}");
    }
    text
}
