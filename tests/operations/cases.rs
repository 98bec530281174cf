//! Each alert on its cases, by Prometheus' own `promtool`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

use testkit::folder::Folder;

use super::{Alert, CASES, RULES, blocks, read, root};

/// The cases of an alert, and how often the rules are looked at in them.
struct Cases {
    every: &'static str,
    cases: Vec<String>,
}

fn all_cases() -> BTreeMap<String, Cases> {
    let mut all = BTreeMap::<_, Cases>::new();
    for (path, every) in CASES {
        let text = read(path);
        assert!(text.contains(&format!("evaluation_interval: {every}\n")), "{path}");
        for case in blocks(&text, "  - interval: ") {
            let (_, name) = case.split_once("alertname: ").expect("a case names its alert");
            let name = name.split([',', '\n']).next().unwrap_or_default().to_owned();
            let cases = Cases { every, cases: Vec::new() };
            all.entry(name).or_insert(cases).cases.push(case);
        }
    }
    all
}

/// Prints what promtool said if it is not content.
fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.map_err(|error| format!("run promtool (package prometheus): {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
fn promtool_accepts_the_rules() {
    promtool(&["check", "rules", &root().join(RULES).to_string_lossy()]).unwrap();
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not_and_no_case_is_of_another() {
    let alerts: Vec<_> = Alert::all().into_iter().map(|alert| alert.name).collect();
    let cases = all_cases();
    for name in &alerts {
        let cases = &cases.get(name).unwrap_or_else(|| panic!("{name} has no case")).cases;
        let silent = |case: &&String| case.contains("exp_alerts: []");
        let silent = cases.iter().filter(silent).count();
        assert!(
            silent > 0 && silent < cases.len(),
            "{name}: {silent} of {} are silent",
            cases.len()
        );
    }
    let unknown: Vec<_> = cases.keys().filter(|name| !alerts.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Each alert by itself: in a file of all of them promtool would evaluate every rule in every case.
#[test]
fn every_alert_fires_on_its_fault_and_stays_silent_on_its_neighbours() {
    let folder = Folder::new("operations");
    let (cases, failed) = (all_cases(), Mutex::new(Vec::new()));
    let alerts = Mutex::new(Alert::all());
    let judge = |alert: &Alert| {
        let Cases { every, cases } = &cases[&alert.name];
        let rule_file = format!("{}.yml", alert.name);
        let test = folder.join(&format!("{}.test.yml", alert.name));
        fs::write(
            folder.join(&rule_file),
            format!("groups:\n- name: one\n  rules:\n{}", alert.lines),
        )
        .unwrap();
        let head = format!("rule_files: [{rule_file}]\nevaluation_interval: {every}\ntests:\n");
        fs::write(&test, head + &cases.concat()).unwrap();
        promtool(&["test", "rules", &test.to_string_lossy()])
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(alert) = alerts.lock().unwrap().pop() else { return };
                    if let Err(said) = judge(&alert) {
                        failed.lock().unwrap().push(format!("{}: {said}", alert.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
