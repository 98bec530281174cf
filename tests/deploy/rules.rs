//! The rules that the manifests keep. Each returns what breaks it, a line each; `manifests` tries them on what is there,
//! and on copies from which a safeguard was taken.

use serde_json::{Value, json};

use super::manifests::{OWN_AGE, OWN_IN_HAND};

/// What one rule finds in the objects of an overlay.
pub(super) type Rule = fn(&[Value]) -> Vec<String>;

/// P12: from SIGTERM to the end.
const STOP_SECS: u64 = 25;

/// All rules but those of the network and of secrets.
pub(super) const RULES: [(&str, Rule); 9] = [
    ("a pod has no rights that it does not need", rights),
    ("memory is bounded and fits, the processor is not", resources),
    ("probes ask what the ops port answers, and none follows the engines", probes),
    ("a pod may finish its work", endings),
    ("a release replaces one pod after the other", releases),
    ("pods are spread, and a drain always proceeds", drains),
    ("one hand scales each service", scaling),
    ("a service reaches pods, and a monitor ports", selections),
    ("a trigger asks for a figure and a queue that exist", triggers),
];

pub(super) fn of<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Our Deployments and Jobs, not the engines of a trial.
pub(super) fn workloads(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects.iter().filter(|object| {
        matches!(object["kind"].as_str(), Some("Deployment" | "Job"))
            && object["metadata"]["labels"]["app.kubernetes.io/name"] == "latchkey"
    })
}

pub(super) fn services(objects: &[Value]) -> impl Iterator<Item = &Value> {
    workloads(objects).filter(|workload| workload["kind"] == "Deployment")
}

/// The containers of a workload, those that run before the others too.
pub(super) fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    list(workload, "/spec/template/spec/initContainers")
        .chain(list(workload, "/spec/template/spec/containers"))
}

pub(super) fn labels(workload: &Value) -> &Value {
    &workload["spec"]["template"]["metadata"]["labels"]
}

/// Whether a selector by labels takes these.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let by_label = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    by_label.clone().all(|(key, value)| &labels[key] == value)
        && list(selector, "/matchExpressions").all(|expression| {
            let label = &labels[text(expression, "/key")];
            let listed = list(expression, "/values").any(|value| value == label);
            match text(expression, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => !label.is_null(),
                other => panic!("the operator {other} is not expected here"),
            }
        })
}

/// A rule about something that must hold.
struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, holds: bool, of: &Value, what: &str) {
        if !holds {
            self.0.push(format!("{} {}: {what}", text(of, "/kind"), name(of)));
        }
    }
}

fn rights(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in workloads(objects) {
        let pod = &workload["spec"]["template"]["spec"];
        let account = of(objects, "ServiceAccount").find(|a| name(a) == pod["serviceAccountName"]);
        let no_token = account.is_some_and(|a| a["automountServiceAccountToken"] == false);
        faults.unless(no_token, workload, "its ServiceAccount is missing or gives a token");
        for (pointer, wanted) in [
            ("/automountServiceAccountToken", json!(false)),
            // An unknown LATCHKEY_ variable stops the start (ruling 18).
            ("/enableServiceLinks", json!(false)),
            ("/securityContext/runAsNonRoot", json!(true)),
            ("/securityContext/runAsUser", json!(10001)),
            ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ] {
            faults.unless(pod.pointer(pointer) == Some(&wanted), workload, pointer);
        }
        for container in containers(workload) {
            for (pointer, wanted) in [
                ("/securityContext/allowPrivilegeEscalation", json!(false)),
                ("/securityContext/readOnlyRootFilesystem", json!(true)),
                ("/securityContext/capabilities/drop", json!(["ALL"])),
            ] {
                faults.unless(container.pointer(pointer) == Some(&wanted), workload, pointer);
            }
            let read_only = list(container, "/volumeMounts").all(|mount| mount["readOnly"] == true);
            faults.unless(read_only, workload, "a volume that it may write to");
        }
    }
    faults.0
}

/// A quantity of memory in MiB.
fn mebibytes(quantity: &str) -> Option<u64> {
    match quantity.strip_suffix("Gi") {
        Some(gibibytes) => Some(1024 * gibibytes.parse::<u64>().ok()?),
        None => quantity.strip_suffix("Mi")?.parse().ok(),
    }
}

/// What the gateway may take on a node of 32 cores: itself, a hash for each core and one more (19 MiB each; ruling 44), and
/// its connections (ruling 45: half of the open files, 24 KiB each).
fn gateway_needs(command: &str) -> Option<u64> {
    let files = command.split("ulimit -n ").nth(1)?.split_whitespace().next()?;
    Some(32 + 19 * 33 + files.parse::<u64>().ok()? / 2 * 24 / 1024)
}

fn resources(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in workloads(objects) {
        for container in containers(workload) {
            let of = |pointer| mebibytes(text(container, pointer));
            let limit = of("/resources/limits/memory");
            let requested = of("/resources/requests/memory");
            faults.unless(requested.is_some() && requested <= limit, workload, "memory");
            let processor = container.pointer("/resources/limits/cpu");
            faults.unless(processor.is_none(), workload, "a limit of CPU throttles it");
            let requested = container.pointer("/resources/requests/cpu");
            faults.unless(requested.is_some(), workload, "a request of CPU is missing");
            let needs = match text(container, "/name") {
                "gateway" => gateway_needs(&container["command"].to_string()),
                // Measured idle, and the messages that it holds (contract, section 5).
                "otp-worker" | "sms-worker" => Some(29 + 128 * 64 / 1024),
                _ => Some(0),
            };
            faults.unless(needs.is_some() && needs <= limit, workload, "less memory than it takes");
        }
    }
    faults.0
}

/// The port that a probe asks, by number.
fn port_of(container: &Value, probe: &Value) -> Option<u64> {
    let wanted = &probe["httpGet"]["port"];
    let named = list(container, "/ports").find(|port| &port["name"] == wanted);
    wanted.as_u64().or_else(|| named?["containerPort"].as_u64())
}

/// A setting that all services share.
pub(super) fn setting<'a>(objects: &'a [Value], name: &str) -> &'a str {
    let settings = of(objects, "ConfigMap")
        .find(|map| self::name(map).starts_with("latchkey-settings"))
        .expect("the settings");
    settings["data"][name].as_str().unwrap_or_default()
}

fn probes(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let port = |name| setting(objects, name).rsplit(':').next().and_then(|port| port.parse().ok());
    for workload in services(objects) {
        for container in containers(workload) {
            for (probe, path) in [
                ("startupProbe", "/readyz"),
                ("readinessProbe", "/livez"),
                ("livenessProbe", "/livez"),
            ] {
                let found = &container[probe];
                let asks = found["httpGet"]["path"] == path
                    && port_of(container, found).is_some()
                    && port_of(container, found) == port("LATCHKEY_OPS_LISTEN");
                faults.unless(asks, workload, probe);
            }
            // It waits for its engines: a restart would only make it wait longer (P12: back within 60 s of the repair).
            let of_start = |member| container["startupProbe"][member].as_u64().unwrap_or(1);
            let waits = of_start("periodSeconds") * of_start("failureThreshold");
            faults.unless(
                waits >= 3600,
                workload,
                "it is restarted while it waits for its engines",
            );
            let public = list(container, "/ports").find(|port| port["name"] == "http");
            let public = public.and_then(|port| port["containerPort"].as_u64());
            let serves = text(container, "/name") != "gateway" || public == port("LATCHKEY_LISTEN");
            faults.unless(serves, workload, "its public port is another");
        }
    }
    faults.0
}

fn endings(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in services(objects) {
        let pod = &workload["spec"]["template"]["spec"];
        let pause = pod.pointer("/containers/0/lifecycle/preStop/sleep/seconds");
        let pause = pause.and_then(Value::as_u64).unwrap_or_default();
        let given = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or_default();
        faults.unless(given > pause + STOP_SECS, workload, "it is killed while it drains");
        let is_gateway = name(workload).ends_with("gateway");
        faults.unless(!is_gateway || pause >= 3, workload, "it closes its listener at once");
    }
    faults.0
}

fn releases(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in services(objects) {
        let rolling = &workload["spec"]["strategy"]["rollingUpdate"];
        let gentle = rolling["maxUnavailable"] == 0 && rolling["maxSurge"] == 1;
        faults.unless(gentle, workload, "a release takes a pod before the next one serves");
    }
    faults.0
}

/// The smallest number of pods that a Deployment is left with.
fn least(objects: &[Value], workload: &Value) -> u64 {
    let scaled = |scaler: &&Value| text(scaler, "/spec/scaleTargetRef/name") == name(workload);
    let by_hpa = of(objects, "HorizontalPodAutoscaler").find(scaled);
    let by_keda = of(objects, "ScaledObject").find(scaled);
    let count = by_hpa
        .map(|hpa| &hpa["spec"]["minReplicas"])
        .or_else(|| by_keda.map(|keda| &keda["spec"]["minReplicaCount"]))
        .unwrap_or(&workload["spec"]["replicas"]);
    count.as_u64().unwrap_or(1)
}

fn drains(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in services(objects) {
        let budgets: Vec<&Value> = of(objects, "PodDisruptionBudget")
            .filter(|budget| selects(&budget["spec"]["selector"], labels(workload)))
            .collect();
        let least = least(objects, workload);
        let kept = budgets.iter().map(|budget| budget["spec"]["minAvailable"].as_u64());
        let one = budgets.len() == 1 || (least == 1 && budgets.is_empty());
        faults.unless(one, workload, "it has no budget, or several, which a drain cannot meet");
        for kept in kept {
            let spares = kept.is_some_and(|kept| (1..least).contains(&kept));
            faults.unless(spares, workload, "no pod can be spared: a drain would never proceed");
        }
        for budget in budgets {
            let evicts = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
            faults.unless(evicts, budget, "a pod that is not ready holds up a drain");
        }
        for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
            let spread = list(workload, "/spec/template/spec/topologySpreadConstraints")
                .find(|constraint| constraint["topologyKey"] == key);
            let spreads = spread.is_some_and(|spread| {
                selects(&spread["labelSelector"], labels(workload))
                    && spread["whenUnsatisfiable"] == "ScheduleAnyway"
            });
            faults.unless(spreads, workload, &format!("not spread by {key}"));
        }
    }
    faults.0
}

fn scaling(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for workload in services(objects) {
        let scalers = objects.iter().filter(|object| {
            text(object, "/spec/scaleTargetRef/name") == name(workload)
                && matches!(text(object, "/kind"), "HorizontalPodAutoscaler" | "ScaledObject")
        });
        let hands = scalers.count() + usize::from(!workload["spec"]["replicas"].is_null());
        // A number in the Deployment would set back at each `apply` what a scaler decided.
        faults.unless(hands <= 1, workload, "two decide how many there are");
    }
    for scaler in of(objects, "ScaledObject").chain(of(objects, "HorizontalPodAutoscaler")) {
        let target = text(scaler, "/spec/scaleTargetRef/name");
        faults.unless(services(objects).any(|w| name(w) == target), scaler, "no such target");
        let count = |a, b| scaler["spec"][a].as_u64().or_else(|| scaler["spec"][b].as_u64());
        let (low, high) =
            (count("minReplicas", "minReplicaCount"), count("maxReplicas", "maxReplicaCount"));
        // Never 0: the first text would wait for a pod.
        faults.unless(low >= Some(2) && low < high, scaler, "fewer than two, or without a bound");
    }
    faults.0
}

fn selections(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let has_port = |workload: &Value, port: &Value| {
        containers(workload).any(|container| {
            list(container, "/ports")
                .any(|has| &has["name"] == port || &has["containerPort"] == port)
        })
    };
    let all = || of(objects, "Deployment");
    for service in of(objects, "Service") {
        let selector = json!({ "matchLabels": service["spec"]["selector"] });
        let pods: Vec<&Value> = all().filter(|w| selects(&selector, labels(w))).collect();
        faults.unless(pods.len() == 1, service, "it reaches no pods, or those of several");
        for port in list(service, "/spec/ports") {
            let wanted = port.get("targetPort").unwrap_or(&port["port"]);
            faults.unless(pods.iter().all(|w| has_port(w, wanted)), service, "no such port");
        }
    }
    for monitor in of(objects, "PodMonitor").filter(|m| name(m) == "latchkey") {
        let selector = &monitor["spec"]["selector"];
        let pods: Vec<&Value> =
            services(objects).filter(|w| selects(selector, labels(w))).collect();
        faults.unless(pods.len() == 3, monitor, "it does not watch the three services");
        for endpoint in list(monitor, "/spec/podMetricsEndpoints") {
            let watched = pods.iter().all(|w| has_port(w, &endpoint["port"]));
            faults.unless(watched && endpoint["path"] == "/metrics", monitor, "no such port");
        }
    }
    faults.0
}

fn triggers(objects: &[Value]) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    for scaler in of(objects, "ScaledObject") {
        let target = text(scaler, "/spec/scaleTargetRef/name");
        let namespace = text(scaler, "/metadata/namespace");
        let worker = target.trim_start_matches("latchkey-");
        let of_type = |kind| list(scaler, "/spec/triggers").find(|t| t["type"] == kind);
        let url = format!("http://{target}-ops.{namespace}:9090/metrics");
        // The age is that of the worst pod, and no sum; what is in hand is one, to be divided among the pods.
        for (figure, together, metric) in
            [(OWN_AGE, "max", "Value"), (OWN_IN_HAND, "sum", "AverageValue")]
        {
            let trigger = list(scaler, "/spec/triggers")
                .find(|trigger| trigger["metadata"]["valueLocation"] == figure)
                .unwrap_or(&Value::Null);
            faults.unless(!trigger.is_null(), scaler, "another figure");
            let asks = &trigger["metadata"];
            faults.unless(asks["url"] == url.as_str(), scaler, "another address than its ops port");
            faults.unless(trigger["metricType"] == metric, scaler, "divided among the pods or not");
            let all = asks["aggregateFromKubeServiceEndpoints"] == "true"
                && asks["aggregationType"] == together
                && asks["format"] == "prometheus";
            faults.unless(all, scaler, "it asks one pod of several");
        }
        let length = of_type("rabbitmq").map_or(&Value::Null, |trigger| &trigger["metadata"]);
        let queue = worker.parse::<bus::Queue>().is_ok() && length["queueName"] == worker;
        faults.unless(queue, scaler, "no such queue");
        let login = of_type("rabbitmq").map(|t| text(t, "/authenticationRef/name"));
        let known = of(objects, "TriggerAuthentication").any(|a| Some(name(a)) == login);
        faults.unless(known, scaler, "no such login");
    }
    faults.0
}
