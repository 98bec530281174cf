//! Tests that need a whole process: its logger and its panic report.

use std::process::Command;

#[test]
fn p10_a_panic_is_one_line_that_holds_a_literal_message_but_no_formatted_one() {
    // In a separate process: a process has only one logger and one panic hook.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "contract::telemetry::child_that_panics", "--ignored", "--nocapture"])
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["level"] == "ERROR")
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["message"], "panicked: a plain rule was broken");
    assert_eq!(lines[1]["message"], "panicked: (message withheld)");
    assert!(lines[1]["panic.place"].as_str().unwrap().contains("telemetry.rs:"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}

/// Fails to parse anything, with an error that repeats the input.
struct Named;

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Err(format!("cannot read {text}"))
    }
}

#[test]
#[ignore = "run by the test above, in a separate process"]
fn child_that_panics() {
    service::telemetry::init(Some("trace"));
    service::telemetry::init(Some("a second call does nothing"));
    for formatted in [false, true] {
        let secret: Result<u8, _> = "SECRET".parse::<Named>().map(|_| 0);
        let panicking = std::thread::spawn(move || {
            assert!(formatted, "a plain rule was broken");
            secret.expect("an error with data in it");
        });
        assert!(panicking.join().is_err());
    }
}
