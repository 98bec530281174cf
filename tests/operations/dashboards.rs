//! The dashboards: their expressions are asked of a real Prometheus that scrapes running services.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use testkit::PATIENCE;
use testkit::folder::Folder;
use testkit::guard::Ending;
use testkit::http::{new_phone, status_of, wrong};
use testkit::launch::start_on_a_free_port;
use testkit::server::{Launch, Server, find_program};
use testkit::system::System;

use super::expressions::unknown;
use super::live::with_a_failing_provider;
use super::root;

const DASHBOARDS: usize = 7;

/// The name and the content of each dashboard.
fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("deploy/grafana")).unwrap();
    let mut dashboards: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let content = serde_json::from_str(&fs::read_to_string(&path).unwrap());
            (name, content.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    dashboards.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(dashboards.len(), DASHBOARDS);
    dashboards
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

/// The expressions of a dashboard, each with the title of its panel.
fn expressions(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = list(dashboard, "panels").iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        list(panel, "targets").iter().map(move |target| (title, target))
    });
    targets.map(|(title, target)| (title, target["expr"].as_str().unwrap_or_default())).collect()
}

#[test]
fn a_dashboard_is_whole_and_names_only_metrics_that_exist() {
    for (name, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], name.as_str());
        assert!(dashboard["title"].as_str().is_some_and(|title| title.starts_with("Latchkey: ")));
        let panels = list(&dashboard, "panels");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64()).collect();
        let titles: BTreeSet<_> = panels.iter().map(|panel| panel["title"].as_str()).collect();
        assert_eq!((ids.len(), titles.len()), (panels.len(), panels.len()), "{name}");
        let expressions = expressions(&dashboard);
        assert!(expressions.len() >= 5, "{name}: {} expressions", expressions.len());
        for (title, expression) in expressions {
            assert!(!expression.is_empty(), "{name}: {title}");
            let unknown = unknown(expression);
            assert!(unknown.is_empty(), "{name}: {title}: {unknown:?}");
        }
        let variables: Vec<_> = list(&dashboard["templating"], "list")
            .iter()
            .filter_map(|variable| variable["definition"].as_str())
            .collect();
        for definition in variables {
            let (metric, _) =
                definition.trim_start_matches("label_values(").split_once(',').unwrap();
            assert_eq!(unknown(metric), Vec::<String>::new(), "{name}: {definition}");
        }
    }
}

/// A Prometheus that scrapes these services every second.
async fn prometheus(system: &System, folder: &Folder) -> (Server, String) {
    let targets =
        system.processes.iter().filter_map(|process| process.ops_url.strip_prefix("http://"));
    let targets: Vec<_> = targets.map(|target| format!("'{target}'")).collect();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: latchkey\n  static_configs:\n  - targets: [{}]\n",
        targets.join(", ")
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let program = find_program("prometheus", &[], "prometheus");
    let launch = |port| Launch {
        program: program.clone(),
        args: vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
        env: BTreeMap::new(),
        folder: folder.path().to_owned(),
        log: folder.join("log"),
        owner: None,
        ending: Ending::Kill,
    };
    let answers =
        async |port| status_of(&format!("http://127.0.0.1:{port}/-/ready")).await == Some(200);
    let (server, port) = start_on_a_free_port(launch, answers).await;
    (server, format!("http://127.0.0.1:{port}/api/v1/query"))
}

/// Asks an expression, with the variables as Grafana would fill them in for a short range. Returns whether the answer has
/// a number.
///
/// # Panics
/// If Prometheus cannot read the expression.
async fn has_data(client: &reqwest::Client, url: &str, expression: &str) -> bool {
    let filled = ["$country", "$provider"]
        .iter()
        .fold(expression.to_owned(), |filled, variable| filled.replace(variable, ".*"));
    let filled = filled.replace("$__rate_interval", "1m").replace("$__range", "5m");
    assert!(!filled.contains('$'), "{filled}");
    let answer = client.post(url).form(&[("query", &filled)]).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{filled}: {answer}");
    let is_number = |value: &Value| value.as_str().is_some_and(|value| value != "NaN");
    list(&answer["data"], "result").iter().any(|series| is_number(&series["value"][1]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_on_our_metrics_has_data_on_the_engines() {
    let system = with_a_failing_provider().await;
    let folder = Folder::new("prometheus");
    let (_prometheus, url) = prometheus(&system, &folder).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let dashboards = dashboards();
    let all = dashboards.iter().flat_map(|(name, dashboard)| {
        expressions(dashboard).into_iter().map(move |(title, expression)| (name, title, expression))
    });
    let (mut missing, theirs): (Vec<_>, Vec<_>) =
        all.partition(|(_, _, expression)| expression.contains("latchkey_"));
    assert!(missing.len() > 60, "{} expressions on our metrics", missing.len());
    for (_, _, expression) in theirs {
        // No exporter runs here: Prometheus reads it, and that is all.
        has_data(&client, &url, expression).await;
    }
    let api = system.api();
    let traffic = async || {
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        api.login(&phone, &wrong(&code, 1)).await.expect(401);
        let refresh = api.login(&phone, &code).await.expect(200).body["refresh"].clone();
        api.refresh(refresh.as_str().unwrap()).await.expect(200);
    };
    // A rate needs two scrapes with traffic between them, so both go on until each expression had data once.
    let had_data = testkit::in_time(PATIENCE * 2, async || {
        traffic().await;
        let mut still = Vec::new();
        for (name, title, expression) in missing.drain(..) {
            if !has_data(&client, &url, expression).await {
                still.push((name, title, expression));
            }
        }
        missing = still;
        missing.is_empty().then_some(())
    });
    let is_whole = had_data.await.is_some();
    assert!(is_whole, "no data: {missing:#?}");
    system.stop().await;
}
