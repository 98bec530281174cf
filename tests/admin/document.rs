//! docs/openapi-admin.json, the router, the answers and the code agree.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use accounts::StaffRole;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::folder::{Folder, free_port};
use testkit::http::{Answer, new_phone};
use testkit::process::{self, Binary};
use testkit::system::{Side, System};

use super::client::Admin;
use super::views::{blocked_net, dead};
use crate::openapi::described::Described;
use crate::openapi::python::{Claim, faults};
use crate::openapi::schemathesis;

testkit::both_sides!(
    the_admin_answers_are_those_described,
    schemathesis_finds_nothing_in_the_admin_api,
);

#[test]
fn the_kept_admin_document_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi-admin.json");
    let kept: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).expect("JSON");
    assert!(
        kept == gateway::admin_openapi_document(),
        "docs/openapi-admin.json is out of date: `cargo run -- openapi --admin > docs/openapi-admin.json`"
    );
    let folder = Folder::new("openapi-admin");
    let printed =
        process::run(Binary::Latchkey, &["openapi", "--admin"], folder.path(), &[].into());
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), kept);
}

#[test]
fn every_route_of_the_admin_port_is_described_and_the_reverse() {
    let router = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway/src/admin/mod.rs");
    let router = fs::read_to_string(router).expect("read the router");
    let described = Described::admin();
    let mut routed = BTreeSet::new();
    for after in router.split(".route(").skip(1) {
        let (path, rest) = after.trim_start_matches('"').split_once('"').expect("a path");
        let until = rest.split(".route(").next().unwrap().split(".layer(").next().unwrap();
        for method in ["get", "post"] {
            if until.contains(&format!("{method}(")) {
                routed.insert((path, method));
            }
        }
    }
    let calls: BTreeSet<_> =
        described.calls().iter().map(|call| (call.path, call.method)).collect();
    assert_eq!(routed, calls);
}

#[test]
fn every_call_but_the_document_takes_a_key() {
    let described = Described::admin();
    for call in described.calls() {
        let taken = call.operation["security"].clone();
        let wanted =
            if call.path == "/openapi.json" { Value::Null } else { json!([{ "AdminKey": [] }]) };
        assert_eq!(taken, wanted, "{}", call.path);
    }
}

/// A net that the guard reported.
const NET: &str = "2637720";

/// Makes calls with a key and checks each answer.
struct Checked<'a> {
    admin: &'a Admin,
    described: Described,
    bearer: String,
    claims: Mutex<Vec<Claim>>,
}

impl Checked<'_> {
    async fn call(&self, id: &str, ids: &[&str], query: &str, body: Option<Value>) -> Answer {
        let call = self.described.call(id);
        let mut ids = ids.iter();
        let parts = call
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { ids.next().expect("an id") } else { part });
        let path = parts.collect::<Vec<_>>().join("/") + query;
        let method = Method::from_bytes(call.method.to_ascii_uppercase().as_bytes()).unwrap();
        let headers = [("authorization", self.bearer.as_str())];
        let answer = self.admin.call(method, &path, body, &headers).await;
        self.claims.lock().unwrap().extend(self.described.check(id, &answer));
        answer
    }
}

async fn the_admin_answers_are_those_described(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Owner).await;
    let (id, phone, _) = admin.console.account(None).await;
    let id = id.to_string();
    let request = admin.console.latchkey.api().otp(&phone).await.expect(202).text("request_id");
    let claims = Mutex::default();
    let checked =
        Checked { admin: &admin, described: Described::admin(), bearer: by.bearer.clone(), claims };
    let why = || Some(json!({ "reason": "a test" }));
    let block = || Some(json!({ "kind": "country", "value": "DE", "reason": "a test" }));
    let all = || Some(json!({ "all": true, "reason": "a test" }));
    let net = |name: &str| json!({ "kind": "prefix", "name": name, "reason": "a test" });
    blocked_net(&admin, NET).await;
    admin.console.member(StaffRole::Viewer).await;
    dead(&admin, "e1").await;
    // Somebody else may read the queue at the moment, and the broker may be late.
    testkit::eventually("the letter", testkit::PATIENCE, async || {
        let letter = checked.call("getLetter", &["otp-worker", "e1"], "", None).await;
        (letter.status == 200).then_some(())
    })
    .await;
    for (call, ids, query, body, status) in [
        ("listUsers", vec![], "?limit=1", None, 200),
        ("listUsers", vec![], "?limit=0", None, 400),
        ("createUser", vec![], "", Some(json!({ "phone_number": new_phone() })), 201),
        ("createUser", vec![], "", Some(json!({ "phone_number": "x" })), 400),
        ("findUser", vec![], "", Some(json!({ "phone_number": phone })), 200),
        ("findUser", vec![], "", Some(json!({ "phone_number": new_phone() })), 404),
        ("sendCode", vec![&*id], "", None, 202),
        ("revealPhone", vec![&id], "", why(), 200),
        ("addNote", vec![&id], "", Some(json!({ "note": "a test" })), 201),
        ("addNote", vec![&id], "", Some(json!({ "note": " " })), 400),
        ("exportUser", vec![&id], "", why(), 200),
        ("exportUser", vec![&id], "", Some(json!({})), 400),
        ("unlockUser", vec![&id], "", None, 200),
        ("clearPassword", vec![&id], "", None, 200),
        ("blockUser", vec![&id], "", why(), 200),
        ("getUser", vec![&id], "", None, 200),
        ("unblockUser", vec![&id], "", None, 200),
        ("endSessions", vec![&id], "", None, 200),
        ("actOnUsers", vec![], "", Some(json!({ "act": "unblock", "user_ids": [id] })), 200),
        ("listRequests", vec![], "", None, 200),
        ("getRequest", vec![&request], "", None, 200),
        ("getRequest", vec![&id], "", None, 404),
        ("setBlock", vec![], "", block(), 201),
        ("listBlocks", vec![], "", None, 200),
        ("endBlock", vec![], "", Some(json!({ "kind": "country", "value": "DE" })), 200),
        ("getPulse", vec![], "", None, 200),
        ("getDelivery", vec![], "?hours=24&country=IR", None, 200),
        ("getDelivery", vec![], "?hours=0", None, 400),
        ("shutProvider", vec!["http"], "", Some(json!({ "minutes": 5, "reason": "a test" })), 200),
        ("shutProvider", vec!["nobody"], "", Some(json!({ "minutes": 5, "reason": "x" })), 404),
        ("listProviders", vec![], "", None, 200),
        ("openProvider", vec!["http"], "", None, 200),
        ("listQueues", vec![], "?queue=otp-worker", None, 200),
        ("replayLetters", vec!["otp-worker"], "", Some(json!({ "id": "nobody" })), 200),
        ("replayLetters", vec!["otp-worker"], "", Some(json!({})), 400),
        ("dropLetters", vec!["otp-worker"], "", all(), 200),
        ("getEngines", vec![], "", None, 200),
        ("replayGuard", vec![], "", Some(json!({ "rule": "", "days": 1 })), 200),
        ("replayGuard", vec![], "", Some(json!({ "rule": "x", "days": 1 })), 400),
        ("openNet", vec![], "", Some(net(NET)), 200),
        ("openNet", vec![], "", Some(net("1")), 404),
        ("getGuard", vec![], "", None, 200),
        ("listLimits", vec![], "", None, 200),
        ("explainLimits", vec![], "", Some(json!({ "phone_number": phone })), 200),
        ("explainLimits", vec![], "", Some(json!({ "phone_number": "x" })), 400),
        ("listStaff", vec![], "", None, 200),
        ("getSettings", vec![], "", None, 200),
        ("listWebhookCalls", vec![], "", None, 200),
        ("listWebhookCalls", vec![], "?limit=1", None, 400),
        ("listAudit", vec![], "", None, 200),
        ("findId", vec![&id], "", None, 200),
        ("deleteUser", vec![&id], "", why(), 400),
        ("deleteUser", vec![&id], "", Some(json!({ "reason": "a test", "confirm": id })), 200),
        ("deleteUser", vec![&id], "", why(), 404),
    ] {
        let answer = checked.call(call, &ids, query, body).await;
        assert_eq!(answer.status, status, "{call}: {}", answer.body);
    }
    let Checked { described, claims, .. } = checked;
    let claims = claims.into_inner().unwrap();
    assert_eq!(faults(&described.0["components"], &claims), [""; 0]);
}

async fn schemathesis_finds_nothing_in_the_admin_api(side: Side) {
    let address = format!("127.0.0.1:{}", free_port());
    let system = System::start(side, &[("LATCHKEY_ADMIN_LISTEN", &address)]).await;
    let url = format!("http://{address}");
    assert!(schemathesis::run(&url, &[]) > 200, "it made fewer calls than it should");
    let key = system.run(&["admin-keys", "create", "tester", "--role", "owner"]);
    let bearer = format!("Authorization: Bearer {}", key.trim());
    assert!(schemathesis::run(&url, &["--header", &bearer]) > 200);
    let output = system.output();
    assert!(!output.contains("panicked") && !output.contains("request failed"), "{output}");
}
