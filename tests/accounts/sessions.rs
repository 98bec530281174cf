//! A user's sessions: the list, ending them, the cap, and that an end takes effect at once.

use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Api, new_phone, wrong};
use testkit::system::Side;

both_sides!(
    an_ended_session_is_refused_at_once_by_every_gateway,
    the_other_sessions_end_and_the_current_one_stays,
    the_51st_session_ends_the_least_recently_seen_one,
    f05_fifty_sign_ins_by_password_end_no_session_that_a_code_started,
    another_users_session_looks_nonexistent,
    f04_a_device_whose_session_its_owner_ended_is_as_anybody,
);

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

async fn listed(api: &Api, access: &str) -> Vec<Value> {
    let answer = api.signed_in(Method::GET, "/v1/me/sessions", access, None).await.expect(200);
    answer.body.as_array().unwrap().clone()
}

async fn end(api: &Api, access: &str, id: &str) -> u16 {
    api.signed_in(Method::DELETE, &format!("/v1/me/sessions/{id}"), access, None).await.status
}

async fn an_ended_session_is_refused_at_once_by_every_gateway(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let (mine, theirs) = (one.sign_in(&phone).await, one.sign_in(&phone).await);
    let (access, ended) = (text(&mine, "access"), text(&theirs, "access"));
    let sessions = listed(&one, &access).await;
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        let members: Vec<_> = session.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["created_at", "current", "device", "id", "ip", "last_seen_at"]);
    }
    let is_other = |session: &&Value| session["current"] == false;
    let id = text(sessions.iter().find(is_other).unwrap(), "id");
    other.me(&ended).await.expect(200);
    assert_eq!(end(&one, &access, &id).await, 204);
    for api in [&one, &other] {
        api.me(&ended).await.problem(401, "session_revoked");
        api.verify(&ended).await.problem(401, "session_revoked");
        api.refresh(&text(&theirs, "refresh")).await.problem(401, "session_revoked");
        api.blacklist(&text(&theirs, "refresh")).await.problem(401, "session_revoked");
        api.me(&access).await.expect(200);
    }
    assert_eq!(end(&one, &access, &id).await, 404, "it ends only once");
    let own = text(&listed(&one, &access).await[0], "id");
    assert_eq!(end(&one, &access, &own).await, 204);
    other.me(&access).await.problem(401, "session_revoked");
}

async fn the_other_sessions_end_and_the_current_one_stays(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(api.sign_in(&phone).await);
    }
    let access = text(&pairs[1], "access");
    api.signed_in(Method::DELETE, "/v1/me/sessions", &access, None).await.expect(204);
    for (number, pair) in pairs.iter().enumerate() {
        let answer = api.me(&text(pair, "access")).await;
        match number {
            1 => drop(answer.expect(200)),
            _ => drop(answer.problem(401, "session_revoked")),
        }
    }
    let left = listed(&api, &access).await;
    assert_eq!((left.len(), &left[0]["current"]), (1, &Value::Bool(true)));
}

async fn the_51st_session_ends_the_least_recently_seen_one(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let mut pairs = Vec::new();
    for _ in 0..50 {
        pairs.push(api.sign_in(&phone).await);
        latchkey.advance(1);
    }
    // The first session has been seen since, so the second is the least recently seen.
    api.refresh(&text(&pairs[0], "refresh")).await.expect(200);
    let last = api.sign_in(&phone).await;
    assert_eq!(listed(&api, &text(&last, "access")).await.len(), 50);
    api.me(&text(&pairs[1], "access")).await.problem(401, "session_revoked");
    for pair in [&pairs[0], &pairs[2], &pairs[49]] {
        api.me(&text(pair, "access")).await.expect(200);
    }
}

async fn f05_fifty_sign_ins_by_password_end_no_session_that_a_code_started(side: Side) {
    const GOOD: &str = "vq7 blue kite 9 over the lake";
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    let password = Some(json!({ "password": GOOD }));
    api.signed_in(Method::PUT, "/v1/me/password", &access, password).await.expect(204);
    let owner = [access, text(&other.sign_in(&phone).await, "access")];
    let body = json!({ "phone_number": phone, "password": GOOD });
    let by_password = async |api: &Api| {
        latchkey.advance(1);
        api.post("/v1/token", body.clone()).await.expect(200).text("access")
    };
    let first = by_password(&other).await;
    for _ in 0..50 {
        by_password(&other).await;
    }
    for access in &owner {
        api.me(access).await.expect(200);
    }
    api.me(&first).await.problem(401, "session_revoked");
    // One more of the owner's ends one more of the thief's.
    let third = text(&api.sign_in(&phone).await, "access");
    assert_eq!(listed(&api, &third).await.len(), 50);
    for access in &owner {
        other.me(access).await.expect(200);
    }
}

async fn another_users_session_looks_nonexistent(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (mine, theirs) = (api.sign_in(&new_phone()).await, api.sign_in(&new_phone()).await);
    let access = text(&mine, "access");
    let id = text(&listed(&api, &text(&theirs, "access")).await[0], "id");
    for id in [id.as_str(), "00000000-0000-7000-8000-000000000000", "x", "%27%20OR%201=1"] {
        assert_eq!(end(&api, &access, id).await, 404, "{id}");
    }
    api.me(&text(&theirs, "access")).await.expect(200);
    let path = format!("/v1/me?access_token={access}");
    api.get(&path).await.problem(401, "token_not_valid");
}

async fn f04_a_device_whose_session_its_owner_ended_is_as_anybody(side: Side) {
    const PASSWORD: &str = "vq7 blue kite 9 over the lake";
    let settings = [("LATCHKEY_OTP_MAX_FAILURES", "10"), ("LATCHKEY_FAILURE_RESET_SECS", "0")];
    let latchkey = InProcessLatchkey::start_with(side, 2, &settings).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let sign_in = async || {
        latchkey.advance(1);
        one.sign_in(&phone).await
    };
    let password = async |password: &str, device: &Value| {
        let device = device["device_token"].as_str().unwrap_or_default();
        let body = json!({ "phone_number": phone, "password": password, "device_token": device });
        other.post("/v1/token", body).await
    };
    // Whether the lock that strangers caused is none for this device.
    let is_known = async |device: &Value| {
        let answer = password("a wrong one, of some length", device).await;
        assert!([401, 429].contains(&answer.status), "{answer:?}");
        answer.status == 401
    };
    let first = sign_in().await;
    let body = Some(json!({ "password": PASSWORD }));
    let access = text(&first, "access");
    one.signed_in(Method::PUT, "/v1/me/password", &access, body).await.expect(204);
    let (lost, idle, mine) = (sign_in().await, sign_in().await, sign_in().await);
    for _ in 0..9 {
        assert!(is_known(&Value::Null).await, "judged until the lock");
    }
    assert!(!is_known(&Value::Null).await);
    one.blacklist(&text(&first, "refresh")).await.expect(200);
    for device in [&first, &lost, &idle, &mine] {
        assert!(is_known(device).await, "a logout ends no device");
    }

    let access = text(&mine, "access");
    let own = listed(&one, &text(&lost, "access")).await;
    let id = text(own.iter().find(|session| session["current"] == true).unwrap(), "id");
    assert_eq!(end(&one, &access, &id).await, 204);
    for (device, known) in [(&first, true), (&lost, false), (&idle, true), (&mine, true)] {
        assert_eq!(is_known(device).await, known);
    }
    one.signed_in(Method::DELETE, "/v1/me/sessions", &access, None).await.expect(204);
    for (device, known) in [(&first, false), (&lost, false), (&idle, false), (&mine, true)] {
        assert_eq!(is_known(device).await, known);
    }
    // Codes alike; a new sign-in is a new device.
    let code = one.fresh_code(&phone).await;
    for n in 1..=5 {
        one.login(&phone, &wrong(&code, n)).await.problem(401, "otp_incorrect");
    }
    for (device, status) in [(&idle, 429), (&mine, 200)] {
        let token = &device["device_token"];
        let body = json!({ "phone_number": phone, "otp": code, "device_token": token });
        assert_eq!(other.post("/v1/login", body).await.status, status);
    }
    assert!(is_known(&sign_in().await).await);
    password(PASSWORD, &mine).await.expect(200);
}
