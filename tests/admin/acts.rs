//! What a program does with accounts and blocks, and what it is told about wrong calls.

use accounts::StaffRole;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::http::{new_phone, wrong};
use testkit::system::Side;

use super::client::Admin;

testkit::both_sides!(
    an_account_is_created_found_read_and_shown_whole,
    an_account_is_blocked_unblocked_and_its_sessions_end,
    a_lock_is_opened_and_a_code_is_sent,
    a_block_is_set_listed_and_ended,
    hostile_texts_come_back_as_they_are,
);

async fn an_account_is_created_found_read_and_shown_whole(side: Side) {
    let admin = Admin::start(side).await;
    let (by, phone) = (admin.key(StaffRole::Support).await, new_phone());
    let new = json!({ "phone_number": phone, "first_name": "Grace", "locale": "fa" });
    let made = by.post("/admin/v1/users", new.clone()).await.expect(201).body;
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (&made["first_name"], &made["locale"], &made["state"]),
        (&json!("Grace"), &json!("fa"), &json!("active"))
    );
    assert_ne!(made["phone_number"], phone.as_str());
    let taken = by.post("/admin/v1/users", new).await.problem(400, "invalid_request");
    assert_eq!(
        (&taken["errors"][0]["field"], &taken["errors"][0]["code"]),
        (&json!("phone_number"), &json!("taken"))
    );
    let spaced = format!("{} {} {}", &phone[..3], &phone[3..6], &phone[6..]);
    let found =
        by.post("/admin/v1/users/find", json!({ "phone_number": spaced })).await.expect(200);
    assert_eq!(found.body, made);
    for nobody in [new_phone(), "12345".to_owned(), String::new(), "x".repeat(5_000)] {
        let body = json!({ "phone_number": nobody });
        by.post("/admin/v1/users/find", body).await.problem(404, "not_found");
    }
    for (field, value) in [
        ("phone_number", json!("12345")),
        ("locale", json!("x y")),
        ("first_name", json!("a\u{202e}b")),
        ("role", json!("owner")),
        ("last_name", json!(5)),
    ] {
        let mut body = json!({ "phone_number": new_phone() });
        body[field] = value;
        let answer = by.post("/admin/v1/users", body).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.body);
    }
    let reveal = format!("/admin/v1/users/{id}/reveal");
    for reason in ["", "   ", &"x".repeat(201)] {
        by.post(&reveal, json!({ "reason": reason })).await.problem(400, "invalid_request");
    }
    assert_eq!(admin.console.count(id, "phone_revealed").await, 0);
    let shown = by.post(&reveal, json!({ "reason": "they called us" })).await.expect(200).body;
    assert_eq!(shown, json!({ "phone_number": phone }));
    let noted = admin.console.acts(id).await.remove(0);
    assert_eq!((noted.act.as_str(), noted.actor.as_str()), ("phone_revealed", "admin-key:support"));
    // Every other answer masks it.
    for path in [
        "/admin/v1/users",
        &format!("/admin/v1/users/{id}"),
        "/admin/v1/requests",
        "/admin/v1/audit",
    ] {
        let answer = by.get(path).await.expect(200);
        assert!(!answer.body.to_string().contains(&phone[3..]), "{path}");
    }
    for path in [
        "/admin/v1/users/x",
        "/admin/v1/users/%00",
        "/admin/v1/users/019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
        "/admin/v1/nothing",
    ] {
        by.get(path).await.problem(404, "not_found");
    }
}

async fn an_account_is_blocked_unblocked_and_its_sessions_end(side: Side) {
    let admin = Admin::start(side).await;
    let (api, by) = (admin.console.latchkey.api(), admin.key(StaffRole::Operator).await);
    let (id, phone, first) = admin.console.account(None).await;
    let second = api.sign_in(&phone).await;
    let at = |act: &str| format!("/admin/v1/users/{id}/{act}");
    let view = by.get(&format!("/admin/v1/users/{id}")).await.expect(200).body;
    assert_eq!(view["user"]["live_sessions"], 2);
    let session = view["sessions"][0]["id"].clone();
    let ended = by.post(&at("end-sessions"), json!({ "session_id": session })).await.expect(200);
    assert_eq!(ended.body, json!({ "ended": 1 }));
    let mut statuses = Vec::new();
    for login in [&first, &second] {
        statuses.push(api.refresh(login["refresh"].as_str().unwrap()).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    assert_eq!(by.act(&at("end-sessions")).await.expect(200).body, json!({ "ended": 1 }));
    assert_eq!(by.act(&at("end-sessions")).await.expect(200).body, json!({ "ended": 0 }));
    by.post(&at("end-sessions"), json!({ "session_id": "x" }))
        .await
        .problem(400, "invalid_request");
    let why = json!({ "reason": "sold on a market" });
    by.act(&at("block")).await.problem(415, "unsupported_media_type");
    by.post(&at("block"), json!({})).await.problem(400, "invalid_request");
    assert_eq!(
        by.post(&at("block"), why.clone()).await.expect(200).body,
        json!({ "changed": true })
    );
    assert_eq!(by.post(&at("block"), why).await.expect(200).body, json!({ "changed": false }));
    let view = by.get(&format!("/admin/v1/users/{id}")).await.expect(200).body;
    assert_eq!(view["block"]["by"], "admin-key:operator");
    assert_eq!(view["standing"]["obstacles"][0]["code"], "account_blocked");
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &code).await.problem(403, "account_blocked");
    assert_eq!(by.act(&at("unblock")).await.expect(200).body, json!({ "changed": true }));
    let login = api.sign_in(&phone).await;
    let password = json!({ "password": "violet anchor breeze 42 lagoon" });
    let access = login["access"].as_str().unwrap();
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(password)).await.expect(204);
    assert_eq!(by.act(&at("clear-password")).await.expect(200).body, json!({ "changed": true }));
    assert_eq!(by.act(&at("clear-password")).await.expect(200).body, json!({ "changed": false }));
}

async fn a_lock_is_opened_and_a_code_is_sent(side: Side) {
    let settings = [("LATCHKEY_OTP_MAX_FAILURES", "5"), ("LATCHKEY_SENDS_PER_PHONE_HOUR", "4")];
    let admin = Admin::start_with(side, &settings).await;
    let (api, by) = (admin.console.latchkey.api(), admin.key(StaffRole::Support).await);
    let (id, phone, _) = admin.console.account(None).await;
    let code = api.fresh_code(&phone).await;
    for _ in 0..5 {
        api.login(&phone, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    }
    let view = by.get(&format!("/admin/v1/users/{id}")).await.expect(200).body;
    let codes: Vec<_> = view["standing"]["obstacles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["code"].clone())
        .collect();
    assert!(
        codes.contains(&json!("code_locked")) && codes.contains(&json!("code_exhausted")),
        "{codes:?}"
    );
    assert_eq!(
        (&view["standing"]["code"]["state"], &view["user"]["state"]),
        (&json!("exhausted"), &json!("locked"))
    );
    let unlock = format!("/admin/v1/users/{id}/unlock");
    assert_eq!(by.act(&unlock).await.expect(200).body, json!({ "changed": true }));
    assert_eq!(by.act(&unlock).await.expect(200).body, json!({ "changed": false }));
    admin.console.latchkey.advance(301);
    let send = format!("/admin/v1/users/{id}/send-code");
    let request = by.post(&send, json!({ "channel": "sms" })).await.expect(202).text("request_id");
    let text = testkit::eventually("the text", testkit::PATIENCE, async || {
        api.messages(&phone).await.into_iter().find(|text| text["request_id"] == request.as_str())
    })
    .await;
    api.login(&phone, text["code"].as_str().unwrap()).await.expect(200);
    by.post(&send, json!({ "channel": "fax" })).await.problem(400, "invalid_request");
    // Everybody's limits hold: this is the fourth code of the hour, and a fifth is not sent.
    by.act(&send).await.expect(202);
    by.act(&send).await.problem(429, "too_many_requests");
    let view = by.get(&format!("/admin/v1/requests/{request}")).await.expect(200).body;
    let kinds: Vec<_> =
        view["steps"].as_array().unwrap().iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds.first(), Some(&json!("requested")));
    assert!(kinds.contains(&json!("verified")), "{kinds:?}");
    let found = by.get(&format!("/admin/v1/find/{request}")).await.expect(200).body;
    assert_eq!(found["kind"], "request");
    assert_eq!(by.get(&format!("/admin/v1/find/{id}")).await.expect(200).body["kind"], "user");
    by.get("/admin/v1/find/019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11").await.problem(404, "not_found");
}

async fn a_block_is_set_listed_and_ended(side: Side) {
    let admin = Admin::start(side).await;
    let (by, phone) = (admin.key(StaffRole::Operator).await, new_phone());
    let until = admin.now().plus_secs(3_600);
    for (kind, value) in [
        ("phone", phone.as_str()),
        ("prefix", "98912"),
        ("ip", "203.0.113.0/24"),
        ("country", "DE"),
    ] {
        let body = json!({ "kind": kind, "value": value, "reason": "pumping", "until": until });
        let set = by.post("/admin/v1/blocks", body).await.expect(201).body;
        assert_eq!(
            (&set["kind"], &set["owner"], &set["is_in_force"]),
            (&json!(kind), &json!("admin-key:operator"), &json!(true))
        );
        assert!(!set.to_string().contains(&phone[3..]), "{set}");
        admin.console.latchkey.advance(1);
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut path = "/admin/v1/blocks?limit=3".to_owned();
    loop {
        let page = by.get(&path).await.expect(200).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|it| it["kind"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        path = format!("/admin/v1/blocks?limit=3&before={next}");
    }
    assert_eq!(seen, ["country", "ip", "prefix", "phone"]);
    // By its number, which is in a body; then by the value of the list.
    let end = "/admin/v1/blocks/end";
    let of_phone = json!({ "kind": "phone", "value": phone });
    assert_eq!(by.post(end, of_phone.clone()).await.expect(200).body["changed"], true);
    assert_eq!(by.post(end, of_phone).await.expect(200).body["changed"], false);
    let list = by.get("/admin/v1/blocks?limit=1").await.expect(200).body;
    let first = &list["items"][0];
    let body = json!({ "kind": first["kind"], "value": first["value"] });
    assert_eq!(by.post(end, body).await.expect(200).body["changed"], true);
    for (kind, value, until) in [
        ("phone", "12345", json!(null)),
        ("planet", "Mars", json!(until)),
        ("ip", "300.1.1.1", json!(until)),
        ("country", "IR", json!("2020-01-01T00:00:00Z")),
        ("country", "IR", json!("tomorrow")),
    ] {
        let body = json!({ "kind": kind, "value": value, "reason": "x", "until": until });
        by.post("/admin/v1/blocks", body).await.problem(400, "invalid_request");
    }
}

async fn hostile_texts_come_back_as_they_are(side: Side) {
    const HOSTILE: &str = "</td><script>alert(1)</script>\"' x=\"\\";
    let admin = Admin::start(side).await;
    let (id, _) = admin.console.created().await;
    let by = admin.key(StaffRole::Operator).await;
    let why = json!({ "reason": HOSTILE });
    by.post(&format!("/admin/v1/users/{id}/block"), why).await.expect(200);
    let answer = by.get(&format!("/admin/v1/users/{id}")).await.expect(200);
    assert_eq!(answer.body["block"]["reason"], HOSTILE);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let hostile: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for query in [
        format!("/admin/v1/users?name={hostile}"),
        format!("/admin/v1/requests?provider={hostile}&country={hostile}"),
        format!("/admin/v1/audit?actor={hostile}&subject={hostile}&act={hostile}"),
    ] {
        assert_eq!(by.get(&query).await.expect(200).body["items"], json!([]), "{query}");
    }
    // What a page of the console shows of it is text.
    let mut member = admin.console.member(StaffRole::Viewer).await;
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    page.hides("<script>");
    page.shows("key operator of the admin API");
}
