//! `latchkey config`: the settings in effect.

use std::fmt::Write as _;

use clap::Args;
use config::{Config, Origin, Shown, Warning, markdown};
use serde_json::{Value, json};

use super::terminal::{OutputArgs, print};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    output: OutputArgs,
    #[arg(
        long,
        conflicts_with = "json",
        help = "Print the page that explains all settings (docs/configuration.md)"
    )]
    markdown: bool,
}

/// Prints the settings in effect with secrets masked, as a table or as JSON. With `markdown`, prints the page about all
/// settings instead, regardless of what is set.
///
/// If `LATCHKEY_SERVICE_KEYS` is set, reads the settings as the service that those keys belong to reads them.
///
/// # Errors
/// If the settings are wrong, with every mistake.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { output, markdown: markdown_page } = *arguments;
    let text = if markdown_page {
        markdown()
    } else {
        let config = Config::load_as_found()?;
        if output.json { format!("{:#}\n", as_json(&config)) } else { as_table(&config) }
    };
    print(&text)
}

fn as_json(config: &Config) -> Value {
    let one = |shown: &Shown| {
        json!({
            "name": shown.name,
            "variable": shown.variable,
            "value": shown.value,
            "default": shown.default,
            "source": source(shown),
            "secret": shown.secret,
        })
    };
    json!({
        "read_as": config.role.as_str(),
        "settings": config.shown().iter().map(one).collect::<Vec<_>>(),
        "warnings": config.warnings().iter().map(|w| json!({"variable": w.variable, "text": w.text})).collect::<Vec<_>>(),
    })
}

fn as_table(config: &Config) -> String {
    let shown = config.shown();
    let value = |shown: &Shown| shown.value.clone().unwrap_or_else(|| "-".to_owned());
    let width = |column: fn(&Shown) -> usize| shown.iter().map(column).max().unwrap_or_default();
    let (names, variables) = (width(|s| s.name.len()), width(|s| s.variable.len()));
    let mut text = format!("read as {}\n\n", config.role.as_str());
    for one in &shown {
        let (name, variable, value, source) = (&one.name, one.variable, value(one), source(one));
        let _ = writeln!(text, "{name:names$}  {variable:variables$}  {value}  ({source})");
    }
    for Warning { variable, text: why } in config.warnings() {
        let _ = writeln!(text, "\nwarning: {variable}: {why}");
    }
    text
}

fn source(shown: &Shown) -> String {
    match &shown.origin {
        None => "default".to_owned(),
        Some(Origin::Environment) => "environment".to_owned(),
        Some(Origin::File(path) | Origin::SecretFile(path)) => path.display().to_string(),
    }
}
