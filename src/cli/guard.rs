//! `latchkey guard`: what the pumping guard blocks, and what another rule would have blocked.

use accounts::NetRow;
use anyhow::{Context as _, ensure};
use clap::Subcommand;
use guard::{MINUTE_MS, Report, Rule, Stop};
use serde_json::json;
use service::guard_replay::replay;

use super::operator::Operator;
use super::progress::Progress;
use super::terminal::{OutputArgs, print, print_json, print_table, time};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a rule over the recorded history and prints what it would have blocked, when, and how many sends it would
    /// have stopped. Changes nothing.
    Replay {
        /// The parameters that differ from the built-in rule, such as `min_sends=20,conversion=0.1,window=3600`.
        /// Parameters: `min_sends`, `conversion` (a fraction from 0 to 1), `window`, `settle`, `doubt`, `probes`,
        /// `probes_verified`, `block`, `block_cap`, `forget`, `country_factor`. Times are in seconds.
        #[arg(long, default_value = "")]
        rule: String,
        /// The start of the period (RFC 3339). The history covers 90 days.
        #[arg(long)]
        from: String,
        /// The end of the period (RFC 3339); by default now.
        #[arg(long)]
        to: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Lists the prefixes and countries that have ever been blocked, most recently changed first.
    Status(OutputArgs),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Replay { rule, from, to, output } => {
            let rule = Rule::parse(&rule).context("--rule")?;
            let from = time("--from", &from)?;
            let operator = Operator::connect().await?;
            // Include the current minute.
            let now = operator.clock.now().plus_ms(MINUTE_MS);
            let to = to.map_or(Ok(now), |to| time("--to", &to))?;
            ensure!(from < to, "--from must be before --to");
            let progress = Progress::counting("rows of history");
            let seen = |rows| progress.add(rows);
            let replayed = replay(&operator.guard_history, rule, (from, to), None, seen).await;
            let report = replayed.context("read the guard's history")?.report;
            if output.json {
                let rule = rule.to_string();
                return print_json(
                    &json!({ "rule": rule, "from": from, "to": to, "report": report }),
                );
            }
            print_report(rule, &report)
        }
        Command::Status(output) => {
            let operator = Operator::connect().await?;
            let nets =
                operator.guard_history.nets().await.context("read the state of the guard")?;
            if output.json {
                return print_json(&nets.iter().map(net_json).collect());
            }
            print(&format!("mode: {}\n", operator.config.pumping_guard.as_str()))?;
            let rows: Vec<Vec<String>> = nets.iter().map(net_row).collect();
            print_table(&["NET", "COUNTRY", "STATE", "UNTIL", "SENDS", "VERIFIED", "SINCE"], &rows)
        }
    }
}

fn print_report(rule: Rule, report: &Report) -> anyhow::Result<()> {
    let (code_requests, verified, stopped) =
        (report.code_requests, report.verified, report.stopped);
    let blocks = report.stops.len();
    print(&format!(
        "rule: {rule}\n{code_requests} requests, {verified} verified; {stopped} would have been stopped by {blocks} blocks\n"
    ))?;
    if report.stops.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = report.stops.iter().map(stop_row).collect();
    print_table(
        &["NET", "COUNTRY", "FROM", "OPENED", "SENDS", "VERIFIED", "BLOCKS", "STOPPED"],
        &rows,
    )
}

fn stop_row(stop: &Stop) -> Vec<String> {
    vec![
        stop.prefix.clone().unwrap_or_else(|| "all".to_owned()),
        stop.country.clone(),
        stop.from.to_string(),
        stop.opened.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        stop.sends.to_string(),
        stop.verified.to_string(),
        stop.blocks.to_string(),
        stop.stopped.to_string(),
    ]
}

fn net_row(net: &NetRow) -> Vec<String> {
    vec![
        if net.kind == "prefix" { net.name.clone() } else { "all".to_owned() },
        net.country.clone(),
        net.state.clone(),
        net.until.map_or_else(|| "-".to_owned(), |until| until.to_string()),
        net.sends.to_string(),
        net.verified.to_string(),
        net.changed_at.to_string(),
    ]
}

fn net_json(net: &NetRow) -> serde_json::Value {
    json!({
        "kind": net.kind, "name": net.name, "country": net.country, "state": net.state, "mode": net.mode,
        "sends": net.sends, "verified": net.verified, "blocks": net.level, "until": net.until,
        "changed_at": net.changed_at,
    })
}
