//! The overlays by Kubernetes' schemas and by our rules; each rule fails on a copy from which its safeguard was taken.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use super::network::network;
use super::rules::{RULES, containers, name, text, workloads};
use super::secrets::secrets;
use super::tools::{faults, kustomized, objects};
use testkit::process::{Binary, program};

/// What an operator applies.
pub(super) const OVERLAYS: &[&str] = &["overlays/dev", "overlays/prod", "overlays/prod-managed"];

/// What the workers are scaled by, beside the length of their queue.
pub(super) const OWN_AGE: &str = "latchkey_own_queue_oldest_seconds";
pub(super) const OWN_IN_HAND: &str = "latchkey_own_messages_in_hand";

/// The objects of a folder below `deploy/k8s`; rendered once.
pub(super) fn rendered(folder: &str) -> &'static [Value] {
    static RENDERED: LazyLock<Mutex<BTreeMap<String, &'static [Value]>>> =
        LazyLock::new(Mutex::default);
    let mut all = RENDERED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_folder = all.entry(folder.to_owned());
    of_folder.or_insert_with(|| Box::leak(objects(&kustomized(folder)).into_boxed_slice()))
}

/// What breaks a rule, a line each.
pub(super) fn broken(overlay: &str, objects: &[Value]) -> Vec<String> {
    let of_rules = RULES.iter().flat_map(|(rule, find)| {
        find(objects).into_iter().map(move |fault| format!("{rule}: {fault}"))
    });
    of_rules.chain(secrets(objects)).chain(network(overlay, objects)).collect()
}

#[test]
fn every_overlay_is_what_kubernetes_takes_and_keeps_our_rules() {
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        assert!(objects.len() > 20, "{overlay} has {} objects", objects.len());
        assert_eq!(faults(objects), Vec::<String>::new(), "{overlay}");
        assert_eq!(broken(overlay, objects), Vec::<String>::new(), "{overlay}");
    }
}

#[test]
fn the_schemas_refuse_a_name_that_they_do_not_know() {
    let mut objects = rendered("overlays/prod").to_vec();
    for object in &mut objects {
        if object["spec"].is_object() {
            object["spec"]["surprise"] = json!(1);
        }
    }
    let with_spec = objects.iter().filter(|object| object["spec"].is_object()).count();
    let refused = faults(&objects);
    assert!(refused.len() >= with_spec, "{} of {with_spec}: {refused:?}", refused.len());
}

/// Each command of a container is one that the program has.
#[test]
fn every_command_exists() {
    let mut tried = 0;
    for overlay in OVERLAYS {
        for workload in workloads(rendered(overlay)) {
            for container in containers(workload).filter(|c| text(c, "/name") != "roles") {
                let words: Vec<&str> =
                    super::rules::list(container, "/command").filter_map(Value::as_str).collect();
                let words = words.join(" ");
                let (_, arguments) = words.split_once("latchkey ").expect("it runs our program");
                let mut command = Command::new(program(Binary::Latchkey.name()));
                let output = command.args(arguments.split(' ')).arg("--help").output().unwrap();
                assert!(output.status.success(), "{}: {words}", name(workload));
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 4 * OVERLAYS.len());
}

/// The images of the trial are those of compose, and run as the user that ours has.
#[test]
fn the_images_are_those_of_compose() {
    let read = |file: &str| {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let compose = read("docker-compose.yml");
    let images: BTreeSet<&str> = rendered("overlays/dev")
        .iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("Deployment" | "Job")))
        .flat_map(containers)
        .map(|container| text(container, "/image"))
        .collect();
    assert_eq!(images.len(), 4, "{images:?}");
    for image in images {
        let named = [format!("image: {image}\n"), format!("image: ${{SERVICE_IMAGE:-{image}}}\n")];
        assert!(named.iter().any(|line| compose.contains(line)), "{image}");
    }
    assert!(read("Dockerfile").contains("--uid 10001 "), "the pods run as 10001");
}

/// One safeguard: where it is in an object, and what stands there without it. `None` takes the place away.
type Removal = (&'static str, &'static str, &'static str, Option<Value>);

const POD: &str = "/spec/template/spec";

fn removals() -> Vec<Removal> {
    let own = "/spec/template/spec/containers/0";
    let place = |under: &str, rest: &str| -> &'static str { format!("{under}{rest}").leak() };
    let gateway = |pointer, value| ("Deployment", "latchkey-gateway", pointer, value);
    let worker = |pointer, value| ("Deployment", "latchkey-sms-worker", pointer, value);
    let scaled = |pointer, value| ("ScaledObject", "latchkey-sms-worker", pointer, value);
    let port = place(own, "/readinessProbe/httpGet/port");
    vec![
        worker(place(POD, "/enableServiceLinks"), None),
        worker(place(POD, "/automountServiceAccountToken"), None),
        ("ServiceAccount", "latchkey-sms-worker", "/automountServiceAccountToken", None),
        worker(place(POD, "/securityContext/runAsNonRoot"), Some(json!(false))),
        worker(place(POD, "/securityContext/seccompProfile"), None),
        worker(place(own, "/securityContext/allowPrivilegeEscalation"), None),
        worker(place(own, "/securityContext/readOnlyRootFilesystem"), None),
        worker(place(own, "/securityContext/capabilities"), None),
        worker(place(own, "/volumeMounts/0/readOnly"), None),
        worker(place(own, "/resources/limits/memory"), None),
        worker(place(own, "/resources/limits/memory"), Some(json!("32Mi"))),
        worker(place(own, "/resources/limits/cpu"), Some(json!("1"))),
        worker(place(own, "/resources/requests/cpu"), None),
        gateway(place(own, "/resources/limits/memory"), Some(json!("256Mi"))),
        gateway(place(own, "/command"), Some(json!(["latchkey", "gateway"]))),
        gateway(place(own, "/readinessProbe/httpGet/path"), Some(json!("/readyz"))),
        gateway(place(own, "/livenessProbe/httpGet/path"), Some(json!("/readyz"))),
        gateway(place(own, "/startupProbe/httpGet/path"), Some(json!("/livez"))),
        gateway(place(own, "/startupProbe/failureThreshold"), Some(json!(30))),
        gateway(port, Some(json!("http"))),
        gateway(place(own, "/ports/0/containerPort"), Some(json!(80))),
        gateway(place(own, "/lifecycle"), None),
        gateway(place(POD, "/terminationGracePeriodSeconds"), Some(json!(30))),
        worker(place(POD, "/terminationGracePeriodSeconds"), None),
        worker("/spec/strategy", None),
        worker("/spec/strategy/rollingUpdate/maxUnavailable", Some(json!(1))),
        worker(place(POD, "/topologySpreadConstraints/0"), None),
        worker(place(POD, "/topologySpreadConstraints/1"), None),
        ("PodDisruptionBudget", "latchkey-gateway", "/spec/minAvailable", Some(json!(2))),
        ("PodDisruptionBudget", "latchkey-gateway", "/spec/minAvailable", None),
        ("PodDisruptionBudget", "latchkey-gateway", "/spec/unhealthyPodEvictionPolicy", None),
        ("PodDisruptionBudget", "latchkey-gateway", "/spec/selector/matchLabels", None),
        ("HorizontalPodAutoscaler", "latchkey-gateway", "/spec/minReplicas", Some(json!(1))),
        gateway("/spec/replicas", Some(json!(2))),
        scaled("/spec/minReplicaCount", Some(json!(0))),
        scaled("/spec/maxReplicaCount", None),
        scaled("/spec/scaleTargetRef/name", Some(json!("sms-worker"))),
        scaled("/spec/triggers/0/metricType", Some(json!("AverageValue"))),
        scaled(
            "/spec/triggers/0/metadata/valueLocation",
            Some(json!("latchkey_queue_oldest_seconds")),
        ),
        scaled("/spec/triggers/0/metadata/aggregateFromKubeServiceEndpoints", None),
        scaled(
            "/spec/triggers/0/metadata/url",
            Some(json!("http://latchkey-sms-worker-ops:9090/metrics")),
        ),
        scaled("/spec/triggers/2/metricType", Some(json!("Value"))),
        scaled("/spec/triggers/2/metadata/valueLocation", Some(json!("latchkey_dead_letters"))),
        scaled("/spec/triggers/2/metadata/aggregationType", Some(json!("max"))),
        scaled("/spec/triggers/1/metadata/queueName", Some(json!("sms"))),
        scaled("/spec/triggers/1/authenticationRef/name", Some(json!("rabbitmq"))),
        ("Service", "latchkey-gateway", "/spec/selector/app.kubernetes.io~1component", None),
        ("Service", "latchkey-gateway", "/spec/ports/0/targetPort", Some(json!("web"))),
        ("PodMonitor", "latchkey", "/spec/podMetricsEndpoints/0/port", Some(json!("metrics"))),
        worker(place(own, "/env/0/name"), Some(json!("DATABASE_URI_FILE"))),
        worker(
            place(own, "/env/0"),
            Some(json!({ "name": "DATABASE_URL", "value": "postgres://a" })),
        ),
        worker(place(own, "/env/3/name"), Some(json!("LATCHKEY_SECRET_FILE"))),
        worker(place(POD, "/volumes/0/secret/secretName"), Some(json!("latchkey-gateway"))),
        worker(place(POD, "/volumes/0/secret/defaultMode"), None),
    ]
}

/// Takes one safeguard away; fails if it is not there.
fn without(objects: &[Value], (kind, called, pointer, value): &Removal) -> Vec<Value> {
    let mut objects = objects.to_vec();
    let object = objects.iter_mut().find(|o| o["kind"] == *kind && name(o) == *called);
    let object = object.unwrap_or_else(|| panic!("no {kind} {called}"));
    let (parent, last) = pointer.rsplit_once('/').expect("a place below the object");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
    match (parent, value) {
        (Value::Object(members), value) => {
            let last = last.replace("~1", "/");
            match value {
                Some(value) => members.insert(last, value.clone()),
                None => members.remove(&last),
            };
        }
        (Value::Array(items), Some(value)) => {
            items[last.parse::<usize>().expect("an index")] = value.clone();
        }
        (Value::Array(items), None) => {
            items.remove(last.parse().expect("an index"));
        }
        (other, _) => panic!("{pointer} is in {other}"),
    }
    objects
}

#[test]
fn each_safeguard_is_missed_when_it_is_taken_away() {
    let whole = rendered("overlays/prod");
    for removal in removals() {
        let less = without(whole, &removal);
        assert!(less != whole, "{removal:?} takes nothing away");
        assert!(!broken("overlays/prod", &less).is_empty(), "nobody misses {removal:?}");
    }
}
