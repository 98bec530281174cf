//! Ways to learn who has an account (P6).

use std::collections::{BTreeMap, BTreeSet};

use domain::vocabulary::Status;
use reqwest::Method;
use serde_json::{Value, json};

use super::{both, system};
use crate::accounts::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, once, wrong};
use testkit::system::{Side, System};

both_sides!(
    p6_known_unknown_blocked_and_deleted_phones_are_answered_alike,
    p6_a_blocked_account_is_reported_only_with_its_code,
    p6_in_silent_mode_a_request_reveals_nothing,
    p6_in_silent_mode_progress_is_told_when_a_text_would_be_on_its_way,
    p6_a_requester_does_not_learn_that_another_signed_in,
    f09_the_wait_for_the_next_code_does_not_tell_that_another_signed_in,
    f09_a_sign_in_that_names_no_request_shortens_no_strangers_wait,
    f10_a_name_is_planted_on_no_other_persons_number,
    f10_a_language_is_planted_on_no_other_persons_number,
);

/// An answer without the parts that differ by chance or by phone number.
fn shape(answer: &Answer, phone: &str) -> (u16, BTreeSet<String>, String) {
    let headers = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
    let mut body = answer.body.clone();
    if let Value::Object(members) = &mut body {
        for member in ["request_id", "expires_at", "updated_at"] {
            if let Some(value) = members.get_mut(member) {
                *value = "…".into();
            }
        }
    }
    (answer.status, headers, body.to_string().replace(phone, "…"))
}

/// One phone of each kind.
async fn phones(system: &System) -> [(&'static str, String); 4] {
    let api = system.api();
    let (known, blocked, deleted) = (new_phone(), new_phone(), new_phone());
    for phone in [&known, &blocked] {
        api.sign_in(phone).await;
    }
    system.run(&["users", "block", &blocked, "--reason", "test", "--yes"]);
    let access = api.sign_in(&deleted).await["access"].as_str().unwrap().to_owned();
    api.signed_in(Method::DELETE, "/v1/me", &access, None).await.expect(204);
    [("known", known), ("unknown", new_phone()), ("blocked", blocked), ("deleted", deleted)]
}

/// Makes the body of a call for a phone.
type Body = fn(&str) -> Value;

/// What tells the answers to one call for each of these phones apart: one shape if nothing does. `None` if an engine was
/// too slow for one of them: what was counted before its 503 would show in the answer to a repetition.
async fn shapes(
    phones: &[(&'static str, String); 4],
    mut call: impl AsyncFnMut(&str) -> Answer,
) -> Option<BTreeSet<(u16, BTreeSet<String>, String)>> {
    let mut shapes = BTreeSet::new();
    for (_, phone) in phones {
        let answer = once(call(phone)).await;
        if answer.status == 503 {
            return None;
        }
        shapes.insert(shape(&answer, phone));
    }
    Some(shapes)
}

/// Fails if one of the calls tells the phones apart; `None` if an engine was too slow for an answer.
async fn answered_alike(system: &System) -> Option<()> {
    let [api, other] = both(system);
    let phones = phones(system).await;
    let calls: [(&str, Body); 5] = [
        ("/v1/login", |phone| json!({ "phone_number": phone, "otp": "000000" })),
        ("/v1/otp", |phone| json!({ "phone_number": phone })),
        (
            "/v1/signup",
            |phone| json!({ "phone_number": phone, "first_name": "A", "last_name": "B" }),
        ),
        ("/v1/token", |phone| json!({ "phone_number": phone, "password": "not it, whoever" })),
        ("/v1/otp", |phone| json!({ "phone_number": phone, "device_token": "dt1.none" })),
    ];
    for (path, body) in calls {
        let shapes = shapes(&phones, async |phone| api.post(path, body(phone)).await).await?;
        assert_eq!(shapes.len(), 1, "{path}: {shapes:#?}");
    }
    let mut codes = BTreeMap::new();
    for (_, phone) in &phones {
        let code = eventually("the newest code", testkit::PATIENCE, async || {
            let messages = api.messages(phone).await;
            messages.first().and_then(|m| m["code"].as_str().map(str::to_owned))
        });
        codes.insert(phone.clone(), code.await);
    }
    let failed = async |phone: &str| other.login(phone, &wrong(&codes[phone], 1)).await;
    let shapes = shapes(&phones, failed).await?;
    assert_eq!(shapes.len(), 1, "failed attempts at a live code: {shapes:#?}");
    Some(())
}

async fn p6_known_unknown_blocked_and_deleted_phones_are_answered_alike(side: Side) {
    let system = system(side, &[]).await;
    eventually("answers without a 503", 3 * testkit::PATIENCE, async || {
        answered_alike(&system).await
    })
    .await;
}

async fn p6_a_blocked_account_is_reported_only_with_its_code(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    api.sign_in(&phone).await;
    system.run(&["users", "block", &phone, "--reason", "test", "--yes"]);
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    api.login(&phone, &code).await.problem(403, "account_blocked");
    api.login(&phone, &code).await.problem(401, "otp_incorrect");
}

/// The status of a request and the time of its last change.
async fn told(api: &Api, request: &str) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let status = api.status(request).await.expect(200);
    told.push((status.text("status"), status.text("updated_at")));
    told
}

async fn p6_in_silent_mode_a_request_reveals_nothing(side: Side) {
    let system = system(side, &[("LATCHKEY_UNKNOWN_PHONE", "silent")]).await;
    let [api, other] = both(&system);
    let (known, unknown) = (new_phone(), new_phone());
    api.signup(&known, "Known", "Here").await.expect(202);
    let code = api.code(&known, 1).await;
    api.login(&known, &code).await.expect(200);

    let mut seen = Vec::new();
    for phone in [&known, &unknown] {
        let request = api.otp(phone).await.expect(202).text("request_id");
        let stream = super::streams::Stream::open(&other.url, &request, None).await;
        let statuses = stream.read_to_end(testkit::PATIENCE).await;
        // The stream ends by itself for both, at the same status.
        let steps: Vec<_> =
            statuses.iter().map(|event| event["status"].as_str().unwrap()).collect();
        assert_eq!(steps.last(), Some(&"sent"), "{statuses:?}");
        assert!(steps.iter().all(|step| ["accepted", "sent"].contains(step)), "{steps:?}");
        let before = told(&api, &request).await;
        if *phone == known {
            let code = api.code(&known, 2).await;
            api.login(&known, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
            api.login_for(&known, &code, &request).await.expect(200);
        } else {
            api.login(&unknown, "000000").await.problem(401, "otp_incorrect");
            assert!(api.messages(&unknown).await.is_empty());
        }
        assert_eq!(told(&other, &request).await, before, "neither status nor time moved");
        seen.push(shape(&api.status(&request).await, phone));
    }
    assert_eq!(seen[0], seen[1]);
    // A request for an unknown phone behaves as if it left a live code: exhausting it stops further requests.
    let unknown = new_phone();
    api.otp(&unknown).await.expect(202);
    for left in (0..5).rev() {
        let refused = other.login(&unknown, "000000").await.problem(401, "otp_incorrect");
        assert_eq!(refused["attempts_left"], left);
    }
    api.otp(&unknown).await.problem(429, "otp_attempts_exhausted");
}

/// The work for a text slows down what runs beside it, so nothing is told meanwhile.
async fn p6_in_silent_mode_progress_is_told_when_a_text_would_be_on_its_way(side: Side) {
    let settings = [("LATCHKEY_UNKNOWN_PHONE", "silent")];
    let latchkey = InProcessLatchkey::start_with(side, 1, &settings).await;
    let (api, known, unknown) = (latchkey.api(), new_phone(), new_phone());
    api.signup(&known, "Known", "Here").await.expect(202);
    let code = api.code(&known, 1).await;
    api.login(&known, &code).await.expect(200);

    let mut streams = Vec::new();
    for phone in [&unknown, &known] {
        let request = api.otp(phone).await.expect(202).text("request_id");
        let mut stream = super::streams::Stream::open(&api.url, &request, None).await;
        stream.until("accepted").await;
        streams.push(stream);
        let parsed = request.parse().unwrap();
        eventually("its processing", testkit::PATIENCE, async || {
            let found = latchkey.engines.store.statuses().get(parsed).await.unwrap().unwrap();
            (found.status != Status::Accepted).then_some(())
        })
        .await;
        assert_eq!(told(&api, &request).await[0].0, "accepted");
    }
    latchkey.advance(1);
    for stream in streams {
        let events = stream.read_to_end(testkit::PATIENCE).await;
        let told: Vec<_> = events.iter().map(|event| event["status"].as_str().unwrap()).collect();
        assert_eq!(told, ["accepted", "sent"]);
    }
}

async fn p6_a_requester_does_not_learn_that_another_signed_in(side: Side) {
    let system = system(side, &[]).await;
    let [api, other] = both(&system);
    let phone = new_phone();
    let owners = api.otp(&phone).await.expect(202).text("request_id");
    let code = api.code(&phone, 1).await;
    let strangers = other.otp(&phone).await.expect(202).text("request_id");
    api.code(&phone, 2).await;
    api.login_for(&phone, &code, &owners).await.expect(200);
    assert_eq!(api.status(&owners).await.text("status"), "verified");
    let status = other.status(&strangers).await.text("status");
    assert!(["issued", "sending", "sent", "delivered"].contains(&status.as_str()), "{status}");
}

async fn f09_the_wait_for_the_next_code_does_not_tell_that_another_signed_in(side: Side) {
    let settings =
        [("LATCHKEY_RESEND_COOLDOWN_SECS", "30"), ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let latchkey = InProcessLatchkey::start_with(side, 1, &settings).await;
    let api = latchkey.api();
    // What a stranger is told, and what the owner is told after a sign-in.
    let mut told = Vec::new();
    for signs_in in [false, true] {
        let phone = new_phone();
        let ask = async |address: &str| {
            let body = json!({ "phone_number": phone });
            let answer = api.post_with("/v1/otp", body, &[("x-forwarded-for", address)]).await;
            let answer = answer.expect(202);
            let wait = answer.body["resend_in"].as_u64().unwrap();
            latchkey.advance(wait);
            (wait, answer.text("request_id"))
        };
        let mut waits = vec![ask("192.0.2.1").await.0];
        let owners = ask("198.51.100.1").await.1;
        let code = api.code(&phone, 2).await;
        if signs_in {
            api.login_for(&phone, &code, &owners).await.expect(200);
        }
        waits.extend([ask("192.0.2.1").await.0, ask("192.0.2.1").await.0]);
        told.push(waits);
        if signs_in {
            assert_eq!(ask("198.51.100.1").await.0, 120, "two others asked since");
        }
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], [30, 120, 240]);
}

/// The newest request is the stranger's: it becomes `verified`, but its asker is not the one who signed in.
async fn f09_a_sign_in_that_names_no_request_shortens_no_strangers_wait(side: Side) {
    let settings =
        [("LATCHKEY_RESEND_COOLDOWN_SECS", "30"), ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let latchkey = InProcessLatchkey::start_with(side, 1, &settings).await;
    let (api, phone) = (latchkey.api(), new_phone());
    let from = async |address: &str, path: &str, body: Value| {
        api.post_with(path, body, &[("x-forwarded-for", address)]).await
    };
    let ask = async |address: &str| {
        let answer = from(address, "/v1/otp", json!({ "phone_number": phone })).await.expect(202);
        let wait = answer.body["resend_in"].as_u64().unwrap();
        latchkey.advance(wait);
        wait
    };
    assert_eq!((ask("198.51.100.1").await, ask("192.0.2.1").await), (30, 60));
    let login = json!({ "phone_number": phone, "otp": api.code(&phone, 2).await });
    from("198.51.100.1", "/v1/login", login).await.expect(200);
    assert_eq!(ask("192.0.2.1").await, 120, "as if nobody had signed in");
    assert_eq!(ask("198.51.100.1").await, 60, "one stranger asked since");
}

async fn f10_a_name_is_planted_on_no_other_persons_number(side: Side) {
    let system = system(side, &[]).await;
    let [api, other] = both(&system);
    let first_name = async |phone: &str, texts: usize, request: Option<&str>| {
        let code = api.code(phone, texts).await;
        let login = match request {
            Some(request) => api.login_for(phone, &code, request).await,
            None => api.login(phone, &code).await,
        };
        login.expect(200).body["user"]["first_name"].as_str().unwrap().to_owned()
    };
    // A stranger signs the number up, before or after its owner asks for a code.
    for stranger_first in [true, false] {
        let phone = new_phone();
        for turn in [stranger_first, !stranger_first] {
            if turn {
                other.signup(&phone, "Mallory", "Planted").await.expect(202);
            } else {
                api.otp(&phone).await.expect(202);
            }
        }
        assert_eq!(first_name(&phone, 2, None).await, "");
    }
    let phone = new_phone();
    other.signup(&phone, "Mallory", "Planted").await.expect(202);
    let owners = api.signup(&phone, "Ada", "Lovelace").await.expect(202).text("request_id");
    assert_eq!(first_name(&phone, 2, Some(&owners)).await, "Ada", "what is named is meant");
    let phone = new_phone();
    for api in [&api, &other] {
        api.signup(&phone, "Ada", "Lovelace").await.expect(202);
    }
    assert_eq!(first_name(&phone, 2, None).await, "Ada", "all requests say the same");
}

async fn f10_a_language_is_planted_on_no_other_persons_number(side: Side) {
    let system = system(side, &[]).await;
    let [api, other] = both(&system);
    let ask = async |api: &Api, phone: &str, locale: Option<&str>| {
        let mut body = json!({ "phone_number": phone });
        if let Some(locale) = locale {
            body["locale"] = json!(locale);
        }
        api.post("/v1/otp", body).await.expect(202).text("request_id")
    };
    let locale = async |phone: &str, request: Option<&str>| {
        let code = api.code(phone, 2).await;
        let login = match request {
            Some(request) => api.login_for(phone, &code, request).await,
            None => api.login(phone, &code).await,
        };
        login.expect(200).body["user"]["locale"].as_str().unwrap().to_owned()
    };
    // A stranger asks for Persian, before or after the owner asks without a language or for another.
    for (first, second) in [(Some("fa"), None), (None, Some("fa")), (Some("fr"), Some("fa"))] {
        let phone = new_phone();
        ask(&other, &phone, first).await;
        ask(&api, &phone, second).await;
        assert_eq!(locale(&phone, None).await, "en");
    }
    for (mine, expected) in [(Some("fr"), "fr"), (None, "en")] {
        let phone = new_phone();
        ask(&other, &phone, Some("fa")).await;
        let owners = ask(&api, &phone, mine).await;
        assert_eq!(locale(&phone, Some(&owners)).await, expected, "what is named is meant");
    }
    let phone = new_phone();
    for api in [&api, &other] {
        ask(api, &phone, Some("fr")).await;
    }
    assert_eq!(locale(&phone, None).await, "fr", "all requests say the same");
}
