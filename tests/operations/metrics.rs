//! The catalogue of metrics, and the two documents that list them.

use std::collections::BTreeSet;

use service::telemetry::catalogue::METRICS;

use super::read;

/// Each metric as the documents write it: `name{label,label}`.
fn catalogue() -> BTreeSet<String> {
    let written = METRICS.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|(label, _)| *label).collect();
        match labels.as_slice() {
            [] => metric.name.to_owned(),
            labels => format!("{}{{{}}}", metric.name, labels.join(",")),
        }
    });
    written.collect()
}

/// What stands in backticks and begins with `latchkey_`.
fn named(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter(|part| part.starts_with("latchkey_")).collect()
}

#[test]
fn the_page_describes_every_metric_once_with_its_labels() {
    let page = read("docs/operations.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `latchkey_"));
    let rows: Vec<_> =
        rows.map(|row| format!("latchkey_{}", row.split('`').next().unwrap_or_default())).collect();
    let described: BTreeSet<_> = rows.iter().cloned().collect();
    assert_eq!(described.len(), rows.len(), "a metric stands there twice");
    assert_eq!(described, catalogue());
    for line in page.lines().filter(|line| line.starts_with("| `latchkey_")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 5 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
    }
}

#[test]
fn section_11_of_the_contract_lists_the_same_metrics() {
    let contract = read("docs/CONTRACT.md");
    let (_, section) = contract.split_once("\n## 11 ").expect("section 11");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let listed: BTreeSet<_> = named(section).into_iter().map(str::to_owned).collect();
    assert_eq!(listed, catalogue());
}
