//! `latchkey limits`: the limits in effect, under the names that refusals use.

use std::fmt::Write as _;

use config::{Config, ShownLimit};
use serde_json::{Value, json};

use super::terminal::{OutputArgs, print};

/// Prints each limit of the contract with its value, window and variable, as a table or as JSON.
///
/// Reads the settings like `latchkey config`.
///
/// # Errors
/// If the settings are wrong, with every mistake.
pub(crate) fn run(output: OutputArgs) -> anyhow::Result<()> {
    let limits = Config::load_as_found()?.shown_limits();
    let text = if output.json { format!("{:#}\n", as_json(&limits)) } else { as_table(&limits) };
    print(&text)
}

fn as_json(limits: &[ShownLimit]) -> Value {
    let one = |shown: &ShownLimit| {
        json!({
            "limit": shown.limit,
            "value": shown.value,
            "off": shown.value == Some(0),
            "window_secs": shown.window_secs,
            "variable": shown.variable,
            "doc": shown.doc,
        })
    };
    limits.iter().map(one).collect()
}

fn as_table(limits: &[ShownLimit]) -> String {
    let mut text =
        format!("{:<13} {:>11}  {:<11} {:<33} COUNTS\n", "LIMIT", "VALUE", "WINDOW", "VARIABLE");
    for shown in limits {
        let value = match shown.value {
            None => "-".to_owned(),
            Some(0) => "off".to_owned(),
            Some(value) => value.to_string(),
        };
        let window = shown.window_secs.map_or("-".to_owned(), |secs| format!("{secs} s"));
        let variable = shown.variable.unwrap_or("-");
        let _ = writeln!(
            text,
            "{:<13} {value:>11}  {window:<11} {variable:<33} {}",
            shown.limit, shown.doc
        );
    }
    text
}
