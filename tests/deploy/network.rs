//! What the network policies admit, judged as Kubernetes does: a pod that a policy of a direction selects may only do in it
//! what one of these policies admits.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::manifests::{OVERLAYS, rendered};
use super::rules::{list, of, selects, text};

/// One end of a connection.
#[derive(Clone, Debug)]
struct End {
    /// The labels of a pod and the name of its namespace; none of an address outside.
    pod: Option<(Value, &'static str)>,
    address: IpAddr,
}

fn pod(namespace: &'static str, labels: Value) -> End {
    // Of no range that a policy names: pods are known by their labels.
    End { pod: Some((labels, namespace)), address: "100.64.0.9".parse().expect("an address") }
}

fn outside(address: &str) -> End {
    End { pod: None, address: address.parse().expect("an address") }
}

fn ours(component: &str) -> End {
    let labels =
        json!({ "app.kubernetes.io/name": "latchkey", "app.kubernetes.io/component": component });
    pod("latchkey", labels)
}

fn is_peer(peer: &Value, end: &End) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        let within = |net: &Value| {
            net.as_str()
                .and_then(|net| net.parse::<IpNet>().ok())
                .expect("a network")
                .contains(&end.address)
        };
        return within(&block["cidr"]) && !list(block, "/except").any(within);
    }
    let Some((labels, namespace)) = &end.pod else { return false };
    let of_namespace = json!({ "kubernetes.io/metadata.name": namespace });
    peer.get("namespaceSelector").map_or(*namespace == "latchkey", |s| selects(s, &of_namespace))
        && peer.get("podSelector").is_none_or(|selector| selects(selector, labels))
}

/// Whether the policies of one direction let `own` do this.
fn admits(
    objects: &[Value],
    direction: &str,
    own: &End,
    other: &End,
    port: (&str, &str, u64),
) -> bool {
    let Some((labels, "latchkey")) = &own.pod else { return true };
    let mut judged = of(objects, "NetworkPolicy")
        .filter(|policy| selects(&policy["spec"]["podSelector"], labels))
        .filter(|policy| list(policy, "/spec/policyTypes").any(|kind| kind == direction))
        .peekable();
    if judged.peek().is_none() {
        return true;
    }
    let (rules, peers) =
        if direction == "Ingress" { ("/spec/ingress", "from") } else { ("/spec/egress", "to") };
    judged.any(|policy| {
        list(policy, rules).any(|rule| {
            let peer = rule
                .get(peers)
                .is_none_or(|_| list(rule, &format!("/{peers}")).any(|peer| is_peer(peer, other)));
            let (protocol, named, number) = port;
            peer && rule.get("ports").is_none_or(|_| {
                list(rule, "/ports").any(|p| {
                    text(p, "/protocol") == protocol
                        && (p["port"] == number || (!named.is_empty() && p["port"] == named))
                })
            })
        })
    })
}

/// Whether a connection comes about: its start may make it and its end take it.
fn connects(objects: &[Value], from: &End, to: &End, port: (&str, &str, u64)) -> bool {
    admits(objects, "Egress", from, to, port) && admits(objects, "Ingress", to, from, port)
}

const HTTP: (&str, &str, u64) = ("TCP", "http", 8080);
const OPS: (&str, &str, u64) = ("TCP", "ops", 9090);
const POSTGRES: (&str, &str, u64) = ("TCP", "", 5432);
const REDIS: (&str, &str, u64) = ("TCP", "", 6379);
const RABBITMQ: (&str, &str, u64) = ("TCP", "", 5672);
const TLS: (&str, &str, u64) = ("TCP", "", 443);

/// The engines of an overlay: PostgreSQL, Redis and RabbitMQ.
fn engines(overlay: &str) -> [End; 3] {
    let of = |label: &str, name: &str| pod("latchkey", json!({ label: name }));
    match overlay {
        "overlays/prod" => [
            of("cnpg.io/cluster", "latchkey-postgres"),
            of("app", "latchkey-redis"),
            of("app.kubernetes.io/name", "latchkey-rabbitmq"),
        ],
        "overlays/prod-managed" => ["10.1.2.3", "172.20.1.1", "192.168.7.7"].map(outside),
        _ => ["latchkey-postgres", "latchkey-redis", "latchkey-rabbitmq"]
            .map(|name| of("app.kubernetes.io/name", name)),
    }
}

/// Every connection between the parts that the product makes, as the networks of docker-compose.yml admit them, and none
/// beside them.
pub(super) fn network(overlay: &str, objects: &[Value]) -> Vec<String> {
    let [postgres, redis, rabbitmq] = engines(overlay);
    let ends = [
        ("gateway", ours("gateway")),
        ("otp-worker", ours("otp-worker")),
        ("sms-worker", ours("sms-worker")),
        ("migrate", ours("migrate")),
        ("postgres", postgres),
        ("redis", redis),
        ("rabbitmq", rabbitmq),
        ("dns", pod("kube-system", json!({ "k8s-app": "kube-dns" }))),
        ("kube-system", pod("kube-system", json!({ "k8s-app": "another" }))),
        ("ingress", pod("ingress", json!({ "app": "ingress" }))),
        ("prometheus", pod("monitoring", json!({ "app": "prometheus" }))),
        ("keda", pod("keda", json!({ "app": "keda-operator" }))),
        ("stranger", pod("another", json!({ "app": "stranger" }))),
        ("provider", outside("203.0.113.7")),
        ("provider by IPv6", outside("2001:db8::7")),
        ("metadata service", outside("169.254.169.254")),
        ("node", outside("10.96.0.1")),
        ("loopback", outside("127.0.0.1")),
        ("node by IPv6", outside("fd00::1")),
    ];
    let wanted = |from: &str, to: &str, port: u64| {
        let service = matches!(from, "gateway" | "otp-worker" | "sms-worker");
        match (to, port) {
            ("postgres", 5432) | ("dns", 53) => service || from == "migrate",
            ("redis", 6379) | ("rabbitmq", 5672) => service,
            ("provider" | "provider by IPv6", 443) => from == "sms-worker",
            // Clients and providers come from anywhere; whoever may leave by no other rule does not.
            ("gateway", 8080) => !service && from != "migrate",
            ("gateway" | "otp-worker" | "sms-worker", 9090) => {
                matches!(from, "prometheus" | "keda")
            }
            _ => false,
        }
    };
    let mut faults = Vec::new();
    let dns = [("UDP", "", 53), ("TCP", "", 53)];
    let ports = [HTTP, OPS, POSTGRES, REDIS, RABBITMQ, TLS, ("TCP", "", 80)].into_iter().chain(dns);
    for port in ports {
        for (from, start) in &ends {
            for (to, end) in ends.iter().filter(|(to, _)| to != from) {
                let is_ours = |end: &End| matches!(&end.pod, Some((labels, _)) if labels["app.kubernetes.io/name"] == "latchkey");
                if !is_ours(start) && !is_ours(end) {
                    continue;
                }
                // Managed engines are in private ranges, and so are nodes: the page says to narrow these.
                let is_range = overlay == "overlays/prod-managed"
                    && matches!(*to, "node" | "node by IPv6" | "postgres" | "redis" | "rabbitmq")
                    && (matches!(port.2, 6379 | 5672) && from != &"migrate" || port.2 == 5432);
                let wanted = wanted(from, to, port.2) || is_range;
                if connects(objects, start, end, port) != wanted {
                    let says = if wanted { "is refused" } else { "is admitted" };
                    faults.push(format!("{from} to {to}, {} {} {says}", port.0, port.2));
                }
            }
        }
    }
    faults
}

#[test]
fn the_policies_admit_what_the_product_connects_to_and_nothing_else() {
    for overlay in OVERLAYS {
        assert_eq!(network(overlay, rendered(overlay)), Vec::<String>::new(), "{overlay}");
    }
}

#[test]
fn each_policy_is_needed() {
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        for policy in of(objects, "NetworkPolicy") {
            let others: Vec<Value> = objects.iter().filter(|o| *o != policy).cloned().collect();
            assert!(
                !network(overlay, &others).is_empty(),
                "{overlay}: {}",
                super::rules::name(policy)
            );
        }
        // And each exception of a range.
        for (index, policy) in objects.iter().enumerate() {
            for pointer in
                ["/spec/egress/0/to/0/ipBlock/except", "/spec/egress/0/to/1/ipBlock/except"]
            {
                if policy.pointer(pointer).is_some() {
                    let mut changed = objects.to_vec();
                    *changed[index].pointer_mut(pointer).unwrap() = json!([]);
                    assert!(!network(overlay, &changed).is_empty(), "{pointer}");
                }
            }
        }
    }
}
