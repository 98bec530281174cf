//! What one account and one session may do in a minute (contract, ruling 44).

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Api, new_phone, once};
use testkit::system::Side;

both_sides!(
    f07_one_account_hammering_its_password_shuts_nobody_out,
    f07_changes_of_the_password_count_as_logins_of_the_address,
    f14_a_session_writes_thirty_times_a_minute,
    f14_a_stolen_session_uses_up_nothing_of_its_owners,
    f14_stale_sessions_share_the_writes_of_the_profile,
);

const GOOD: &str = "vq7 blue kite 9 over the lake";

async fn access(api: &Api, phone: &str) -> String {
    api.sign_in(phone).await["access"].as_str().unwrap().to_owned()
}

async fn set(api: &Api, access: &str, body: Value) -> testkit::http::Answer {
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await
}

async fn f07_one_account_hammering_its_password_shuts_nobody_out(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let victim = new_phone();
    let theirs = access(&apis[0], &victim).await;
    set(&apis[0], &theirs, json!({ "password": GOOD })).await.expect(204);
    let mine = access(&apis[0], &new_phone()).await;
    let same = json!({ "password": GOOD, "current_password": GOOD });
    // The clock stands still: a minute never ends.
    let calls = (0..90).map(|n| once(set(&apis[n % 2], &mine, same.clone())));
    let mut hashed = 0;
    for answer in join_all(calls).await {
        match answer.status {
            204 | 401 | 503 => hashed += 1,
            _ => assert_eq!(answer.problem(429, "too_many_requests")["limit"], "account"),
        }
    }
    assert_eq!(hashed, 5, "each of these cost hashing");
    let login = json!({ "phone_number": victim, "password": GOOD });
    apis[1].post("/v1/token", login.clone()).await.expect(200);
    latchkey.advance(60);
    set(&apis[0], &mine, same.clone()).await.expect(204);
}

async fn f07_changes_of_the_password_count_as_logins_of_the_address(side: Side) {
    let limit = [("LATCHKEY_LOGINS_PER_IP_MINUTE", "3")];
    let latchkey = InProcessLatchkey::start_with(side, 1, &limit).await;
    let api = latchkey.api();
    let mine = access(&api, &new_phone()).await;
    set(&api, &mine, json!({ "password": GOOD })).await.expect(204);
    api.signed_in(Method::DELETE, "/v1/me/password", &mine, None).await.expect(204);
    let refused = set(&api, &mine, json!({ "password": GOOD })).await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "logins_ip");
}

async fn f14_a_session_writes_thirty_times_a_minute(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let (mine, other) =
        (access(&apis[0], &new_phone()).await, access(&apis[0], &new_phone()).await);
    let write = async |number: usize, access: &str| {
        let name = json!({ "first_name": format!("Ada {number}") });
        apis[number % 2].signed_in(Method::PATCH, "/v1/me", access, Some(name)).await
    };
    for number in 0..30 {
        write(number, &mine).await.expect(200);
    }
    for number in 30..32 {
        let problem = write(number, &mine).await.problem(429, "too_many_requests");
        assert_eq!(problem["limit"], "account");
        assert!((55..=60).contains(&problem["retry_after"].as_u64().unwrap()), "{problem:?}");
    }
    let unknown = "/v1/me/sessions/00000000-0000-7000-8000-000000000000";
    let refused = apis[0].signed_in(Method::DELETE, unknown, &mine, None).await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "account");
    assert_eq!(apis[1].me(&mine).await.expect(200).text("first_name"), "Ada 29");
    write(0, &other).await.expect(200);
    latchkey.advance(60);
    write(33, &mine).await.expect(200);
}

/// The access token of a sign-in by code that is eleven minutes old, and its session.
async fn stale(latchkey: &InProcessLatchkey, phone: &str) -> String {
    let api = latchkey.api_of(0);
    let refresh = api.sign_in(phone).await["refresh"].as_str().unwrap().to_owned();
    latchkey.advance(660);
    api.refresh(&refresh).await.expect(200).text("access")
}

async fn rename(api: &Api, access: &str, number: usize) -> testkit::http::Answer {
    let name = json!({ "first_name": format!("Ada {number}") });
    api.signed_in(Method::PATCH, "/v1/me", access, Some(name)).await
}

async fn f14_a_stolen_session_uses_up_nothing_of_its_owners(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let first = access(&api, &phone).await;
    set(&api, &first, json!({ "password": GOOD })).await.expect(204);
    let stolen = stale(&latchkey, &phone).await;
    // The unproven ones do not count as changes of the password, by which the owner's address is judged too.
    for _ in 0..7 {
        let refused = set(&other, &stolen, json!({ "password": GOOD })).await;
        refused.problem(403, "fresh_sign_in_required");
    }
    for number in 7..30 {
        rename(&other, &stolen, number).await.expect(200);
    }
    let refused = rename(&other, &stolen, 30).await.problem(429, "too_many_requests");
    assert_eq!(refused["limit"], "account");
    let mine = access(&api, &phone).await;
    rename(&api, &mine, 31).await.expect(200);
    api.signed_in(Method::DELETE, "/v1/me/password", &mine, None).await.expect(204);
    api.signed_in(Method::DELETE, "/v1/me/sessions", &mine, None).await.expect(204);
    api.me(&stolen).await.problem(401, "session_revoked");
}

async fn f14_stale_sessions_share_the_writes_of_the_profile(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let first = access(&api, &phone).await;
    set(&api, &first, json!({ "password": GOOD })).await.expect(204);
    let login = json!({ "phone_number": phone, "password": GOOD });
    let by_password =
        async || api.post("/v1/token", login.clone()).await.expect(200).text("access");
    let (one, two) = (by_password().await, by_password().await);
    for number in 0..30 {
        rename(&other, if number % 2 == 0 { &one } else { &two }, number).await.expect(200);
    }
    for access in [&one, &two] {
        let refused = rename(&other, access, 30).await.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "account");
    }
    // What cannot be used against the owner: a sign-out, and a freshly signed-in session.
    let sessions = api.signed_in(Method::GET, "/v1/me/sessions", &two, None).await.expect(200).body;
    let is_current = |session: &&Value| session["current"] == true;
    let id = sessions.as_array().unwrap().iter().find(is_current).unwrap()["id"].clone();
    let path = format!("/v1/me/sessions/{}", id.as_str().unwrap());
    api.signed_in(Method::DELETE, &path, &two, None).await.expect(204);
    rename(&api, &first, 31).await.expect(200);
    latchkey.advance(60);
    rename(&other, &one, 32).await.expect(200);
}
