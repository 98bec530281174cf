//! Lists: by pages, with filters that are never guessed.

use accounts::StaffRole;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::system::Side;

use super::client::{Admin, By};

testkit::both_sides!(
    each_list_is_read_to_its_end_by_pages,
    filters_find_what_they_say_and_wrong_ones_are_refused,
    the_audit_is_exported_as_csv_without_formulas,
);

/// Reads a list to its end by pages of this size.
async fn all(by: &By<'_>, path: &str, size: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut before = String::new();
    loop {
        let page = by.get(&format!("{path}?limit={size}{before}")).await.expect(200).body;
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= size);
        items.extend(found.clone());
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(found.len(), size, "only a full page has a next one");
                before = format!("&before={next}");
            }
            None => return items,
        }
    }
}

async fn each_list_is_read_to_its_end_by_pages(side: Side) {
    let admin = Admin::start(side).await;
    for _ in 0..5 {
        admin.console.account(None).await;
    }
    let by = admin.key(StaffRole::Viewer).await;
    for (path, least) in [("/admin/v1/users", 5), ("/admin/v1/requests", 5), ("/admin/v1/audit", 5)]
    {
        // Texts are taken up when they are: until all five are there, the list grows.
        let whole = testkit::eventually(path, testkit::PATIENCE, async || {
            Some(all(&by, path, 200).await).filter(|all| all.len() >= least)
        })
        .await;
        let ids: std::collections::BTreeSet<_> =
            whole.iter().map(|it| it["id"].to_string()).collect();
        assert_eq!(ids.len(), whole.len(), "{path}: each once");
        let id = |it: &Value| it["id"].clone();
        let by_two: Vec<Value> = all(&by, path, 2).await.iter().map(id).collect();
        assert_eq!(by_two, whole.iter().map(id).collect::<Vec<_>>(), "{path}");
    }
    for limit in ["0", "201", "1000000000", "99999999999999999999", "-1", "x"] {
        for path in ["users", "requests", "blocks", "audit"] {
            let refused = by.get(&format!("/admin/v1/{path}?limit={limit}")).await;
            let problem = refused.problem(400, "invalid_request");
            assert_eq!(problem["errors"][0]["field"], "limit");
        }
    }
}

async fn filters_find_what_they_say_and_wrong_ones_are_refused(side: Side) {
    let admin = Admin::start(side).await;
    let (id, phone, _) = admin.console.account(None).await;
    let by = admin.key(StaffRole::Viewer).await;
    let request = testkit::eventually("the text in the ledger", testkit::PATIENCE, async || {
        let page = by.get(&format!("/admin/v1/requests?user_id={id}")).await.expect(200).body;
        page["items"].get(0).cloned()
    })
    .await;
    assert_eq!(request["country"], "IR");
    let later = admin.now().plus_secs(3_600);
    let digits = &phone[phone.len() - 4..];
    for (path, found) in [
        (format!("/admin/v1/users?digits={digits}"), true),
        ("/admin/v1/users?name=ada%20love".to_owned(), true),
        ("/admin/v1/users?name=nobody".to_owned(), false),
        ("/admin/v1/requests?country=IR&channel=sms&provider=inbox".to_owned(), true),
        ("/admin/v1/requests?country=DE".to_owned(), false),
        (format!("/admin/v1/requests?since={later}"), false),
        ("/admin/v1/requests?channel=voice".to_owned(), false),
        (format!("/admin/v1/audit?subject={id}&act=signed_up"), true),
        (format!("/admin/v1/audit?subject={id}&act=user_deleted"), false),
        (format!("/admin/v1/audit?since={later}"), false),
    ] {
        let items = by.get(&path).await.expect(200).body["items"].clone();
        assert_eq!(!items.as_array().unwrap().is_empty(), found, "{path}");
    }
    for path in [
        "/admin/v1/users?nmae=Ada",
        "/admin/v1/users?digits=12",
        "/admin/v1/users?digits=1234&name=Ada",
        "/admin/v1/users?before=x",
        "/admin/v1/users?limit=1&limit=2",
        "/admin/v1/users?name=a%00b",
        "/admin/v1/requests?status=nonsense",
        "/admin/v1/requests?since=yesterday",
        "/admin/v1/requests?user_id=x",
        "/admin/v1/audit?until=5",
        "/admin/v1/blocks?before=1",
    ] {
        by.get(path).await.problem(400, "invalid_request");
    }
}

async fn the_audit_is_exported_as_csv_without_formulas(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    let now = admin.now();
    for actor in ["=cmd|'/C calc'!A0", "+1", "a\"b,=1"] {
        admin.console.audit.add(now, actor, "tested", "all", &json!({})).await.unwrap();
    }
    let headers = [("authorization", by.bearer.as_str()), ("accept", "text/csv")];
    let csv =
        admin.call(Method::GET, "/admin/v1/audit?act=tested", None, &headers).await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = csv.body.as_str().unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("\"'=cmd|'/C calc'!A0\"") && text.contains("\"a\"\"b,=1\""), "{text}");
    let noted = admin.acts_of("operator").await.remove(0);
    assert_eq!(
        (noted.act.as_str(), noted.detail.as_str()),
        ("audit_exported", r#"{"entries":3,"filtered_by":["act"]}"#)
    );
    let entry =
        by.get("/admin/v1/audit?act=audit_exported").await.expect(200).body["items"][0].clone();
    assert_eq!(
        (&entry["actor"], &entry["actor_kind"]),
        (&json!("admin-key:operator"), &json!("key"))
    );
}
