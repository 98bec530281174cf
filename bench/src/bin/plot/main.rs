//! Draws the history of the figures: `bench/history.jsonl` to `bench/history.svg`, one panel per subject.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bench::svg::{self, Line, Panel};
use clap::Parser;
use serde_json::Value;

/// Draws the recorded runs of `bench/run --record`, oldest on the left.
#[derive(Parser)]
struct Arguments {
    /// One report per line. [default: bench/history.jsonl]
    #[arg(long)]
    history: Option<PathBuf>,
    /// [default: bench/history.svg]
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// A panel: its title, its bound, and its lines by JSON pointer. `/bounds/NAME` is one of the judged figures.
type Subject = (&'static str, Option<f64>, &'static [(&'static str, &'static str)]);

const SUBJECTS: [Subject; 5] = [
    (
        "CPU seconds per 1,000 sign-ins, engines counted in (64 at once)",
        Some(1.8),
        &[
            ("whole", "/parts/whole/cpu/total/whole"),
            ("request", "/parts/whole/cpu/total/request"),
            ("login", "/parts/whole/cpu/total/login"),
            ("refresh", "/parts/whole/cpu/total/refresh"),
            ("bare parts", "/parts/whole/bare/sum/a sign-in"),
        ],
    ),
    (
        "A sign-in, times its bare parts in the same run: comparable between machines",
        None,
        &[("times", "/parts/whole/bare/whole sign-in/times the bare parts")],
    ),
    (
        "Embedded: CPU seconds per 1,000 sign-ins",
        Some(1.6),
        &[
            ("whole", "/parts/embedded/cpu/total/whole"),
            ("login", "/parts/embedded/cpu/total/login"),
        ],
    ),
    (
        "Milliseconds at 50 per second",
        Some(10.0),
        &[
            ("answer p50", "/parts/rate/ms/slowest answer/p50"),
            ("request → provider p50", "/parts/rate/ms/request → provider/p50"),
            ("request → provider p99", "/parts/rate/ms/request → provider/p99"),
        ],
    ),
    (
        "Idle memory, MB",
        Some(28.0),
        &[
            ("gateway", "/parts/memory/memory/gateway/RSS, MB"),
            ("larger worker", "/parts/memory/memory/larger worker/RSS, MB"),
        ],
    ),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let history = arguments.history.unwrap_or_else(|| bench.join("history.jsonl"));
    let text = fs::read_to_string(&history)
        .with_context(|| format!("read {}: `bench/run --record` writes it", history.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let runs = lines.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let runs = runs.context("read a line of the history")?;
    let target = arguments.svg.unwrap_or_else(|| bench.join("history.svg"));
    fs::write(&target, draw(&runs)).with_context(|| format!("write {}", target.display()))?;
    println!("{} runs: {}", runs.len(), target.display());
    Ok(())
}

fn draw(runs: &[Value]) -> String {
    let names: Vec<String> = runs.iter().map(name).collect();
    let panels = SUBJECTS.iter().map(|(title, bound, lines)| Panel {
        title: (*title).to_owned(),
        bound: *bound,
        lines: lines
            .iter()
            .map(|(name, at)| Line {
                name: (*name).to_owned(),
                values: runs.iter().map(|run| figure(run, at)).collect(),
            })
            .collect(),
    });
    svg::draw(&names, &panels.collect::<Vec<_>>())
}

/// Day and commit.
fn name(run: &Value) -> String {
    let text = |key: &str| run[key].as_str().unwrap_or("?").to_owned();
    let day: String = text("date").chars().take(10).collect();
    let commit = text("commit");
    let commit = commit.rsplit('/').next().unwrap_or_default();
    format!("{day} {}", commit.chars().take(8).collect::<String>())
}

/// A figure of a run, or the median of its rounds.
fn figure(run: &Value, at: &str) -> Option<f64> {
    let found = run.pointer(at)?;
    found.as_f64().or_else(|| found["median"].as_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_without_a_figure_leaves_a_gap() {
        let with = json!({
            "date": "2026-01-02T03:04:05.678Z", "commit": "0123456789",
            "parts": { "whole": { "cpu": { "total": { "whole": { "median": 2.5, "rounds": [2.5] } } } } }
        });
        let svg = draw(&[with.clone(), json!({}), with]);
        assert!(svg.contains("2026-01-02 01234567") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
    }
}
