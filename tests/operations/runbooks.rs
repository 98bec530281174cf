//! The page of each alert.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{Alert, read, root};

const HEADINGS: [&str; 4] = ["Meaning", "Impact", "Diagnosis", "Mitigation"];

/// The name and the text of each page.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(root().join("docs/runbooks")).unwrap();
    let mut pages: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "README.md"))
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    pages.sort();
    pages
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let alerts = Alert::all();
    let named: BTreeSet<_> = alerts.iter().map(|alert| alert.name.clone()).collect();
    let pages: BTreeSet<_> = pages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, pages);
    assert_eq!(named.len(), alerts.len(), "two alerts have one name");
    let index = read("docs/runbooks/README.md");
    for alert in &alerts {
        let (name, severity) = (&alert.name, alert.value("severity:"));
        assert!(matches!(severity, "page" | "ticket"), "{name}: {severity}");
        assert_eq!(alert.value("runbook_url:"), format!("docs/runbooks/{name}.md"));
        assert!(index.contains(&format!("| [{name}]({name}.md) | {severity} |")), "{name}");
        for said in ["summary:", "description:"] {
            assert!(alert.value(said).len() > 10, "{name}: {said}");
        }
    }
}

#[test]
fn every_page_has_the_four_headings_in_order_and_something_below_each() {
    for (name, text) in pages() {
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let parts: Vec<_> = text.split("\n## ").skip(1).collect();
        let headings: Vec<_> = parts.iter().filter_map(|part| part.lines().next()).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        for part in parts {
            assert!(part.lines().skip(1).any(|line| line.len() > 4), "{name}: {part}");
        }
    }
}

/// What stands in backticks, over the ends of lines.
fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_commands_and_settings_that_a_page_names_exist() {
    let (settings, mut commands) = (read("docs/configuration.md"), BTreeSet::new());
    for (name, text) in pages() {
        for quoted in quoted(&text) {
            if let Some(command) = quoted.strip_prefix("latchkey ") {
                // The words before the first argument.
                let is_word =
                    |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                let words = command.split(' ').take_while(is_word);
                commands.insert(words.map(str::to_owned).collect::<Vec<_>>());
            }
            let setting = quoted.split('=').next().unwrap_or_default();
            if setting.starts_with("LATCHKEY_") || setting.starts_with("TWILIO_") {
                assert!(settings.contains(&format!("| `{setting}` |")), "{name}: {setting}");
            }
        }
    }
    assert!(commands.len() > 10, "{commands:?}");
    for mut words in commands {
        words.retain(|word| !word.starts_with("--"));
        // An argument such as a queue or a kind of block, which is a plain word too, may stand last.
        let is_command = |words: &[String]| {
            let help =
                Command::new(env!("CARGO_BIN_EXE_latchkey")).args(words).arg("--help").output();
            help.is_ok_and(|help| help.status.success())
        };
        assert!(is_command(&words), "latchkey {}", words.join(" "));
    }
}
