//! What an owner is told: a text when the password or the account is changed or removed, and the account's activity.

use accounts::Accounts;
use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::http::{Api, new_phone};
use testkit::system::Side;
use testkit::{PATIENCE, both_sides, eventually, in_time};

both_sides!(
    f15_a_text_tells_the_owner_when_the_password_is_set_or_removed,
    f15_a_text_tells_the_owner_when_the_account_is_deleted,
    f15_without_notices_no_text_is_sent,
    f15_the_activity_shows_what_happened_to_the_account,
    f15_the_activity_is_read_page_by_page,
);

const GOOD: &str = "vq7 blue kite 9 over the lake";

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

async fn call(api: &Api, method: Method, path: &str, access: &str, body: Option<Value>) {
    api.signed_in(method, path, access, body).await.expect(204);
}

async fn set(api: &Api, access: &str) {
    call(api, Method::PUT, "/v1/me/password", access, Some(json!({ "password": GOOD }))).await;
}

/// The texts without a code that a phone received, newest first.
async fn notices(api: &Api, phone: &str) -> Vec<String> {
    let messages = api.messages(phone).await;
    messages.iter().filter(|text| text["code"].is_null()).map(|m| text(m, "text")).collect()
}

async fn activity(api: &Api, access: &str, query: &str) -> Value {
    let path = format!("/v1/me/activity{query}");
    api.signed_in(Method::GET, &path, access, None).await.expect(200).body
}

async fn f15_a_text_tells_the_owner_when_the_password_is_set_or_removed(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    let french = Some(json!({ "locale": "fr-CA" }));
    api.signed_in(Method::PATCH, "/v1/me", &access, french).await.expect(200);
    set(&api, &access).await;
    for told in 1..=2 {
        let texts = eventually("the notice", PATIENCE, async || {
            Some(notices(&api, &phone).await).filter(|texts| texts.len() == told)
        })
        .await;
        assert!(texts[0].contains("mot de passe"), "{texts:?}");
        assert!(!texts[0].contains(&phone[3..]), "the notice names no number");
        if told == 1 {
            call(&api, Method::DELETE, "/v1/me/password", &access, None).await;
        }
    }
}

async fn f15_a_text_tells_the_owner_when_the_account_is_deleted(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    // A deletion forgets the inbox of its phone. If the outbox wakes up in that moment, the notice is forgotten too.
    for _ in 0..3 {
        let phone = new_phone();
        let access = text(&api.sign_in(&phone).await, "access");
        call(&api, Method::DELETE, "/v1/me", &access, None).await;
        let told = in_time(PATIENCE / 3, async || notices(&api, &phone).await.pop()).await;
        if let Some(told) = told {
            assert!(told.contains("account was deleted"), "{told}");
            return;
        }
    }
    panic!("no notice of a deletion arrived");
}

async fn f15_without_notices_no_text_is_sent(side: Side) {
    let off = [("LATCHKEY_NOTICES", "off")];
    let latchkey = InProcessLatchkey::start_with(side, 1, &off).await;
    let api = latchkey.api();
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    set(&api, &access).await;
    call(&api, Method::DELETE, "/v1/me/password", &access, None).await;
    api.sign_in(&phone).await;
    assert_eq!(notices(&api, &phone).await, Vec::<String>::new());
}

async fn f15_the_activity_shows_what_happened_to_the_account(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let first = api.sign_in(&phone).await;
    let access = text(&first, "access");
    set(&api, &access).await;
    let login = json!({ "phone_number": phone, "password": GOOD });
    let agent = [("user-agent", "A telephone")];
    let by_password = other.post_with("/v1/token", login, &agent).await.expect(200);
    let name = json!({ "first_name": "Ada" });
    api.signed_in(Method::PATCH, "/v1/me", &access, Some(name)).await.expect(200);
    call(&api, Method::DELETE, "/v1/me/password", &access, None).await;
    let (accounts, now) = (Accounts::new(&latchkey.engines.sql), latchkey.clock.now());
    let user = text(&first["user"], "id").parse().unwrap();
    assert!(accounts.block(user, "staff's own reason", "operator", now).await.unwrap());
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &code).await.problem(403, "account_blocked");
    assert!(accounts.unblock(user, "operator", now).await.unwrap());
    let access = text(&api.sign_in(&phone).await, "access");

    let shown = activity(&other, &access, "").await;
    assert_eq!(shown["next"], Value::Null);
    let items = shown["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|item| (item["type"].as_str().unwrap(), item["reason"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("session.started", None),
            ("user.unblocked", None),
            ("session.refused", Some("account_blocked")),
            ("user.blocked", None),
            ("session.ended", Some("account_blocked")),
            ("password.removed", None),
            ("session.ended", Some("password_removed")),
            ("session.started", None),
            ("password.set", None),
            ("user.created", None),
        ]
    );
    let started = &items[7];
    assert_eq!((&started["method"], &started["device"]), (&json!("pwd"), &json!("A telephone")));
    assert_eq!(started["ip"], "127.0.0.0");
    assert_eq!(started["session_id"], items[6]["session_id"]);
    assert_eq!(items[6]["device"], "A telephone");
    assert_eq!((&items[9]["method"], &items[0]["method"]), (&json!("sms"), &json!("sms")));
    assert_eq!(items[8]["session_id"], items[9]["session_id"], "the session that set it");
    assert!(!shown.to_string().contains("staff's own reason"));
    api.me(&by_password.text("access")).await.problem(401, "session_revoked");
}

async fn f15_the_activity_is_read_page_by_page(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let mut access = String::new();
    for _ in 0..5 {
        access = text(&api.sign_in(&phone).await, "access");
    }
    let all = activity(&api, &access, "?limit=100").await["items"].clone();
    assert_eq!(all.as_array().unwrap().len(), 5);
    let (mut read, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = activity(&api, &access, &query).await;
        read.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&before={next}");
    }
    assert_eq!(Value::Array(read), all);
    let stranger = text(&api.sign_in(&new_phone()).await, "access");
    let theirs = format!("?before={}", text(&all[0], "id"));
    assert_eq!(activity(&api, &stranger, &theirs).await["items"], json!([]));
    for query in ["?limit=0", "?limit=101", "?limit=x", "?limit=1&limit=2", "?page=1"] {
        let path = format!("/v1/me/activity{query}");
        let answer = api.signed_in(Method::GET, &path, &access, None).await;
        answer.problem(400, "invalid_request");
    }
    api.get("/v1/me/activity").await.problem(401, "token_not_valid");
}
