//! Attempts to find a code, to use one twice, or to lock its owner out.

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_redis::redis;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{both, system};
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::{Side, System};

both_sides!(
    p4_attempts_are_counted_across_resends_requests_and_gateways,
    p3_a_used_code_cannot_be_used_again,
    p3_a_code_works_for_nothing_else,
    p4_a_malformed_code_costs_no_attempt,
    p5_resends_do_not_extend_a_code,
    p4_an_exhausted_code_stops_requests_and_a_missing_one_does_not,
    p4_ten_failures_in_a_row_cause_a_wait,
    p4_a_locked_phone_admits_its_own_device_and_staff_can_unlock_it,
    f04_a_known_device_signs_in_by_code_and_password_whatever_strangers_failed,
    f13_a_refused_attempt_leaves_a_line_and_a_metric,
    f04_attempts_that_name_a_foreign_request_cost_the_owner_nothing,
    p3_with_strict_binding_only_the_original_request_signs_in,
    p4_a_guessable_key_gives_no_free_attempts,
    f22_a_guessed_key_takes_no_repetition_from_a_known_device,
    p6_attempts_left_do_not_reveal_that_the_code_was_used,
    p4_attempts_of_a_client_that_hangs_up_are_still_counted,
);

pub(super) async fn attempt(api: &Api, phone: &str, otp: &str) -> Answer {
    api.login(phone, otp).await
}

/// Asserts the answer of an exhausted code in the first minute or two of its 300 s.
pub(super) fn spent_until_its_expiry(answer: Answer) {
    let refused = answer.problem(429, "otp_attempts_exhausted");
    let wait = refused["retry_after"].as_u64().unwrap();
    assert!((150..=300).contains(&wait), "{wait}");
}

/// Makes this many failed attempts and asserts the answers that the contract prescribes.
async fn mark_exhausted(api: &Api, phone: &str, code: &str, attempts: u64, of: u64) {
    for n in 1..=attempts {
        let refused = attempt(api, phone, &wrong(code, n)).await.problem(401, "otp_incorrect");
        assert_eq!(refused["attempts_left"], of - n);
    }
}

async fn p4_attempts_are_counted_across_resends_requests_and_gateways(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    for n in 1..=4 {
        let api = &apis[usize::from(n % 2 == 0)];
        let request = api.otp(&phone).await.expect(202).text("request_id");
        let refused = match n {
            1 => attempt(api, &phone, &wrong(&code, n)).await,
            _ => api.login_for(&phone, &wrong(&code, n), &request).await,
        };
        assert_eq!(refused.problem(401, "otp_incorrect")["attempts_left"], 5 - n);
    }
    // A right fifth attempt is accepted.
    attempt(&apis[1], &phone, &code).await.expect(200);
}

async fn p3_a_used_code_cannot_be_used_again(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let request = apis[0].otp(&phone).await.expect(202).text("request_id");
    let code = apis[0].code(&phone, 1).await;
    let kept = kept_codes(&system).await;
    let refresh = attempt(&apis[0], &phone, &code).await.expect(200).text("refresh");
    attempt(&apis[1], &phone, &code).await.problem(401, "otp_incorrect");
    apis[1].login_for(&phone, &code, &request).await.problem(401, "otp_incorrect");
    apis[1].blacklist(&refresh).await.expect(200);
    attempt(&apis[0], &phone, &code).await.problem(401, "otp_incorrect");
    // Redis is restored from a backup made before the login: the fence is in the database.
    restore_codes(&system, &kept).await;
    attempt(&apis[0], &phone, &code).await.problem(401, "otp_incorrect");
    attempt(&apis[1], &phone, &code).await.problem(401, "otp_incorrect");
}

async fn p3_a_code_works_for_nothing_else(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let (mine, other, wanted) = (new_phone(), new_phone(), new_phone());
    let access = apis[0].sign_in(&mine).await["access"].as_str().unwrap().to_owned();
    let code = apis[0].fresh_code(&mine).await;
    let theirs = apis[0].otp(&other).await.expect(202).text("request_id");
    apis[0].code(&other, 1).await;
    attempt(&apis[1], &other, &code).await.problem(401, "otp_incorrect");
    apis[1].login_for(&mine, &code, &theirs).await.problem(401, "otp_incorrect");
    // A sign-in code changes no number, and a code for a change signs nobody in.
    let change = Some(json!({ "phone_number": wanted }));
    apis[0].signed_in(Method::POST, "/v1/me/phone", &access, change).await.expect(202);
    let change_code = apis[0].code(&wanted, 1).await;
    let confirm = Some(json!({ "otp": code }));
    apis[1]
        .signed_in(Method::POST, "/v1/me/phone/confirm", &access, confirm)
        .await
        .problem(401, "otp_incorrect");
    attempt(&apis[0], &wanted, &change_code).await.problem(401, "otp_incorrect");
    attempt(&apis[0], &mine, &change_code).await.problem(401, "otp_incorrect");
}

async fn p4_a_malformed_code_costs_no_attempt(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let code = api.fresh_code(&phone).await;
    let number: u64 = format!("1{}", &code[1..]).parse().unwrap();
    for odd in [
        json!(format!("{code} ")),
        json!(format!(" {code}")),
        json!(format!("{code}0")),
        json!(&code[1..]),
        json!(number),
        json!([code]),
        json!({ "otp": code }),
        json!(""),
        Value::Null,
        json!(true),
        json!("\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}"),
        json!("\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}\u{ff16}"),
        json!("12345\u{0}"),
        json!("+12345"),
        json!("1e0005"),
    ] {
        let body = json!({ "phone_number": phone, "otp": odd });
        api.post("/v1/login", body).await.problem(400, "invalid_request");
    }
    api.post("/v1/login", json!({ "phone_number": phone })).await.problem(400, "invalid_request");
    mark_exhausted(&api, &phone, &code, 1, 5).await;
    // A missing code is malformed for a phone without a live code too.
    let nobody = new_phone();
    for body in [
        json!({ "phone_number": nobody }),
        json!({ "phone_number": nobody, "otp": null }),
        json!({ "phone_number": nobody, "otp": "" }),
    ] {
        api.post("/v1/login", body).await.problem(400, "invalid_request");
    }
    mark_exhausted(&api, &nobody, "000000", 1, 5).await;
}

async fn p5_resends_do_not_extend_a_code(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let first = apis[0].otp(&phone).await.expect(202).text("expires_at");
    let code = apis[0].code(&phone, 1).await;
    for n in 2..=6 {
        let again = apis[n % 2].otp(&phone).await.expect(202);
        assert_eq!(again.text("expires_at"), first);
        assert_eq!(apis[0].code(&phone, n).await, code);
    }
}

async fn p4_an_exhausted_code_stops_requests_and_a_missing_one_does_not(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let (asked, never) = (new_phone(), new_phone());
    let code = apis[0].fresh_code(&asked).await;
    mark_exhausted(&apis[1], &asked, &code, 5, 5).await;
    mark_exhausted(&apis[1], &never, &code, 5, 5).await;
    let mut waits = Vec::new();
    for phone in [&asked, &never] {
        let refused = attempt(&apis[0], phone, &code).await.problem(429, "otp_attempts_exhausted");
        waits.push(refused["retry_after"].as_u64().unwrap());
    }
    assert!(waits.iter().all(|wait| (290..=300).contains(wait)), "{waits:?}");
    apis[0].otp(&asked).await.problem(429, "otp_attempts_exhausted");
    apis[1].signup(&asked, "A", "B").await.problem(429, "otp_attempts_exhausted");
    let fresh = apis[0].fresh_code(&never).await;
    mark_exhausted(&apis[0], &never, &fresh, 1, 5).await;
    attempt(&apis[1], &never, &fresh).await.expect(200);
}

/// Makes the store lose everything: flushes Redis, or restarts the embedded process.
async fn lose_the_store(system: &mut System) {
    match &system.engines {
        Some(engines) => {
            let mut redis = super::redis(&engines.redis_url).await;
            redis::cmd("FLUSHDB").query_async::<()>(&mut redis).await.unwrap();
        }
        None => system.processes[0].restart().await,
    }
}

async fn p4_ten_failures_in_a_row_cause_a_wait(side: Side) {
    let mut system = system(side, &[]).await;
    let phone = new_phone();
    let code = system.api().fresh_code(&phone).await;
    mark_exhausted(&system.api(), &phone, &code, 5, 5).await;
    let spent = attempt(&system.api(), &phone, &code).await;
    spent.problem(429, "otp_attempts_exhausted");
    // Losing the store gives a new code, but the phone's failures stay counted.
    lose_the_store(&mut system).await;
    let code = system.api().fresh_code(&phone).await;
    mark_exhausted(&system.api(), &phone, &code, 5, 5).await;
    // Both the exhausted code and the wait apply: the one that ends later answers.
    let refused = attempt(&system.api(), &phone, &code).await;
    let wait = refused.problem(429, "otp_attempts_exhausted")["retry_after"].as_u64().unwrap();
    assert!(wait > 250, "{wait}");
    lose_the_store(&mut system).await;
    let code = system.api().fresh_code(&phone).await;
    for (what, otp) in [("right", code.clone()), ("wrong", wrong(&code, 1)), ("right", code)] {
        let refused = attempt(&system.api(), &phone, &otp).await.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "guesses", "{what}");
        let wait = refused["retry_after"].as_u64().unwrap();
        assert!((10..=30).contains(&wait), "{what}: {wait}");
    }
    let asked = system.api().otp(&phone).await;
    asked.expect(202);
}

async fn p4_a_locked_phone_admits_its_own_device_and_staff_can_unlock_it(side: Side) {
    let settings = [
        ("LATCHKEY_OTP_ATTEMPTS", "10"),
        ("LATCHKEY_OTP_MAX_FAILURES", "10"),
        ("LATCHKEY_FAILURE_RESET_SECS", "0"),
    ];
    let system = system(side, &settings).await;
    let apis = both(&system);
    let phone = new_phone();
    let device = apis[0].sign_in(&phone).await["device_token"].as_str().unwrap().to_owned();
    let stranger = apis[0].sign_in(&new_phone()).await["device_token"].as_str().unwrap().to_owned();
    let with = async |api: &Api, otp: &str, token: &str| {
        let body = json!({ "phone_number": phone, "otp": otp, "device_token": token });
        api.post("/v1/login", body).await
    };

    // Strangers have nine of the ten attempts; the tenth is reserved for the owner.
    let code = apis[0].fresh_code(&phone).await;
    mark_exhausted(&apis[1], &phone, &code, 9, 10).await;
    for token in ["", "dt1.forged", &stranger] {
        let refused = with(&apis[0], &code, token).await.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "guesses");
        assert!(!refused.contains_key("retry_after"), "time does not open it: {refused:?}");
    }
    apis[0].otp(&phone).await.expect(202);
    with(&apis[1], &code, &device).await.expect(200);

    // Beyond its own ten failures the device is as anybody, until staff unlock the phone.
    let code = apis[0].fresh_code(&phone).await;
    mark_exhausted(&apis[1], &phone, &code, 9, 10).await;
    for n in 1..=10 {
        let refused = with(&apis[n % 2], &wrong(&code, n as u64), &device).await;
        assert_eq!(refused.problem(401, "otp_incorrect")["attempts_left"], 10 - n);
    }
    let refused = with(&apis[0], &code, &device).await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "guesses");
    system.run(&["users", "unlock", &phone]);
    // The code's own count stays: one of its ten attempts is left.
    with(&apis[0], &wrong(&code, 10), &device).await.problem(401, "otp_incorrect");
    with(&apis[0], &code, &device).await.problem(429, "otp_attempts_exhausted");
}

/// What strangers do to codes, and to passwords, keeps no known device out.
async fn f04_a_known_device_signs_in_by_code_and_password_whatever_strangers_failed(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let session = apis[0].sign_in(&phone).await;
    let (access, device) =
        (session["access"].as_str().unwrap(), session["device_token"].as_str().unwrap());
    let password = "vq7 blue kite 9 over the lake";
    let body = Some(json!({ "password": password }));
    apis[0].signed_in(Method::PUT, "/v1/me/password", access, body).await.expect(204);
    let token = async |api: &Api, password: &str, device: Option<&str>| {
        let mut body = json!({ "phone_number": phone, "password": password });
        if let Some(device) = device {
            body["device_token"] = device.into();
        }
        api.post("/v1/token", body).await
    };
    let login = async |api: &Api, otp: &str| {
        let body = json!({ "phone_number": phone, "otp": otp, "device_token": device });
        api.post("/v1/login", body).await
    };
    // The code is exhausted; its owner is not.
    let code = apis[0].fresh_code(&phone).await;
    mark_exhausted(&apis[1], &phone, &code, 5, 5).await;
    spent_until_its_expiry(attempt(&apis[0], &phone, &code).await);
    let refused = login(&apis[0], &wrong(&code, 6)).await.problem(401, "otp_incorrect");
    assert_eq!(refused["attempts_left"], 4);
    login(&apis[1], &code).await.expect(200);
    // Everybody waits, but for the owner: at passwords as well.
    for n in 0..10 {
        token(&apis[n % 2], "a wrong password", None).await.problem(401, "invalid_credentials");
    }
    for stranger in [None, Some(""), Some("dt2.forged")] {
        let refused = token(&apis[0], password, stranger).await.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "guesses");
    }
    token(&apis[0], "my wrong password", Some(device)).await.problem(401, "invalid_credentials");
    token(&apis[1], password, Some(device)).await.expect(200);
    // Its success ends the wait for all. Ten failures of the device's own in a day, and it is as anybody.
    for n in 0..9 {
        let refused = token(&apis[n % 2], "a wrong password", Some(device)).await;
        refused.problem(401, "invalid_credentials");
    }
    token(&apis[0], "a wrong password", None).await.problem(401, "invalid_credentials");
    token(&apis[0], password, Some(device)).await.problem(429, "too_many_requests");
}

async fn f13_a_refused_attempt_leaves_a_line_and_a_metric(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let code = api.fresh_code(&phone).await;
    mark_exhausted(&api, &phone, &code, 5, 5).await;
    attempt(&api, &phone, &code).await.problem(429, "otp_attempts_exhausted");
    let body = json!({ "phone_number": phone, "password": "a wrong password" });
    api.post("/v1/token", body).await.problem(401, "invalid_credentials");
    let lines = testkit::eventually("the lines of seven attempts", testkit::PATIENCE, async || {
        let output = system.output();
        let lines: Vec<String> = output
            .lines()
            .filter(|line| line.contains("attempt refused"))
            .map(str::to_owned)
            .collect();
        (lines.len() >= 7).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 7);
    for (kind, outcome, expected) in
        [("code", "wrong", 5), ("code", "exhausted", 1), ("password", "wrong", 1)]
    {
        let said = format!("\"kind\":\"{kind}\",\"outcome\":\"{outcome}\"");
        let found = lines.iter().filter(|line| line.contains(&said));
        assert_eq!(found.count(), expected, "{said} in {lines:?}");
    }
    assert!(lines.iter().all(|line| line.contains("127.0.0") && !line.contains(&phone[3..])));
    let ops = Api::new(&system.processes[0].ops_url);
    let metrics = ops.get("/metrics").await.expect(200);
    let metrics = metrics.body.as_str().unwrap_or_default().to_owned();
    for (kind, outcome, count) in
        [("code", "wrong", 5), ("code", "exhausted", 1), ("password", "wrong", 1)]
    {
        let name = "latchkey_attempts_refused_total";
        let line = format!("{name}{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is missing in {metrics}");
    }
}

async fn f04_attempts_that_name_a_foreign_request_cost_the_owner_nothing(side: Side) {
    let system = system(side, &[("LATCHKEY_STRICT_BINDING", "true")]).await;
    let apis = both(&system);
    let (phone, nobody) = (new_phone(), new_phone());
    let mine = apis[0].otp(&phone).await.expect(202).text("request_id");
    let code = apis[0].code(&phone, 1).await;
    let theirs = apis[0].otp(&new_phone()).await.expect(202).text("request_id");
    // Far more than the code and the phone could bear; a phone without a code is answered alike.
    for n in 0..24 {
        let named = [theirs.as_str(), "018f4e7a-0000-7000-8000-000000000000"][n % 2];
        let otp = if n < 4 { code.clone() } else { wrong(&code, n as u64) };
        for phone in [&phone, &nobody] {
            let refused = apis[n % 2].login_for(phone, &otp, named).await;
            assert_eq!(refused.problem(401, "otp_incorrect")["attempts_left"], 5);
        }
    }
    apis[1].otp(&phone).await.expect(202);
    apis[1].login_for(&phone, &code, &mine).await.expect(200);
}

async fn p3_with_strict_binding_only_the_original_request_signs_in(side: Side) {
    let system = system(side, &[("LATCHKEY_STRICT_BINDING", "true")]).await;
    let apis = both(&system);
    let (phone, other) = (new_phone(), new_phone());
    let mine = apis[0].otp(&phone).await.expect(202).text("request_id");
    let code = apis[0].code(&phone, 1).await;
    let theirs = apis[0].otp(&other).await.expect(202).text("request_id");
    let refused = attempt(&apis[0], &phone, &code).await.problem(400, "invalid_request");
    assert_eq!(refused["errors"][0]["field"], "request_id");
    for named in [theirs.as_str(), "018f4e7a-0000-7000-8000-000000000000"] {
        apis[1].login_for(&phone, &code, named).await.problem(401, "otp_incorrect");
    }
    let resend = apis[1].otp(&phone).await.expect(202).text("request_id");
    assert_ne!(resend, mine);
    apis[1].login_for(&phone, &code, &mine).await.expect(200);
    apis[0].login_for(&phone, &code, &resend).await.problem(401, "otp_incorrect");
}

async fn p4_a_guessable_key_gives_no_free_attempts(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = &new_phone();
    let code = &apis[0].fresh_code(phone).await;
    let login = async |api: &Api, otp: &str| {
        let body = json!({ "phone_number": phone, "otp": otp });
        api.post_with("/v1/login", body, &[("idempotency-key", "1")]).await
    };
    let first = login(&apis[0], code).await.expect(200);
    // Its owner may repeat the login any number of times, also in parallel.
    for repeated in join_all((0..10).map(|n| login(&apis[n % 2], code))).await {
        assert_eq!(repeated.expect(200).body["user"], first.body["user"]);
    }
    let mut statuses = BTreeMap::<u16, usize>::new();
    for n in 1..=20 {
        let answer = login(&apis[usize::from(n % 2 == 0)], &wrong(code, n)).await;
        *statuses.entry(answer.status).or_default() += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(422, 4), (429, 16)]));
}

async fn f22_a_guessed_key_takes_no_repetition_from_a_known_device(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = &new_phone();
    let device = apis[0].sign_in(phone).await["device_token"].clone();
    let code = &apis[0].fresh_code(phone).await;
    let login = async |api: &Api, body: Value| {
        api.post_with("/v1/login", body, &[("idempotency-key", "1")]).await
    };
    let own = json!({ "phone_number": phone, "otp": code, "device_token": device });
    let first = login(&apis[0], own.clone()).await.expect(200);
    for n in 1..=6 {
        let attempt = json!({ "phone_number": phone, "otp": wrong(code, n) });
        let refused = login(&apis[1], attempt).await.status;
        assert_eq!(refused, if n <= 5 { 422 } else { 429 }, "{n}");
    }
    let again = login(&apis[1], own).await.expect(200);
    assert_eq!(again.body["device_token"], first.body["device_token"], "the same sign-in");
}

async fn p6_attempts_left_do_not_reveal_that_the_code_was_used(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    mark_exhausted(&apis[1], &phone, &code, 2, 5).await;
    attempt(&apis[0], &phone, &code).await.expect(200);
    // A stranger with three attempts left still has three.
    for left in [2, 1, 0] {
        let refused = attempt(&apis[1], &phone, &wrong(&code, 9)).await;
        assert_eq!(refused.problem(401, "otp_incorrect")["attempts_left"], left);
    }
    attempt(&apis[1], &phone, &code).await.problem(429, "otp_attempts_exhausted");
    // That does not stop the owner.
    apis[0].sign_in(&phone).await;
}

async fn p4_attempts_of_a_client_that_hangs_up_are_still_counted(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    for n in 1..=30 {
        let body = json!({ "phone_number": phone, "otp": wrong(&code, n) });
        let hangs_up = apis[0].post("/v1/login", body);
        let _ = tokio::time::timeout(Duration::from_millis(2), hangs_up).await;
    }
    let spent = testkit::eventually("all attempts exhausted", testkit::PATIENCE, {
        async || {
            let refused = attempt(&apis[1], &phone, &wrong(&code, 99)).await;
            (refused.status == 429).then_some(refused)
        }
    });
    let refused = spent.await;
    assert!(
        ["otp_attempts_exhausted", "too_many_requests"].contains(&refused.text("code").as_str())
    );
    assert_ne!(attempt(&apis[1], &phone, &code).await.status, 200);
}

mod on_the_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p4_a_restored_redis_gives_back_no_attempt() {
        let system = system(Side::Engines, &[]).await;
        let apis = both(&system);
        // The right code first, or a wrong one: the answer must not reveal which it was.
        for right_first in [true, false] {
            let phone = new_phone();
            let code = apis[0].fresh_code(&phone).await;
            let kept = kept_codes(&system).await;
            mark_exhausted(&apis[0], &phone, &code, 5, 5).await;
            // The dump holds the code and no attempt. The database knows that the code is exhausted: until its expiry
            // every attempt and every request gets that answer (contract, rulings 3 and 28).
            restore_codes(&system, &kept).await;
            let others = [wrong(&code, 6), code.clone()];
            for otp in others.iter().cycle().skip(usize::from(right_first)).take(5) {
                for api in &apis {
                    spent_until_its_expiry(attempt(api, &phone, otp).await);
                }
            }
            spent_until_its_expiry(apis[0].otp(&phone).await);
            spent_until_its_expiry(apis[1].signup(&phone, "A", "B").await);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p4_the_last_attempt_on_a_restored_redis_stops_requests() {
        let system = system(Side::Engines, &[]).await;
        let apis = both(&system);
        let phone = new_phone();
        let code = apis[0].fresh_code(&phone).await;
        let kept = kept_codes(&system).await;
        mark_exhausted(&apis[0], &phone, &code, 4, 5).await;
        // Redis has lost all attempts; the database counts the fifth.
        restore_codes(&system, &kept).await;
        let last = attempt(&apis[1], &phone, &wrong(&code, 5)).await.problem(401, "otp_incorrect");
        assert_eq!(last["attempts_left"], 0);
        // No text is sent with a code that would be refused.
        spent_until_its_expiry(apis[0].otp(&phone).await);
        spent_until_its_expiry(apis[1].signup(&phone, "A", "B").await);
        spent_until_its_expiry(attempt(&apis[0], &phone, &code).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f04_a_restored_redis_gives_a_known_device_no_attempt_back() {
        let system = system(Side::Engines, &[]).await;
        let apis = both(&system);
        let phone = new_phone();
        let device = apis[0].sign_in(&phone).await["device_token"].as_str().unwrap().to_owned();
        let login = async |api: &Api, otp: &str| {
            let body = json!({ "phone_number": phone, "otp": otp, "device_token": device });
            api.post("/v1/login", body).await
        };
        let code = apis[0].fresh_code(&phone).await;
        let kept = kept_codes(&system).await;
        for n in 1..=5 {
            login(&apis[0], &wrong(&code, n)).await.problem(401, "otp_incorrect");
        }
        restore_codes(&system, &kept).await;
        for otp in [&code, &wrong(&code, 6), &code] {
            for api in &apis {
                spent_until_its_expiry(login(api, otp).await);
            }
        }
        // Everybody else's attempts are left: five, as if the device had made none.
        mark_exhausted(&apis[1], &phone, &code, 4, 5).await;
        attempt(&apis[1], &phone, &code).await.expect(200);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p10_a_dump_of_redis_signs_nobody_in() {
        let system = system(Side::Engines, &[("LATCHKEY_OTP_LENGTH", "10")]).await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        let mut redis = super::super::redis(&system.engines.as_ref().unwrap().redis_url).await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
        assert!(!keys.is_empty());
        for key in keys {
            let dump: Option<Vec<u8>> =
                redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.unwrap();
            let dump = dump.unwrap_or_default();
            for secret in [code.as_str(), &phone[1..], &phone[3..]] {
                assert!(!key.contains(secret), "{key}");
                assert!(!dump.windows(secret.len()).any(|part| part == secret.as_bytes()), "{key}");
            }
        }
    }
}

/// Dumps everything in the test's Redis; embedded, nothing, because no backup exists.
async fn kept_codes(system: &System) -> Vec<(String, Vec<u8>)> {
    let Some(engines) = &system.engines else { return Vec::new() };
    let mut redis = super::redis(&engines.redis_url).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    let mut kept = Vec::new();
    for key in keys {
        let dump: Option<Vec<u8>> =
            redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.unwrap();
        // It may have expired since.
        kept.extend(dump.map(|dump| (key, dump)));
    }
    kept
}

async fn restore_codes(system: &System, kept: &[(String, Vec<u8>)]) {
    let Some(engines) = &system.engines else { return };
    let mut redis = super::redis(&engines.redis_url).await;
    redis::cmd("FLUSHDB").query_async::<()>(&mut redis).await.unwrap();
    for (key, dump) in kept {
        let mut restore = redis::cmd("RESTORE");
        // A worker may have written the key since the flush: what was kept wins.
        restore.arg(key).arg(300_000).arg(dump).arg("REPLACE");
        restore.query_async::<()>(&mut redis).await.unwrap();
    }
}
