//! One act on many accounts: a result for each, and an entry in the audit for each that was changed.

use accounts::StaffRole;
use serde_json::{Value, json};
use testkit::system::Side;

use super::client::Admin;

testkit::both_sides!(
    many_accounts_are_blocked_each_with_its_own_result,
    a_list_that_is_no_list_of_ids_is_refused_whole,
    the_console_acts_on_those_that_are_ticked,
);

const BULK: &str = "/admin/v1/users/bulk";

fn results(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (text(&it["id"]), text(&it["result"])))
        .collect()
}

async fn many_accounts_are_blocked_each_with_its_own_result(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    let (first, second) = (admin.console.created().await.0, admin.console.created().await.0);
    let unknown = domain::rng::id_v4().to_string();
    let ids = [first.clone(), unknown.clone(), second.clone()];
    let body = json!({ "act": "block", "user_ids": ids, "reason": "a leaked list" });
    let told =
        |of: [&str; 3]| -> Vec<_> { ids.iter().cloned().zip(of.map(str::to_owned)).collect() };
    let answer = by.post(BULK, body.clone()).await.expect(200).body;
    assert_eq!(results(&answer), told(["done", "not_found", "done"]));
    let answer = by.post(BULK, body).await.expect(200).body;
    assert_eq!(results(&answer), told(["unchanged", "not_found", "unchanged"]));
    for id in [&first, &second] {
        let acts = admin.console.acts(id).await;
        let blocked: Vec<_> = acts.iter().filter(|entry| entry.act == "user_blocked").collect();
        assert_eq!(blocked.len(), 1, "one entry for what was done once");
        assert_eq!(blocked[0].actor, "admin-key:operator");
        assert_eq!(blocked[0].detail, r#"{"reason":"a leaked list"}"#);
    }
    let answer = by.post(BULK, json!({ "act": "unblock", "user_ids": ids })).await.expect(200).body;
    assert_eq!(results(&answer), told(["done", "not_found", "done"]));
}

async fn a_list_that_is_no_list_of_ids_is_refused_whole(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    let (id, _) = admin.console.created().await;
    let many = |count: usize| -> Vec<String> {
        (0..count).map(|_| domain::rng::id_v4().to_string()).collect()
    };
    let of = |ids: Value| json!({ "act": "block", "user_ids": ids, "reason": "a test" });
    for body in [
        of(json!(many(1_001))),
        of(json!([])),
        of(json!([id, id])),
        of(json!([id, "x"])),
        of(json!([id, 5])),
        of(json!(id)),
        of(json!(null)),
        json!({ "act": "block", "user_ids": [id] }),
        json!({ "act": "block", "user_ids": [id], "reason": " " }),
        json!({ "act": "unblock", "user_ids": [id], "reason": "none is kept" }),
        json!({ "act": "delete", "user_ids": [id] }),
        json!({ "user_ids": [id] }),
        json!({ "act": "block", "reason": "x" }),
    ] {
        by.post(BULK, body).await.problem(400, "invalid_request");
    }
    by.post(BULK, json!({ "act": "x".repeat(70_000) })).await.problem(413, "payload_too_large");
    assert_eq!(admin.console.count(&id, "user_blocked").await, 0, "nothing is half done");
    let answer = by.post(BULK, of(json!(many(1_000)))).await.expect(200).body;
    assert_eq!(answer["items"].as_array().unwrap().len(), 1_000);
}

async fn the_console_acts_on_those_that_are_ticked(side: Side) {
    let admin = Admin::start(side).await;
    let (first, second) = (admin.console.created().await.0, admin.console.created().await.0);
    let mut operator = admin.console.member(StaffRole::Operator).await;
    let browser = &mut operator.browser;
    let list = browser.get("/console/users").await.expect(200);
    list.shows("type=\"checkbox\"");
    let (one, two) = (format!("user_{first}"), format!("user_{second}"));
    let path = "/console/users/bulk";
    let fields =
        [("act", "block"), ("reason", "<b>sold</b>"), (one.as_str(), "on"), (two.as_str(), "on")];
    let page = browser.submit(&list, path, &fields).await.expect(200);
    page.shows("Block: 2 of 2 done");
    page.shows(&format!("/console/users/{first}"));
    for (fields, why) in [
        (vec![("act", "block"), (one.as_str(), "on")], "without a reason"),
        (vec![("act", "block"), ("reason", "x")], "nobody is ticked"),
        (vec![("act", "delete"), (one.as_str(), "on")], "no such act"),
    ] {
        let page = browser.submit(&list, path, &fields).await;
        assert_eq!(page.status, 400, "{why}");
    }
    let fields = [("act", "unblock"), (one.as_str(), "on")];
    let no_token = browser.send(reqwest::Method::POST, path, Some(&fields), &[]).await;
    assert_eq!(no_token.status, 403, "a form that no page of ours had");
    browser.submit(&list, path, &fields).await.expect(200).shows("Unblock: 1 of 1 done");
    assert_eq!(admin.console.count(&first, "user_unblocked").await, 1);
    let mut support = admin.console.member(StaffRole::Support).await;
    let list = support.browser.get("/console/users").await.expect(200);
    list.hides("<option value=\"block\"");
    support.browser.submit(&list, path, &fields).await.expect(403);
    let fields = [("act", "end-sessions"), (one.as_str(), "on")];
    let page = support.browser.submit(&list, path, &fields).await.expect(200);
    page.shows("it was so already");
    let mut viewer = admin.console.member(StaffRole::Viewer).await;
    viewer.browser.get("/console/users").await.expect(200).hides("type=\"checkbox\"");
}
