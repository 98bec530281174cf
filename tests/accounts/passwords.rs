//! Passwords: the rules, what a change ends, and 200 logins at once.

use std::fmt::Write as _;
use std::fs;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::http::{Answer, Api, new_phone, once};
use testkit::system::{Side, System};
use testkit::{both_sides, eventually};

both_sides!(
    a_password_is_accepted_or_refused_by_the_rules,
    f19_a_password_made_of_the_owners_name_is_refused,
    f19_a_password_known_from_a_breach_is_refused,
    a_new_password_ends_the_other_sessions_and_the_old_one_no_longer_works,
    p4_the_current_password_is_checked_like_a_sign_in_and_resets_the_failures_in_a_row,
    p4_wrong_passwords_are_counted_apart_from_codes_and_lock_passwords_briefly,
    p12_200_password_logins_at_once_block_no_other_call_and_memory_stays_bounded,
);

const GOOD: &str = "vq7 blue kite 9 over the lake";
/// Access tokens that outlive the waits of a test.
const LONG_TOKENS: [(&str, &str); 1] = [("LATCHKEY_ACCESS_TTL_SECS", "3600")];

async fn set(api: &Api, access: &str, body: Value) -> Answer {
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await
}

async fn try_password(api: &Api, phone: &str, password: &str) -> Answer {
    api.post("/v1/token", json!({ "phone_number": phone, "password": password })).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

async fn a_password_is_accepted_or_refused_by_the_rules(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    let national = &phone[3..];
    let megabyte = "x1".repeat(1 << 19);
    for (password, code) in [
        ("fourteen chars", "too_short"),
        (&*"x1y".repeat(86), "too_long"),
        ("password12345678", "too_common"),
        ("aaaaaaaaaaaaaaaaaaaa", "too_common"),
        ("qwertyuiopasdfghjkl", "too_common"),
        (&*format!("my number is {national}"), "contains_phone_number"),
        (&*format!("{phone} forever"), "contains_phone_number"),
        ("vq7 blue\0kite 9 over", "invalid_characters"),
        ("correct-latchkey-42-kite", "contains_app_name"),
        ("liverpool chelsea", "too_guessable"),
    ] {
        let problem = set(&api, &access, json!({ "password": password }))
            .await
            .problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["code"], code, "{password:?}");
        assert_eq!(problem["errors"][0]["field"], "password");
    }
    for (body, status) in [
        (json!({ "password": megabyte }), 413),
        (json!({}), 400),
        (json!({ "password": null }), 400),
        (json!({ "password": 123_456_789_012_345_678_u64 }), 400),
        (json!({ "password": [GOOD] }), 400),
        (json!({ "password": GOOD, "more": 1 }), 400),
    ] {
        set(&api, &access, body).await.expect(status);
    }
    try_password(&api, &phone, &megabyte).await.expect(413);
    try_password(&api, &phone, "vq7\0").await.problem(400, "invalid_request");
    set(&api, &access, json!({ "password": GOOD })).await.expect(204);
    try_password(&api, &phone, GOOD).await.expect(200);
}

async fn f19_a_password_made_of_the_owners_name_is_refused(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let access = text(&api.sign_in(&new_phone()).await, "access");
    let names = json!({ "first_name": "Ada", "last_name": "Lovelace" });
    api.signed_in(Method::PATCH, "/v1/me", &access, Some(names)).await.expect(200);
    for password in ["Ada Lovelace Ada", "seven kites of lovelace1"] {
        let refused = set(&api, &access, json!({ "password": password })).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["code"], "contains_name");
    }
    set(&api, &access, json!({ "password": GOOD })).await.expect(204);
}

/// A range service that knows one password; returns its URL.
async fn breaches_of(password: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut sha1 = String::new();
    for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()).as_ref() {
        write!(sha1, "{byte:02X}").unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/range", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..read]).into_owned();
            let (prefix, suffix) = sha1.split_at(5);
            let count = u32::from(asked.starts_with(&format!("GET /range/{prefix} ")));
            let body = format!("{suffix}:{count}\r\n");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

async fn f19_a_password_known_from_a_breach_is_refused(side: Side) {
    let url = breaches_of("nine purple lakes, 4 kites").await;
    let ask = [("LATCHKEY_BREACHED_PASSWORDS_URL", url.as_str())];
    let latchkey = InProcessLatchkey::start_with(side, 1, &ask).await;
    let api = latchkey.api();
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    // The service is given a second, and a busy machine may need longer: the password is then accepted.
    eventually("the refusal of a breached password", testkit::PATIENCE, async || {
        latchkey.advance(13);
        let answer = set(&api, &access, json!({ "password": "nine purple lakes, 4 kites" })).await;
        let is_refused = answer.status == 400;
        is_refused.then(|| {
            assert_eq!(answer.problem(400, "invalid_request")["errors"][0]["code"], "breached");
        })
    })
    .await;
    set(&api, &access, json!({ "password": GOOD })).await.expect(204);
    try_password(&api, &phone, GOOD).await.expect(200);
}

async fn a_new_password_ends_the_other_sessions_and_the_old_one_no_longer_works(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let mine = text(&api.sign_in(&phone).await, "access");
    set(&api, &mine, json!({ "password": GOOD })).await.expect(204);
    let by_password = text(&try_password(&other, &phone, GOOD).await.expect(200).body, "access");
    let next = "another kite, nine lakes away";
    let wrong = json!({ "password": next, "current_password": "not the old one" });
    set(&api, &mine, wrong).await.problem(401, "invalid_credentials");
    other.me(&by_password).await.expect(200);
    let right = json!({ "password": next, "current_password": GOOD });
    set(&api, &mine, right).await.expect(204);
    other.me(&by_password).await.problem(401, "session_revoked");
    api.me(&mine).await.expect(200);
    try_password(&api, &phone, GOOD).await.problem(401, "invalid_credentials");
    try_password(&other, &phone, next).await.expect(200);
}

async fn p4_wrong_passwords_are_counted_apart_from_codes_and_lock_passwords_briefly(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let phone = new_phone();
    let access = text(&apis[0].sign_in(&phone).await, "access");
    set(&apis[0], &access, json!({ "password": GOOD })).await.expect(204);
    for attempt in 0..10 {
        let password = format!("a wrong password {attempt}");
        let answer = try_password(&apis[attempt % 2], &phone, &password).await;
        answer.problem(401, "invalid_credentials");
    }
    let problem = try_password(&apis[1], &phone, GOOD).await.problem(429, "too_many_requests");
    assert_eq!(problem["limit"], "guesses");
    apis[0].sign_in(&phone).await;
    latchkey.advance(31);
    try_password(&apis[0], &phone, GOOD).await.expect(200);
    try_password(&apis[1], &phone, "a wrong password").await.problem(401, "invalid_credentials");
}

async fn p4_the_current_password_is_checked_like_a_sign_in_and_resets_the_failures_in_a_row(
    side: Side,
) {
    let latchkey = InProcessLatchkey::start_with(side, 2, &LONG_TOKENS).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let access = text(&apis[0].sign_in(&new_phone()).await, "access");
    let show = |attempt: usize, current: &str| {
        let body = json!({ "password": GOOD, "current_password": current });
        let (api, access) = (apis[attempt % 2].clone(), access.clone());
        async move { set(&api, &access, body).await }
    };
    set(&apis[0], &access, json!({ "password": GOOD })).await.expect(204);
    let fail = async |times: usize| {
        for attempt in 0..times {
            // An account may change its password five times a minute.
            if attempt % 5 == 0 {
                latchkey.advance(61);
            }
            show(attempt, "a wrong password").await.problem(401, "invalid_credentials");
        }
    };
    // Nine failures cause no wait yet. Without the reset by the right password, the second round would cause one.
    for _ in 0..2 {
        fail(9).await;
        show(0, GOOD).await.expect(204);
    }
    fail(10).await;
    latchkey.advance(61);
    // All at once after the wait: at most one wrong password is compared, and the right one after it is refused.
    let answers = join_all((0..12).map(|attempt| show(attempt, "another wrong one"))).await;
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(judged, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    latchkey.advance(61);
    show(0, "a wrong password").await.problem(401, "invalid_credentials");
    latchkey.advance(61);
    let waits = show(1, GOOD).await.problem(429, "too_many_requests");
    assert_eq!(waits["limit"], "guesses");
    latchkey.advance(60);
    show(1, GOOD).await.expect(204);
}

/// The peak memory of a process so far, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

async fn p12_200_password_logins_at_once_block_no_other_call_and_memory_stays_bounded(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let access = text(&api.sign_in(&phone).await, "access");
    set(&api, &access, json!({ "password": GOOD })).await.expect(204);
    try_password(&api, &phone, GOOD).await.expect(200);
    let elsewhere = System::start(side, &[]).await;
    let unattacked = elsewhere.api();
    let pid = system.processes[0].server.pid();
    let before = peak_mib(pid);

    let flood = tokio::spawn({
        let (api, phone) = (api.clone(), phone.clone());
        async move {
            // Unknown numbers too: a password for no account costs the same.
            let strangers: Vec<String> = (0..100).map(|_| new_phone()).collect();
            let calls = (0..200).map(|n| {
                let phone = if n % 2 == 0 { &phone } else { &strangers[n / 2] };
                let password = if n % 2 == 0 { GOOD } else { "some wrong password" };
                once(try_password(&api, phone, password))
            });
            join_all(calls).await
        }
    });
    let mut asked = 0;
    while !flood.is_finished() || asked < 20 {
        let me = api.in_time_beside(&unattacked, "/v1/me meanwhile", api.me(&access));
        me.await.expect(200);
        asked += 1;
    }
    let answers = flood.await.unwrap();
    let mut signed_in = 0;
    for answer in answers {
        match answer.status {
            200 => signed_in += 1,
            401 => drop(answer.problem(401, "invalid_credentials")),
            _ => drop(answer.problem(503, "temporarily_unavailable")),
        }
    }
    assert!(signed_in > 0, "some logins succeeded");
    // 200 at once would take 3,800 MiB; a pool with one thread per core takes 19 MiB for each, and the allocator
    // returns memory late.
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let grown = peak_mib(pid).saturating_sub(before);
    assert!(grown < 100 + 100 * cores, "memory grew by {grown} MiB");
    try_password(&api, &phone, GOOD).await.expect(200);
}
