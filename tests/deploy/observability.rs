//! The profile `observability` of docker-compose.yml: what its services are provisioned with. tests/compose/run starts
//! Prometheus and asks it; Grafana is not started by any test.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::tools::{DEPLOY, objects};

/// The one object of a YAML file of the repository.
fn one(file: &str) -> Value {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut found = objects(&text);
    assert_eq!(found.len(), 1, "{file}");
    found.remove(0)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list {pointer} in {value}"))
}

fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(value, pointer).iter().filter_map(Value::as_str).collect()
}

/// Where a file or folder of the repository is mounted: each part of `HERE:THERE:ro`.
fn mounts(service: &Value) -> Vec<(&str, &str)> {
    let volumes = texts(service, "/volumes").into_iter();
    volumes.filter_map(|volume| volume.strip_suffix(":ro")?.split_once(':')).collect()
}

/// The file or folder of the repository that a container sees at this path.
fn seen_at<'a>(service: &'a Value, path: &str) -> &'a str {
    let found = mounts(service).into_iter().find(|(_, there)| *there == path);
    found.unwrap_or_else(|| panic!("nothing is mounted at {path}")).0
}

#[test]
fn the_observers_are_optional_limited_and_on_the_loopback_only() {
    let compose = one("docker-compose.yml");
    for name in ["prometheus", "grafana"] {
        let service = &compose["services"][name];
        assert_eq!(texts(service, "/profiles"), ["observability"], "{name}");
        for limit in ["mem_limit", "cpus"] {
            assert!(!service[limit].is_null(), "{name} has no {limit}");
        }
        for port in texts(service, "/ports") {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
        for (here, _) in mounts(service) {
            let path = Path::new(DEPLOY).parent().unwrap().join(here);
            assert!(path.exists(), "{name} mounts {here}, which is not there");
        }
    }
    let settings = &compose["services"]["grafana"]["environment"];
    assert_eq!(settings["GF_AUTH_ANONYMOUS_ENABLED"], "false");
    assert_eq!(settings["GF_USERS_ALLOW_SIGN_UP"], "false");
    assert_eq!(settings["GF_SECURITY_ADMIN_PASSWORD"], "${GRAFANA_PASSWORD:-}");
    let start = texts(&compose["services"]["grafana"], "/entrypoint").join(" ");
    assert!(start.contains("test \"$$GF_SECURITY_ADMIN_PASSWORD\" ||"), "{start}");
}

#[test]
fn the_dashboards_find_the_provisioned_prometheus() {
    let compose = one("docker-compose.yml");
    let grafana = &compose["services"]["grafana"];
    assert_eq!(seen_at(grafana, "/etc/grafana/provisioning"), "./deploy/compose/grafana");
    let sources = one("deploy/compose/grafana/datasources/latchkey.yml");
    let [source] = list(&sources, "/datasources") else { panic!("not one: {sources}") };
    assert_eq!((&source["type"], &source["isDefault"]), (&"prometheus".into(), &true.into()));
    assert_eq!(source["url"], "http://prometheus:9090");

    let provided = one("deploy/compose/grafana/dashboards/latchkey.yml");
    let [provider] = list(&provided, "/providers") else { panic!("not one: {provided}") };
    let folder = provider.pointer("/options/path").and_then(Value::as_str).unwrap();
    assert_eq!(seen_at(grafana, folder), "./deploy/grafana");
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str();
    let home = home.and_then(|home| home.strip_prefix(folder)).expect("a provided dashboard");
    assert!(Path::new(&format!("{DEPLOY}/grafana{home}")).is_file(), "{home}");

    for file in fs::read_dir(format!("{DEPLOY}/grafana")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        // Each panel takes the variable, whose first choice is the default source of its type.
        let variables = list(&dashboard, "/templating/list").iter();
        let [variable] = variables.filter(|it| it["type"] == "datasource").collect::<Vec<_>>()[..]
        else {
            panic!("{}: not one variable for the source", path.display())
        };
        assert_eq!(variable["query"], source["type"], "{}", path.display());
        let uid = format!("${{{}}}", variable["name"].as_str().unwrap());
        for panel in list(&dashboard, "/panels").iter().filter(|it| it["type"] != "row") {
            let asked = panel.pointer("/datasource/uid").unwrap_or(&Value::Null);
            assert_eq!(*asked, *uid, "{}: {}", path.display(), panel["title"]);
        }
    }
}

#[test]
fn prometheus_scrapes_every_service_and_loads_the_alerts() {
    let compose = one("docker-compose.yml");
    let prometheus = &compose["services"]["prometheus"];
    let config = seen_at(prometheus, "/etc/prometheus/prometheus.yml");
    let config = one(config.trim_start_matches("./"));
    let [rules] = texts(&config, "/rule_files")[..] else { panic!("not one file of rules") };
    assert_eq!(seen_at(prometheus, rules), "./deploy/prometheus/rules.yml");
    // The alerts are for jobs whose names begin so.
    assert_eq!(config.pointer("/scrape_configs/0/job_name"), Some(&"latchkey".into()));
    let found = texts(&config, "/scrape_configs/0/dns_sd_configs/0/names");
    assert_eq!(found, ["gateway", "otp-worker", "sms-worker"]);
    let port = config.pointer("/scrape_configs/0/dns_sd_configs/0/port").and_then(Value::as_u64);
    for name in found {
        let listens = compose["services"][name].pointer("/environment/LATCHKEY_OPS_LISTEN");
        let listens = listens.and_then(Value::as_str).unwrap_or_default();
        assert_eq!(listens.rsplit(':').next().and_then(|it| it.parse().ok()), port, "{name}");
    }
}

/// The gateway bounds its connections by its files, and Redis its clients.
#[test]
fn no_container_of_the_services_takes_the_limit_of_files_of_its_machine() {
    let compose = one("docker-compose.yml");
    let files = |name: &str| {
        let service = &compose["services"][name];
        assert!(!service["mem_limit"].is_null(), "{name} has no limit of memory");
        let limits = ["soft", "hard"].map(|it| service["ulimits"]["nofile"][it].as_u64().unwrap());
        assert_eq!(limits[0], limits[1], "{name}");
        limits[0]
    };
    assert_eq!(files("gateway"), 16_384, "docs/compose.md and the units of systemd say so");
    assert!(files("redis") > 10_032, "Redis admits fewer than 10,000 clients");
    for name in ["otp-worker", "sms-worker", "rabbitmq", "keys", "migrate", "operator"] {
        assert!(files(name) >= 1024, "{name}");
    }
}
