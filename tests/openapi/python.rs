//! Tools of other makers that judge the document: a JSON Schema validator and Schemathesis, in a virtual environment of
//! pinned versions.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

const PYTHON: &str = "/usr/bin/python3";
const REQUIREMENTS: &str = include_str!("requirements.txt");
const JUDGE: &str = include_str!("judge.py");

/// The interpreter of the environment in which the judges of the document are.
pub(crate) fn python() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/requirements.txt");
        environment("openapi-tools", requirements, REQUIREMENTS, |_| {})
    })
}

/// The interpreter of a virtual environment with what the file of requirements pins; made once for each `text` of it, and
/// then finished by `finish`. At most one thread of the process makes one of a name.
pub(crate) fn environment(
    name: &str,
    requirements: &str,
    text: &str,
    finish: impl FnOnce(&Path),
) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (python, made) = (folder.join("bin/python"), folder.join("made-of.txt"));
    // Written at the end: an environment without it was not finished.
    if fs::read_to_string(&made).is_ok_and(|of| of == text) {
        return python;
    }
    let mut venv = Command::new(PYTHON);
    let hint = "install python3-venv, as tests/run does";
    succeed(venv.args(["-m", "venv", "--clear"]).arg(&folder), hint);
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--no-deps"]);
    install.args(["--disable-pip-version-check", "--requirement", requirements]);
    succeed(&mut install, "the package index must be reachable");
    finish(&python);
    fs::write(&made, text).expect("mark the environment as made");
    python
}

pub(crate) fn succeed(command: &mut Command, hint: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {hint}"));
    assert!(output.status.success(), "{command:?}: {hint}\n{}", said(&output));
}

/// What a program printed and complained of.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// A value that must be what a schema says.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// What a fault is told of.
    pub at: String,
    /// A schema, or a reference into the components.
    pub schema: Value,
    pub value: Value,
}

/// What is wrong with the values, a line each. References in the schemas lead into these components. A schema that is none
/// by JSON Schema 2020-12 is a fault too.
pub(crate) fn faults(components: &Value, claims: &[Claim]) -> Vec<String> {
    let claims: Vec<Value> = claims
        .iter()
        .map(|claim| json!({ "at": claim.at, "schema": claim.schema, "value": claim.value }))
        .collect();
    let asked = json!({ "components": components, "claims": claims }).to_string();
    let mut judge = Command::new(python());
    judge.args(["-c", JUDGE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = judge.spawn().expect("start the judge");
    // It reads everything before it writes.
    judge.stdin.take().expect("its input").write_all(asked.as_bytes()).expect("ask the judge");
    let output = judge.wait_with_output().expect("hear the judge");
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("a list of faults")
}
