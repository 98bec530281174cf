//! What operators watch: the metrics, the alerts on them, and the page of each alert.

mod cases;
mod dashboards;
mod expressions;
mod live;
mod metrics;
mod runbooks;

use std::fs;
use std::path::{Path, PathBuf};

const RULES: &str = "deploy/prometheus/rules.yml";
/// The cases of the alerts, and how often promtool looks at the rules in them.
const CASES: [(&str, &str); 2] =
    [("deploy/prometheus/rules.test.yml", "1m"), ("deploy/prometheus/rules.long.test.yml", "5m")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

/// An alert: its name, and its lines as they stand in the file.
#[derive(Debug)]
struct Alert {
    name: String,
    lines: String,
}

impl Alert {
    /// All of them, in the order of the file.
    fn all() -> Vec<Self> {
        let alerts: Vec<_> = blocks(&read(RULES), "  - alert: ")
            .into_iter()
            .map(|lines| {
                let first = lines.lines().next().unwrap_or_default();
                Self { name: first.trim_start_matches("  - alert: ").to_owned(), lines }
            })
            .collect();
        assert!(alerts.len() > 40, "{} alerts were found", alerts.len());
        alerts
    }

    /// The expression.
    fn expression(&self) -> String {
        let lines = self.lines.lines().skip_while(|line| line.trim() != "expr: |-").skip(1);
        lines.take_while(|line| line.starts_with("      ")).collect::<Vec<_>>().join("\n")
    }

    /// The value of a line such as `severity: page`.
    fn value(&self, key: &str) -> &str {
        let value = self.lines.lines().find_map(|line| line.trim().strip_prefix(key));
        value.unwrap_or_else(|| panic!("{} has no {key}", self.name)).trim().trim_matches('\'')
    }
}

/// The parts of a file that begin with such a line and go on as long as lines are further in.
fn blocks(text: &str, begin: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with(begin) {
            blocks.push(String::new());
            is_inside = true;
        } else if !line.starts_with("    ") {
            is_inside = false;
        }
        if let Some(block) = blocks.last_mut().filter(|_| is_inside) {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}
