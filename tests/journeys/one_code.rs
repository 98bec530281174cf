//! One code per phone, one success per code, five attempts per code, whatever the concurrency and the gateway.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde_json::{Value, json};

use super::Place;
use crate::accounts::in_process::InProcessLatchkey;
use crate::attacks::at_once::{an_exact_round, counted};
use crate::everywhere;
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone, once, wrong};
use testkit::system::Side;

everywhere!(
    p5_ten_resends_are_ten_texts_with_one_code,
    p5_ten_resends_at_once_are_ten_texts_with_one_code,
    p3_of_50_parallel_logins_with_the_right_code_one_signs_in,
    p4_of_200_parallel_wrong_codes_five_are_checked,
    p4_the_fifth_attempt_is_accepted_if_it_is_right,
    p4_a_resend_gives_no_attempt_back,
    p3_a_code_works_for_its_own_phone_only,
);

/// Runs all calls at once, spread over the gateways.
async fn at_once<F>(apis: &[Api], count: usize, call: impl Fn(Api, usize) -> F) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let tasks = (0..count).map(|i| tokio::spawn(once(call(apis[i % apis.len()].clone(), i))));
    join_all(tasks).await.into_iter().map(|answer| answer.expect("a call ends")).collect()
}

both_sides!(p5_the_text_of_a_resend_states_the_time_left);

async fn p5_the_text_of_a_resend_states_the_time_left(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let (api, phone) = (latchkey.api(), new_phone());
    let code = api.fresh_code(&phone).await;
    latchkey.advance(130);
    assert_eq!(api.fresh_code(&phone).await, code);
    let mut told: Vec<_> = api.messages(&phone).await.iter().map(numbers).collect();
    told.sort();
    assert_eq!(told, [[code.clone(), "2".to_owned()], [code, "5".to_owned()]]);
}

/// The numbers in a text, in order.
fn numbers(message: &Value) -> Vec<String> {
    let text = message["text"].as_str().unwrap();
    let digits = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    digits.map(str::to_owned).collect()
}

fn with_status(answers: &[Answer], status: u16) -> Vec<&Answer> {
    answers.iter().filter(|answer| answer.status == status).collect()
}

/// Waits for one text per request and asserts that all texts have one code; returns it.
async fn one_code(api: &Api, phone: &str, requests: &BTreeSet<String>) -> String {
    let code = api.code(phone, requests.len()).await;
    let messages = api.messages(phone).await;
    assert_eq!(messages.len(), requests.len());
    let texted: BTreeSet<String> =
        messages.iter().map(|one| one["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(&texted, requests, "each request has its own text");
    assert!(messages.iter().all(|one| one["code"] == json!(code)), "{messages:?}");
    code
}

async fn p5_ten_resends_are_ten_texts_with_one_code(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let phone = new_phone();
    let mut answers = Vec::new();
    for i in 0..10 {
        answers.push(apis[i % apis.len()].otp(&phone).await.expect(202));
    }
    let expiries: BTreeSet<_> = answers.iter().map(|answer| answer.text("expires_at")).collect();
    assert_eq!(expiries.len(), 1, "a resend does not extend the code");
    let requests: BTreeSet<_> = answers.iter().map(|answer| answer.text("request_id")).collect();
    assert_eq!(requests.len(), 10);
    let code = one_code(&apis[0], &phone, &requests).await;
    let first = answers[0].text("request_id");
    apis[0].login_for(&phone, &code, &first).await.expect(200);
    for api in &apis {
        api.login(&phone, &code).await.problem(401, "otp_incorrect");
    }
}

async fn p5_ten_resends_at_once_are_ten_texts_with_one_code(place: Place) {
    let (system, apis) = place.open(&[]).await;
    an_exact_round(&system, async || {
        let phone = new_phone();
        let asked = phone.clone();
        let answers = at_once(&apis, 10, move |api, _| {
            let phone = asked.clone();
            async move { api.otp(&phone).await }
        })
        .await;
        let statuses = counted(&answers);
        if !statuses.contains_key(&503) {
            assert_eq!(statuses, BTreeMap::from([(202, 10)]));
            let requests = answers.iter().map(|answer| answer.text("request_id")).collect();
            let code = one_code(&apis[0], &phone, &requests).await;
            apis[0].login(&phone, &code).await.expect(200);
        }
        statuses
    })
    .await;
}

async fn p3_of_50_parallel_logins_with_the_right_code_one_signs_in(place: Place) {
    let (system, apis) = place.open(&[]).await;
    let round = async || {
        let phone = new_phone();
        let code = apis[0].fresh_code(&phone).await;
        let of = phone.clone();
        let answers = at_once(&apis, 50, move |api, _| {
            let (phone, code) = (of.clone(), code.clone());
            async move { api.login(&phone, &code).await }
        })
        .await;
        let signed_in = with_status(&answers, 200);
        assert!(signed_in.len() <= 1);
        let statuses = counted(&answers);
        if !statuses.contains_key(&503) {
            assert_eq!(signed_in.len(), 1);
            let refused = with_status(&answers, 401).len() + with_status(&answers, 429).len();
            assert_eq!(refused, 49);
            let (method, access) = (reqwest::Method::GET, signed_in[0].text("access"));
            let sessions = apis[0].signed_in(method, "/v1/me/sessions", &access, None);
            assert_eq!(sessions.await.expect(200).body.as_array().unwrap().len(), 1);
        }
        statuses
    };
    for _ in 0..3 {
        an_exact_round(&system, round).await;
    }
}

async fn p4_of_200_parallel_wrong_codes_five_are_checked(place: Place) {
    let (system, apis) = place.open(&[]).await;
    an_exact_round(&system, async || {
        let phone = new_phone();
        let code = apis[0].fresh_code(&phone).await;
        let (of, right) = (phone.clone(), code.clone());
        let answers = at_once(&apis, 200, move |api, i| {
            let (phone, attempt) = (of.clone(), wrong(&right, i as u64 + 1));
            async move { api.login(&phone, &attempt).await }
        })
        .await;
        let judged = with_status(&answers, 401);
        let left: BTreeSet<u64> = judged
            .iter()
            .map(|answer| (*answer).clone().problem(401, "otp_incorrect")["attempts_left"].as_u64())
            .map(Option::unwrap)
            .collect();
        // The answer is the lower of two counts: concurrent attempts may get the same number, but never one too high.
        assert!(judged.len() <= 5 && left.iter().all(|left| *left <= 4), "{left:?}");
        for answer in with_status(&answers, 429) {
            let problem = answer.clone().problem(429, "otp_attempts_exhausted");
            assert!((1..=300).contains(&problem["retry_after"].as_u64().unwrap()));
        }
        let statuses = counted(&answers);
        if !statuses.contains_key(&503) {
            assert_eq!(statuses, BTreeMap::from([(401, 5), (429, 195)]));
            assert!(left.contains(&0), "{left:?}");
            for api in &apis {
                api.login(&phone, &code).await.problem(429, "otp_attempts_exhausted");
                api.otp(&phone).await.problem(429, "otp_attempts_exhausted");
            }
        }
        statuses
    })
    .await;
}

async fn p4_the_fifth_attempt_is_accepted_if_it_is_right(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    for i in 1..=4 {
        let api = &apis[i % apis.len()];
        let problem = api.login(&phone, &wrong(&code, i as u64)).await;
        let problem = problem.problem(401, "otp_incorrect");
        assert_eq!(problem["attempts_left"], 5 - i);
    }
    apis[0].login(&phone, &code).await.expect(200);
}

async fn p4_a_resend_gives_no_attempt_back(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    for i in 1..=5 {
        let api = &apis[i % apis.len()];
        let problem = api.login(&phone, &wrong(&code, i as u64)).await;
        assert_eq!(problem.problem(401, "otp_incorrect")["attempts_left"], 5 - i);
        if i < 5 {
            assert_eq!(api.fresh_code(&phone).await, code);
        }
    }
    apis[0].login(&phone, &code).await.problem(429, "otp_attempts_exhausted");
}

async fn p3_a_code_works_for_its_own_phone_only(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let (phone, other) = (new_phone(), new_phone());
    let code = apis[0].fresh_code(&phone).await;
    let others = apis[0].fresh_code(&other).await;
    if code != others {
        apis[0].login(&other, &code).await.problem(401, "otp_incorrect");
    }
    apis[0].login(&phone, &code).await.expect(200);
}
