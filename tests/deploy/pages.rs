//! The pages about Kubernetes and systemd: what they name exists, and the steps of an upgrade apply everything once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::manifests::{OVERLAYS, rendered};
use super::rules::{name, selects};
use super::tools::DEPLOY;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn page(name: &str) -> String {
    fs::read_to_string(format!("{ROOT}/docs/{name}")).expect("the page")
}

/// The paths below `deploy/` that a text names.
fn paths(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-*".contains(c)));
    words
        .filter(|word| word.starts_with("deploy/"))
        .map(|word| word.trim_end_matches('.'))
        .collect()
}

#[test]
fn every_file_that_the_pages_name_exists() {
    for (page_, least) in
        [("kubernetes.md", 8), ("systemd.md", 6), ("upgrading.md", 5), ("restore.md", 1)]
    {
        let text = page(page_);
        let named = paths(&text);
        assert!(named.len() >= least, "{page_}: {named:?}");
        for path in named {
            // A pattern of the shell.
            let path = path.split('*').next().unwrap_or_default();
            assert!(Path::new(ROOT).join(path).exists(), "{page_} names {path}");
        }
    }
}

#[test]
fn the_page_names_every_component_and_the_script_every_variable() {
    let text = page("kubernetes.md");
    for component in fs::read_dir(format!("{DEPLOY}/k8s/components")).unwrap() {
        let component = component.unwrap().file_name().to_string_lossy().into_owned();
        assert!(text.contains(&format!("`{component}`")), "{component}");
    }
    for variable in ["POSTGRES_HOST", "POSTGRES_OPTIONS", "REDIS_SCHEME", "RABBITMQ_SCHEME"] {
        let script = fs::read_to_string(format!("{DEPLOY}/make-secrets")).unwrap();
        assert!(script.contains(&format!("${{{variable}")), "{variable}");
        assert!(text.contains(variable), "{variable}");
    }
}

/// A selector as `kubectl -l` takes it, of the two forms that the page uses.
fn selector(text: &str) -> Value {
    match text.split_once(" notin ") {
        Some((key, values)) => {
            let values: Vec<&str> = values.trim_matches(['(', ')']).split(',').collect();
            json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": values }] })
        }
        None => {
            let (key, value) = text.split_once('=').expect("key=value");
            json!({ "matchLabels": { key: value } })
        }
    }
}

#[test]
fn an_upgrade_applies_each_object_once_and_the_workers_before_the_gateway() {
    let text = page("kubernetes.md");
    let (_, upgrade) = text.split_once("## Upgrade").expect("the section");
    let quoted = |line: &str, quote| line.split(quote).nth(1).map(str::to_owned);
    let first = upgrade.lines().find(|line| line.contains("-l '")).and_then(|l| quoted(l, '\''));
    let each = upgrade.lines().find(|line| line.contains("-l \"")).and_then(|l| quoted(l, '"'));
    let order = upgrade.lines().find_map(|line| line.strip_prefix("for service in "));
    let order = order.and_then(|line| line.strip_suffix("; do")).expect("the order");
    // Contract, section 4.
    assert_eq!(order, "otp-worker sms-worker gateway");
    let mut steps = vec![first.expect("the first step")];
    steps
        .extend(order.split(' ').map(|service| each.clone().unwrap().replace("$service", service)));
    for overlay in OVERLAYS {
        for object in rendered(overlay) {
            let labels = object.pointer("/metadata/labels").cloned().unwrap_or_default();
            let takes = |step: &&String| selects(&selector(step), &labels);
            let taken: Vec<_> = steps.iter().filter(takes).collect();
            assert_eq!(
                taken.len(),
                1,
                "{overlay}: {} {} by {taken:?}",
                object["kind"],
                name(object)
            );
            let is_first = taken[0] == &steps[0];
            let early = matches!(object["kind"].as_str(), Some("ConfigMap" | "Job" | "Namespace"));
            assert!(!early || is_first, "{} comes late", name(object));
        }
    }
}
