//! What is made from the code and kept in `docs/`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use testkit::folder::Folder;
use testkit::process::{self, Binary};

fn kept(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_kept_document_is_the_one_that_production_serves() {
    let kept: Value = serde_json::from_str(&kept("docs/openapi.json")).expect("JSON");
    let made = gateway::openapi_document(false);
    assert!(
        kept == made,
        "docs/openapi.json is out of date: `cargo run -- openapi > docs/openapi.json`"
    );
}

#[test]
fn the_kept_page_of_errors_is_the_one_of_the_code() {
    assert!(
        kept("docs/errors.md") == gateway::errors_page(),
        "docs/errors.md is out of date: `cargo run -- errors --markdown > docs/errors.md`"
    );
}

#[test]
fn the_commands_print_what_is_kept_without_any_setting() {
    let folder = Folder::new("openapi");
    let run = |args: &[&str]| process::run(Binary::Latchkey, args, folder.path(), &[].into());
    let printed: Value = serde_json::from_str(&run(&["openapi"])).expect("JSON");
    assert_eq!(printed, gateway::openapi_document(false));
    let printed: Value = serde_json::from_str(&run(&["openapi", "--development"])).expect("JSON");
    assert_eq!(printed, gateway::openapi_document(true));
    assert_eq!(run(&["errors", "--markdown"]), gateway::errors_page());
    let rows: Value = serde_json::from_str(&run(&["errors", "--json"])).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(gateway::errors().len()));
    let lines = run(&["errors"]);
    for row in gateway::errors() {
        assert!(lines.contains(&format!(" {}", row.code)), "{}", row.code);
    }
}

/// The table of errors in the contract, section 3: each code, with its statuses.
#[test]
fn the_contract_names_the_same_codes_with_the_same_statuses() {
    let contract = kept("docs/CONTRACT.md");
    let table = contract.split("| status | code | members |").nth(1).expect("the table of errors");
    let table = table.split("\n\n").next().expect("its end");
    let mut named = BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("|--")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let statuses: Vec<&str> = cells.next().expect("statuses").split(", ").collect();
        let codes = cells.next().expect("codes");
        let words = codes.split('`').skip(1).step_by(2);
        let codes: Vec<&str> = words.filter(|word| is_code(word)).collect();
        // One status for all codes of the row, or one each.
        for (at, code) in codes.iter().enumerate() {
            let status = statuses.get(at).or(statuses.first()).expect("a status");
            named.insert((status.parse::<u16>().expect("a status"), (*code).to_owned()));
        }
    }
    let rows = gateway::errors().into_iter();
    let made = rows
        .flat_map(|row| row.statuses.into_iter().map(move |status| (status, row.code.to_owned())));
    assert_eq!(named, made.collect());
}

/// Whether a word of the table is a code: rows name headers and challenges as well.
fn is_code(word: &str) -> bool {
    let words = ["use_dpop_nonce"];
    word.contains('_')
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && !words.contains(&word)
}
