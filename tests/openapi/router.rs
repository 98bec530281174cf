//! The document and the router agree, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use reqwest::Method;
use serde_json::json;
use testkit::both_sides;
use testkit::http::{Answer, Api, served};
use testkit::system::{Side, System};

use super::described::Described;

both_sides!(every_described_call_is_answered_and_no_other_method);

/// Pages and their files: not calls of the API.
const PAGES: [&str; 6] = ["/", "/docs", "/inbox", "/try", "/console", "/favicon.ico"];
const NO_ID: &str = "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11";

/// With ids in the places of a template.
fn filled(path: &str) -> String {
    let mut filled = String::new();
    for part in path.split('/').skip(1) {
        filled += "/";
        filled += if part.starts_with('{') { NO_ID } else { part };
    }
    filled
}

async fn send(api: &Api, method: &str, path: &str) -> Answer {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).expect("a method");
    let with_body = method != Method::GET && method != Method::HEAD && !method.is_safe();
    let body = with_body.then(|| json!({}));
    let answer = api.try_call(method, path, body.as_ref(), &[]).await;
    answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

async fn every_described_call_is_answered_and_no_other_method(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let document = api.get("/openapi.json").await.expect(200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.header("cache-control"), Some("public, max-age=300"));
    let described = Described::new();
    assert!(document.body == described.0, "the served document is not the one of the code");

    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for call in described.calls() {
        methods.entry(call.path).or_default().insert(call.method.to_ascii_uppercase());
        let path = filled(call.path);
        let answer = served(async || send(&api, call.method, &path).await).await;
        let at = format!("{} {path}: {} {}", call.method, answer.status, answer.body);
        assert!(call.operation["responses"].get(answer.status.to_string()).is_some(), "{at}");
        assert!(answer.status < 500 && answer.status != 405, "{at}");
        // Only an id can be unknown.
        assert!(answer.status != 404 || call.path.contains('{'), "{at}");
    }
    for (path, mut methods) in methods {
        let answer = send(&api, "QUERY", &filled(path)).await;
        answer.clone().problem(405, "method_not_allowed");
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let allow = answer.header("allow").expect("Allow");
        let allowed: BTreeSet<String> = allow.split(',').map(|one| one.trim().to_owned()).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[test]
fn every_route_of_the_router_is_described_unless_it_is_a_page() {
    let router = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway/src/router.rs");
    let router = fs::read_to_string(router).expect("read the router");
    let described = Described::new();
    let paths: BTreeSet<&str> = described.calls().iter().map(|call| call.path).collect();
    let mut routed = BTreeSet::new();
    for after in router.split(".route(").skip(1) {
        let path = after.split('"').nth(1).expect("a route begins with its path");
        assert!(path.starts_with('/'), "{path} is not a path: read the router another way");
        routed.insert(path);
    }
    assert!(routed.len() >= paths.len(), "{routed:?}");
    for path in &routed {
        assert!(paths.contains(path) || is_page(path), "{path} is not described");
    }
    for path in paths {
        assert!(routed.contains(path), "{path} is described and not routed");
    }
}

fn is_page(path: &str) -> bool {
    let below = |page: &&str| *page != "/" && path.starts_with(&format!("{page}/"));
    path != "/inbox/messages" && (PAGES.contains(&path) || PAGES.iter().any(below))
}
