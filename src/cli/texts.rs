//! `latchkey texts`: the wordings of messages, their encodings and segments.

use clap::Subcommand;
use config::Config;
use serde_json::json;
use texts::Texts;

use super::terminal::OutputArgs;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Checks every wording, including your own, at its maximum length, and shows its encoding and segments.
    Check(OutputArgs),
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Check(output) = command;
    let config = Config::load_as_found()?;
    let checked = Texts::load(&config.texts, config.otp.length)?.check();
    let value = |line: &texts::Checked| {
        json!({
            "locale": line.locale, "kind": line.kind.as_str(), "used": line.used,
            "encoding": line.size.map(|size| size.encoding.as_str()),
            "units": line.size.map(|size| size.units), "segments": line.size.map(|size| size.segments),
        })
    };
    let rows: Vec<Vec<String>> = checked
        .iter()
        .map(|line| {
            let size = |read: fn(texts::segments::Size) -> String| {
                line.size.map_or_else(|| "-".to_owned(), read)
            };
            vec![
                line.locale.clone(),
                line.kind.as_str().to_owned(),
                if line.used { "yes" } else { "no" }.to_owned(),
                size(|size| size.encoding.as_str().to_owned()),
                size(|size| size.units.to_string()),
                size(|size| size.segments.to_string()),
            ]
        })
        .collect();
    let values = checked.iter().map(value).collect();
    output.table(&values, &["LOCALE", "KIND", "USED", "ENCODING", "UNITS", "SEGMENTS"], &rows)
}
