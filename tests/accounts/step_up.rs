//! What takes more than a token: a sign-in by code a moment ago, or the current password (contract, ruling 37).

use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone};
use testkit::system::{Side, System};

both_sides!(
    f03_a_stolen_token_sets_no_first_password,
    f03_a_fresh_sign_in_takes_back_a_password_that_a_thief_set,
    f03_the_current_password_serves_instead_of_a_fresh_sign_in,
    f03_a_session_started_by_password_is_no_fresh_sign_in,
    f03_staff_can_clear_a_password,
    f05_a_stale_sign_in_deletes_no_account_and_ends_no_other_session,
    f05_a_stale_session_ends_only_itself,
);

const GOOD: &str = "vq7 blue kite 9 over the lake";
const NEXT: &str = "another kite, nine lakes away";

async fn set(api: &Api, access: &str, body: Value) -> Answer {
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await
}

async fn remove(api: &Api, access: &str, body: Option<Value>) -> Answer {
    api.signed_in(Method::DELETE, "/v1/me/password", access, body).await
}

async fn by_password(api: &Api, phone: &str, password: &str) -> Answer {
    api.post("/v1/token", json!({ "phone_number": phone, "password": password })).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// The access token of a sign-in by code that is eleven minutes old: as good as a stolen one.
async fn stale(latchkey: &InProcessLatchkey, api: &Api, phone: &str) -> String {
    let pair = api.sign_in(phone).await;
    latchkey.advance(660);
    api.refresh(&text(&pair, "refresh")).await.expect(200).text("access")
}

async fn f03_a_stolen_token_sets_no_first_password(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let stolen = stale(&latchkey, &api, &phone).await;
    for body in [json!({ "password": GOOD }), json!({ "password": GOOD, "current_password": GOOD })]
    {
        set(&other, &stolen, body).await.problem(403, "fresh_sign_in_required");
    }
    remove(&api, &stolen, None).await.problem(403, "fresh_sign_in_required");
    by_password(&api, &phone, GOOD).await.problem(401, "invalid_credentials");
    let fresh = text(&api.sign_in(&phone).await, "access");
    set(&other, &fresh, json!({ "password": GOOD })).await.expect(204);
    by_password(&api, &phone, GOOD).await.expect(200);
}

async fn f03_a_fresh_sign_in_takes_back_a_password_that_a_thief_set(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    for take_back in [Some(NEXT), None] {
        let phone = new_phone();
        let thief = text(&api.sign_in(&phone).await, "access");
        set(&api, &thief, json!({ "password": GOOD })).await.expect(204);
        let by_thief = by_password(&other, &phone, GOOD).await.expect(200).text("access");
        let mine = text(&api.sign_in(&phone).await, "access");
        match take_back {
            Some(password) => set(&other, &mine, json!({ "password": password })).await.expect(204),
            None => remove(&other, &mine, None).await.expect(204),
        };
        for access in [&thief, &by_thief] {
            api.me(access).await.problem(401, "session_revoked");
        }
        by_password(&api, &phone, GOOD).await.problem(401, "invalid_credentials");
        api.me(&mine).await.expect(200);
        match take_back {
            Some(password) => by_password(&other, &phone, password).await.expect(200),
            None => remove(&api, &mine, None).await.expect(204),
        };
    }
}

async fn f03_the_current_password_serves_instead_of_a_fresh_sign_in(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let pair = api.sign_in(&phone).await;
    let fresh = text(&pair, "access");
    set(&api, &fresh, json!({ "password": GOOD })).await.expect(204);
    // A wrong one is refused and counted even where none is needed.
    let wrong = json!({ "password": NEXT, "current_password": "not the current one" });
    set(&api, &fresh, wrong.clone()).await.problem(401, "invalid_credentials");
    latchkey.advance(660);
    let access = api.refresh(&text(&pair, "refresh")).await.expect(200).text("access");
    let refused = set(&api, &access, json!({ "password": NEXT })).await;
    let problem = refused.problem(403, "fresh_sign_in_required");
    assert!(problem["detail"].as_str().unwrap().contains("`current_password`"), "{problem:?}");
    set(&api, &access, wrong).await.problem(401, "invalid_credentials");
    let right = json!({ "password": NEXT, "current_password": GOOD });
    set(&api, &access, right).await.expect(204);
    by_password(&api, &phone, NEXT).await.expect(200);
    let wrong = json!({ "current_password": GOOD });
    remove(&api, &access, Some(wrong)).await.problem(401, "invalid_credentials");
    let right = json!({ "current_password": NEXT });
    remove(&api, &access, Some(right)).await.expect(204);
    by_password(&api, &phone, NEXT).await.problem(401, "invalid_credentials");
}

async fn f03_a_session_started_by_password_is_no_fresh_sign_in(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let mine = text(&api.sign_in(&phone).await, "access");
    set(&api, &mine, json!({ "password": GOOD })).await.expect(204);
    let access = by_password(&api, &phone, GOOD).await.expect(200).text("access");
    let password = json!({ "password": NEXT });
    let number = json!({ "phone_number": new_phone() });
    for (method, path, body) in [
        (Method::PUT, "/v1/me/password", Some(password)),
        (Method::DELETE, "/v1/me/password", None),
        (Method::POST, "/v1/me/phone", Some(number)),
        (Method::DELETE, "/v1/me/sessions", None),
        (Method::DELETE, "/v1/me", None),
    ] {
        let answer = api.signed_in(method, path, &access, body).await;
        answer.problem(403, "fresh_sign_in_required");
    }
    api.me(&mine).await.expect(200);
    by_password(&api, &phone, GOOD).await.expect(200);
}

async fn f03_staff_can_clear_a_password(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let mine = api.sign_in(&phone).await;
    let access = text(&mine, "access");
    set(&api, &access, json!({ "password": GOOD })).await.expect(204);
    let by_thief = by_password(&api, &phone, GOOD).await.expect(200).text("access");
    let told = system.run(&["users", "clear-password", &phone, "--yes", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({ "user_id": mine["user"]["id"], "password": false }));
    api.me(&by_thief).await.problem(401, "session_revoked");
    api.me(&access).await.expect(200);
    by_password(&api, &phone, GOOD).await.problem(401, "invalid_credentials");
}

async fn f05_a_stale_sign_in_deletes_no_account_and_ends_no_other_session(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let stolen = stale(&latchkey, &api, &phone).await;
    let mine = api.sign_in(&phone).await;
    for path in ["/v1/me", "/v1/me/sessions"] {
        let refused = api.signed_in(Method::DELETE, path, &stolen, None).await;
        refused.problem(403, "fresh_sign_in_required");
    }
    let access = text(&mine, "access");
    api.me(&access).await.expect(200);
    api.signed_in(Method::DELETE, "/v1/me/sessions", &access, None).await.expect(204);
    api.me(&stolen).await.problem(401, "session_revoked");
    api.signed_in(Method::DELETE, "/v1/me", &access, None).await.expect(204);
    assert_ne!(api.sign_in(&phone).await["user"]["id"], mine["user"]["id"]);
}

async fn f05_a_stale_session_ends_only_itself(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let stolen = stale(&latchkey, &api, &phone).await;
    let mine = text(&api.sign_in(&phone).await, "access");
    let listed = api.signed_in(Method::GET, "/v1/me/sessions", &mine, None).await.expect(200).body;
    let path = |current: bool| {
        let mut sessions = listed.as_array().unwrap().iter();
        let found = sessions.find(|session| session["current"] == current).unwrap();
        format!("/v1/me/sessions/{}", text(found, "id"))
    };
    let refused = other.signed_in(Method::DELETE, &path(true), &stolen, None).await;
    refused.problem(403, "fresh_sign_in_required");
    api.me(&mine).await.expect(200);
    other.signed_in(Method::DELETE, &path(false), &stolen, None).await.expect(204);
    api.me(&stolen).await.problem(401, "session_revoked");
    let stolen = text(&api.sign_in(&phone).await, "access");
    other.signed_in(Method::DELETE, &path(true), &stolen, None).await.expect(204);
    api.me(&mine).await.problem(401, "session_revoked");
}
