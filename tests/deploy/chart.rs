//! The Helm chart: made from `deploy/k8s` as it is, the same objects as an overlay for the same values, and refused where
//! a value is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::manifests::{broken, rendered};
use super::rules::name;
use super::tools::{DEPLOY, faults, objects, printed, tool};
use crate::openapi::python::said;
use testkit::folder::Folder;

const OVERLAY: &str = "overlays/prod-managed";

/// What is in the templates' folder and not made.
const WRITTEN: [&str; 2] = ["NOTES.txt", "_helpers.tpl"];

fn chart() -> String {
    format!("{DEPLOY}/helm/latchkey")
}

/// Runs Helm on the chart with the values of the example, and these.
fn helm(command: &[&str], more: &[&str]) -> Output {
    let mut helm = tool("helm");
    helm.args(command).arg(chart()).args(["--namespace", "latchkey"]);
    helm.args(["--values", &format!("{DEPLOY}/helm/examples/prod-managed.yaml")]);
    for value in more {
        helm.args(["--set", value]);
    }
    helm.output().expect("run helm")
}

fn templated(more: &[&str]) -> Vec<Value> {
    let output = helm(&["template", "latchkey"], more);
    assert!(output.status.success(), "{more:?}: {}", said(&output));
    objects(&String::from_utf8(output.stdout).expect("UTF-8"))
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.is_file()).map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    named.filter(|(name, _)| !WRITTEN.contains(&name.as_str())).collect()
}

#[test]
fn the_chart_is_made_from_the_manifests_as_they_are() {
    let made = Folder::new("chart");
    let mut generate = tool("python");
    printed(generate.arg(format!("{DEPLOY}/helm/generate")).arg(made.path()));
    let chart = chart();
    let hint = "the chart is out of date: run deploy/helm/generate";
    let templates = files(&Path::new(&chart).join("templates"));
    assert!(templates.len() > 6, "{:?}", templates.keys());
    assert!(files(&made.join("templates")) == templates, "{hint}");
    let schema = |folder: &Path| fs::read_to_string(folder.join("values.schema.json")).unwrap();
    assert!(schema(made.path()) == schema(Path::new(&chart)), "{hint}");
}

/// Members that only the chart or only the overlay has.
const OF_ONE: [&str; 4] =
    ["namespace", "helm.sh/chart", "app.kubernetes.io/managed-by", "checksum/settings"];

/// Without what differs by the nature of the two: hashes and namespaces, Helm's own labels, and what is empty.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, value)| {
                let by_default = *key == "type" && *value == "ClusterIP";
                !OF_ONE.contains(&key.as_str()) && !by_default
            });
            let kept = kept.map(|(key, value)| (key.clone(), bare(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(bare).collect()),
        Value::String(text) => {
            let hashed = ["latchkey-settings", "latchkey-roles", "latchkey-migrate"];
            let is_hashed = |name: &&str| {
                text.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('-') && !text.contains(' '))
            };
            json!(hashed.into_iter().find(is_hashed).unwrap_or(text))
        }
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn by_name(objects: &[Value]) -> BTreeMap<String, Value> {
    let kept = objects.iter().filter(|object| object["kind"] != "Namespace");
    kept.map(bare).map(|object| (format!("{} {}", object["kind"], name(&object)), object)).collect()
}

#[test]
fn the_chart_makes_the_objects_of_the_overlay_for_managed_engines() {
    let (of_chart, of_overlay) = (by_name(&templated(&[])), by_name(rendered(OVERLAY)));
    assert_eq!(of_chart.keys().collect::<Vec<_>>(), of_overlay.keys().collect::<Vec<_>>());
    for (name, object) in &of_overlay {
        assert_eq!(&of_chart[name], object, "{name}");
    }
}

/// The chart with these values, in the namespace that Helm puts it into.
fn installed(more: &[&str]) -> Vec<Value> {
    let mut objects = templated(more);
    for object in &mut objects {
        object["metadata"]["namespace"] = json!("latchkey");
    }
    objects
}

#[test]
fn the_chart_keeps_our_rules_with_each_option() {
    let all = [
        "twilio.apiKey=true",
        "httpProvider.enabled=true",
        "testNumbers.enabled=true",
        "inbox.enabled=true",
        "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ];
    for more in
        [&all[..], &["keda.enabled=false", "monitoring.enabled=false", "twilio.enabled=false"]]
    {
        let objects = installed(more);
        assert_eq!(faults(&objects), Vec::<String>::new(), "{more:?}");
        assert_eq!(broken(OVERLAY, &objects), Vec::<String>::new(), "{more:?}");
    }
    let open = installed(&["networkPolicy.enabled=false"]);
    assert!(!open.iter().any(|object| object["kind"] == "NetworkPolicy"));
    let breached = installed(&["breachedPasswords.enabled=true"]);
    let own = breached.iter().filter(|object| name(object) == "latchkey-breached-passwords");
    assert_eq!(own.count(), 1);
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let output = helm(&["lint", "--strict"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let alone = tool("helm").args(["lint", "--strict", &chart()]).output().expect("run helm");
    assert!(alone.status.success(), "the values alone: {}", said(&alone));
}

#[test]
fn a_wrong_value_stops_the_installation_and_is_named() {
    for (value, named) in [
        // Secrets are no values.
        ("settings.LATCHKEY_SECRET=0123456789abcdef0123456789abcdef", "LATCHKEY_SECRET"),
        ("settings.TWILIO_AUTH_TOKEN=0123456789abcdef0123456789abcdef", "TWILIO_AUTH_TOKEN"),
        ("settings.LATCHKEY_OTP_LENGHT=8", "LATCHKEY_OTP_LENGHT"),
        ("settings.LATCHKEY_OTP_LENGTH=8", "LATCHKEY_OTP_LENGTH"),
        ("gateway.minReplicas=1", "minReplicas"),
        ("gateway.replicas=3", "replicas"),
        ("keda.enabled=maybe", "enabled"),
    ] {
        let output = helm(&["template", "latchkey"], &[value]);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(named), "{value}: {said}");
    }
}
