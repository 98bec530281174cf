//! Each route with each role: a key of a lesser role is refused, and does nothing.

use accounts::StaffRole::{self, Operator, Support, Viewer};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::http::new_phone;
use testkit::system::Side;

use super::client::Admin;
use super::views::{blocked_net, dead};

testkit::both_sides!(
    each_route_takes_the_role_that_its_table_says,
    nobody_acts_on_staff_with_a_higher_role_than_the_keys,
);

/// A dead letter that is there.
const LETTER: &str = "/admin/v1/queues/otp-worker/letters/e1";
/// A net that the guard reported.
const NET: &str = "2637720";

/// Every route, the least role for it, and a body.
fn routes(
    phone: &str,
    id: &str,
    doomed: &str,
) -> Vec<(Method, &'static str, StaffRole, Option<Value>)> {
    let (get, post) = (Method::GET, Method::POST);
    let why = || Some(json!({ "reason": "a test" }));
    let many = |act: &str| json!({ "act": act, "user_ids": [id] });
    let mut block = many("block");
    block["reason"] = "a test".into();
    vec![
        (get.clone(), "/admin/v1/users", Viewer, None),
        (get.clone(), "/admin/v1/users/{id}", Viewer, None),
        (get.clone(), "/admin/v1/requests", Viewer, None),
        (get.clone(), "/admin/v1/requests/{request}", Viewer, None),
        (get.clone(), "/admin/v1/blocks", Viewer, None),
        (get.clone(), "/admin/v1/audit", Viewer, None),
        (get.clone(), "/admin/v1/find/{id}", Viewer, None),
        (get.clone(), "/admin/v1/pulse", Viewer, None),
        (get.clone(), "/admin/v1/delivery", Viewer, None),
        (get.clone(), "/admin/v1/providers", Viewer, None),
        (get.clone(), "/admin/v1/queues", Viewer, None),
        (get.clone(), LETTER, Viewer, None),
        (get.clone(), "/admin/v1/engines", Viewer, None),
        (get.clone(), "/admin/v1/guard", Viewer, None),
        (get.clone(), "/admin/v1/limits", Viewer, None),
        (get.clone(), "/admin/v1/staff", Viewer, None),
        (get.clone(), "/admin/v1/settings", Viewer, None),
        (get, "/admin/v1/webhook-calls", Viewer, None),
        (
            post.clone(),
            "/admin/v1/guard/replay",
            Viewer,
            Some(json!({ "rule": "doubt=40", "days": 1 })),
        ),
        (
            post.clone(),
            "/admin/v1/limits/explain",
            Viewer,
            Some(json!({ "phone_number": phone, "address": "203.0.113.7" })),
        ),
        (
            post.clone(),
            "/admin/v1/providers/http/shut",
            Operator,
            Some(json!({ "minutes": 5, "reason": "a test" })),
        ),
        (post.clone(), "/admin/v1/providers/http/open", Operator, None),
        (
            post.clone(),
            "/admin/v1/queues/sms-worker/replay",
            Operator,
            Some(json!({ "all": true })),
        ),
        (
            post.clone(),
            "/admin/v1/queues/sms-worker/drop",
            Operator,
            Some(json!({ "all": true, "reason": "a test" })),
        ),
        (
            post.clone(),
            "/admin/v1/guard/open",
            Operator,
            Some(json!({ "kind": "prefix", "name": NET, "reason": "a test" })),
        ),
        (post.clone(), "/admin/v1/users/find", Viewer, Some(json!({ "phone_number": phone }))),
        (post.clone(), "/admin/v1/users", Support, Some(json!({ "phone_number": new_phone() }))),
        (post.clone(), "/admin/v1/users/{id}/unlock", Support, None),
        (post.clone(), "/admin/v1/users/{id}/clear-password", Support, None),
        (post.clone(), "/admin/v1/users/{id}/end-sessions", Support, None),
        (post.clone(), "/admin/v1/users/{id}/send-code", Support, None),
        (post.clone(), "/admin/v1/users/{id}/reveal", Support, why()),
        (post.clone(), "/admin/v1/users/{id}/notes", Support, Some(json!({ "note": "a test" }))),
        (post.clone(), "/admin/v1/users/{id}/export", Operator, why()),
        (
            post.clone(),
            "/admin/v1/users/{doomed}/delete",
            Operator,
            Some(json!({ "reason": "a test", "confirm": doomed })),
        ),
        (post.clone(), "/admin/v1/users/bulk", Support, Some(many("end-sessions"))),
        (post.clone(), "/admin/v1/users/bulk", Operator, Some(block)),
        (post.clone(), "/admin/v1/users/bulk", Operator, Some(many("unblock"))),
        (post.clone(), "/admin/v1/users/{id}/block", Operator, why()),
        (post.clone(), "/admin/v1/users/{id}/unblock", Operator, None),
        (
            post.clone(),
            "/admin/v1/blocks",
            Operator,
            Some(json!({ "kind": "country", "value": "DE", "reason": "a test" })),
        ),
        (post, "/admin/v1/blocks/end", Operator, Some(json!({ "kind": "country", "value": "DE" }))),
    ]
}

async fn each_route_takes_the_role_that_its_table_says(side: Side) {
    let admin = Admin::start(side).await;
    let (id, phone, _) = admin.console.account(None).await;
    let request = admin.console.latchkey.api().otp(&phone).await.expect(202).text("request_id");
    let id = id.to_string();
    dead(&admin, "e1").await;
    blocked_net(&admin, NET).await;
    for role in StaffRole::ALL {
        let by = admin.key(role).await;
        let (doomed, _) = admin.console.created().await;
        for (method, template, least, body) in routes(&phone, &id, &doomed) {
            let path = template.replace("{id}", &id).replace("{request}", &request);
            let path = path.replace("{doomed}", &doomed);
            let before = admin.acts_of(&by.name).await.len();
            // On a busy machine the broker may be late, and somebody else may read the queue.
            let answer = testkit::eventually(&path, testkit::PATIENCE, async || {
                let answer = by.send(method.clone(), &path, body.clone()).await;
                let may_wait = template == LETTER && least <= role;
                Some(answer).filter(|it| !may_wait || it.status == 200)
            })
            .await;
            if least <= role {
                assert!(matches!(answer.status, 200..=202), "{role} at {path}: {}", answer.body);
            } else {
                answer.problem(403, "role_not_allowed");
                assert_eq!(admin.acts_of(&by.name).await.len(), before, "{role} at {path}");
            }
        }
        let csv = [("authorization", by.bearer.as_str()), ("accept", "text/csv")];
        let export = admin.call(Method::GET, "/admin/v1/audit", None, &csv).await;
        assert_eq!(export.status, if role >= Operator { 200 } else { 403 }, "{role}");
    }
    // A look-up of limits is in the audit; a viewer changes nothing.
    let acts: Vec<String> = admin.acts_of("viewer").await.into_iter().map(|it| it.act).collect();
    assert_eq!(acts, ["limits_explained"]);
    // Each act is in the audit under the name of its key.
    let acts: Vec<String> = admin.acts_of("operator").await.into_iter().map(|it| it.act).collect();
    for act in [
        "user_created",
        "user_blocked",
        "user_unblocked",
        "code_requested_by_staff",
        "phone_revealed",
        "note_added",
        "user_exported",
        "user_deleted",
        "block_added",
        "block_removed",
        "audit_exported",
        "guard_opened",
        "limits_explained",
    ] {
        assert!(acts.iter().any(|it| it == act), "no {act} in {acts:?}");
    }
}

async fn nobody_acts_on_staff_with_a_higher_role_than_the_keys(side: Side) {
    let admin = Admin::start(side).await;
    let (owner, _, login) = admin.console.account(Some(StaffRole::Owner)).await;
    let (peer, _, _) = admin.console.account(Some(Operator)).await;
    let by = admin.key(Operator).await;
    for (act, body) in [
        ("block", Some(json!({ "reason": "a coup" }))),
        ("unblock", None),
        ("unlock", None),
        ("clear-password", None),
        ("end-sessions", None),
        ("notes", Some(json!({ "note": "a coup" }))),
        ("export", Some(json!({ "reason": "a coup" }))),
        ("delete", Some(json!({ "reason": "a coup", "confirm": owner }))),
    ] {
        let path = format!("/admin/v1/users/{owner}/{act}");
        by.send(Method::POST, &path, body).await.problem(403, "higher_role");
    }
    let many = json!({ "act": "block", "user_ids": [owner, peer], "reason": "a coup" });
    let results = by.post("/admin/v1/users/bulk", many).await.expect(200).body;
    let results: Vec<_> =
        results["items"].as_array().unwrap().iter().map(|it| &it["result"]).collect();
    assert_eq!(results, ["higher_role", "done"]);
    let refresh = login["refresh"].as_str().unwrap();
    admin.console.latchkey.api().refresh(refresh).await.expect(200);
}
