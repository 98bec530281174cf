//! Schemathesis, which makes calls from the document, finds nothing in a running gateway: no answer that the document does
//! not describe, no body that it allows and the gateway refuses or the reverse, no call that works without its token.

use std::process::Command;

use testkit::both_sides;
use testkit::folder::Folder;
use testkit::http::new_phone;
use testkit::system::{Side, System};

use super::python::{python, said};

both_sides!(schemathesis_finds_nothing);

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/schemathesis.toml");

/// Runs it over these calls, always the same ones in the same order; returns how many it made.
pub(crate) fn run(url: &str, arguments: &[&str]) -> u64 {
    // It keeps notes in the working directory.
    let folder = Folder::new("schemathesis");
    let mut command = Command::new(python());
    command.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
        .args(["-m", "schemathesis.cli", "--config-file", CONFIG, "run"])
        .arg(format!("{url}/openapi.json"));
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "4", "--no-color"]);
    command.args(["--generation-deterministic", "--continue-on-failure", "--no-shrink"]);
    let output = command.args(arguments).output().expect("run schemathesis");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let words: Vec<&str> = said.split_whitespace().collect();
    let made = words.windows(2).find(|pair| pair[1] == "generated,").map(|pair| pair[0]);
    made.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{said}"))
}

async fn schemathesis_finds_nothing(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    assert!(run(&api.url, &[]) > 500, "it made fewer calls than it should");
    // Its own sign-in: deleting the account or logging out would end it for the calls that follow.
    let signed_in = api.sign_in(&new_phone()).await;
    let bearer =
        format!("Authorization: Bearer {}", signed_in["access"].as_str().expect("a token"));
    let of_account = ["--include-path-regex", "^/v1/me", "--exclude-operation-id", "deleteUser"];
    let made = run(&api.url, &[&["--header", &bearer], &of_account[..]].concat());
    assert!(made > 100, "it made fewer calls than it should: {made}");
    let output = system.output();
    assert!(!output.contains("panicked") && !output.contains("request failed"), "{output}");
}
