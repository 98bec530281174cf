//! Notes about an account, its export and its deletion by a key.

use accounts::StaffRole;
use serde_json::{Value, json};
use testkit::system::Side;

use super::client::Admin;

testkit::both_sides!(
    a_note_is_written_by_a_key_and_shown_with_the_account,
    an_account_is_exported_with_a_reason,
    an_account_is_deleted_when_its_id_is_sent_twice,
);

async fn a_note_is_written_by_a_key_and_shown_with_the_account(side: Side) {
    const HOSTILE: &str = "</td><script>alert(1)</script>\"' x=\"\\";
    let admin = Admin::start(side).await;
    let (id, _) = admin.console.created().await;
    let by = admin.key(StaffRole::Support).await;
    let path = format!("/admin/v1/users/{id}/notes");
    let mut written = Vec::new();
    for note in ["called about a lost phone", HOSTILE] {
        let answer = by.post(&path, json!({ "note": format!(" {note} ") })).await.expect(201).body;
        assert_eq!(
            (&answer["note"], &answer["actor"], &answer["actor_kind"], &answer["actor_name"]),
            (&json!(note), &json!("admin-key:support"), &json!("key"), &Value::Null)
        );
        written.insert(0, answer);
    }
    let view = by.get(&format!("/admin/v1/users/{id}")).await.expect(200).body;
    assert_eq!(view["notes"], json!(written), "the newest first");
    let audit = by.get("/admin/v1/audit?act=note_added").await.expect(200).body;
    assert_eq!(audit["items"][0]["detail"]["reason"], HOSTILE);
    assert_eq!(audit["items"].as_array().unwrap().len(), 2);
    for (field, body) in [
        ("note", json!({})),
        ("note", json!({ "note": " " })),
        ("note", json!({ "note": "x".repeat(501) })),
        ("note", json!({ "note": 5 })),
        ("note", json!({ "note": "a\u{0}b" })),
        ("reason", json!({ "note": "x", "reason": "y" })),
    ] {
        let refused = by.post(&path, body).await.problem(400, "invalid_request");
        assert_eq!(refused["errors"][0]["field"], field);
    }
    let nobody = "/admin/v1/users/019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11/notes";
    by.post(nobody, json!({ "note": "x" })).await.problem(404, "not_found");
    assert_eq!(admin.console.count(&id, "note_added").await, 2);
    let mut member = admin.console.member(StaffRole::Viewer).await;
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    page.hides("<script>");
    page.shows("key support of the admin API");
    page.shows("called about a lost phone");
}

async fn an_account_is_exported_with_a_reason(side: Side) {
    let admin = Admin::start(side).await;
    let (id, phone, _) = admin.console.account(None).await;
    let by = admin.key(StaffRole::Operator).await;
    let path = format!("/admin/v1/users/{id}/export");
    for body in [json!({}), json!({ "reason": " " }), json!({ "reason": "x".repeat(201) })] {
        let refused = by.post(&path, body).await.problem(400, "invalid_request");
        assert_eq!(refused["errors"][0]["field"], "reason");
    }
    let id = id.to_string();
    assert_eq!(admin.console.count(&id, "user_exported").await, 0);
    let export = by.post(&path, json!({ "reason": "ticket 4711" })).await.expect(200);
    assert_eq!(export.header("cache-control"), Some("no-store"));
    let export = export.body;
    assert_eq!(export["user"]["phone_number"], phone.as_str());
    assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(export["events"][0]["act"], "user_exported");
    assert_eq!(export["events"][0]["detail"], json!({ "reason": "ticket 4711" }));
    let noted = admin.console.acts(&id).await.remove(0);
    assert_eq!((noted.act.as_str(), noted.actor.as_str()), ("user_exported", "admin-key:operator"));
}

async fn an_account_is_deleted_when_its_id_is_sent_twice(side: Side) {
    let admin = Admin::start(side).await;
    let (api, by) = (admin.console.latchkey.api(), admin.key(StaffRole::Operator).await);
    let (id, _, login) = admin.console.account(None).await;
    let (other, _) = admin.console.created().await;
    let id = id.to_string();
    let path = format!("/admin/v1/users/{id}/delete");
    for (field, body) in [
        ("confirm", json!({ "reason": "x" })),
        ("confirm", json!({ "reason": "x", "confirm": other })),
        ("confirm", json!({ "reason": "x", "confirm": "yes" })),
        ("confirm", json!({ "reason": "x", "confirm": true })),
        ("reason", json!({ "confirm": id })),
        ("reason", json!({ "reason": " ", "confirm": id })),
        ("force", json!({ "reason": "x", "confirm": id, "force": true })),
    ] {
        let refused = by.post(&path, body).await.problem(400, "invalid_request");
        assert_eq!(refused["errors"][0]["field"], field);
    }
    let access = login["access"].as_str().unwrap();
    api.me(access).await.expect(200);
    let body = json!({ "reason": "ticket 4711", "confirm": id });
    let done = by.post(&path, body.clone()).await.expect(200).body;
    assert_eq!(done, json!({ "user_id": id, "deleted": true }));
    api.me(access).await.problem(401, "session_revoked");
    api.refresh(login["refresh"].as_str().unwrap()).await.problem(401, "session_revoked");
    by.post(&path, body).await.problem(404, "not_found");
    by.get(&format!("/admin/v1/users/{id}")).await.problem(404, "not_found");
    let noted = admin.acts_of("operator").await.remove(0);
    assert_eq!(
        (noted.act.as_str(), noted.detail.as_str()),
        ("user_deleted", r#"{"reason":"ticket 4711"}"#)
    );
    assert_ne!(noted.subject, id);
    by.get(&format!("/admin/v1/users/{other}")).await.expect(200);
}
