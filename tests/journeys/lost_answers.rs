//! Lost answers, and the named windows that they open: W2, W3, W4, W6.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::clock::Clock;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Barrier;

use super::{Place, claims};
use crate::accounts::in_process::InProcessLatchkey;
use crate::everywhere;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, once, wrong};
use testkit::proxy::{Fault, Proxy};
use testkit::system::Side;

everywhere!(
    w2_the_same_key_gets_the_same_request_and_one_text,
    p9_a_login_repeated_with_its_key_gives_the_same_session,
    f04_a_login_repeated_with_its_key_is_one_known_device,
    p9_logins_at_once_with_one_key_are_one_session,
    p9_a_login_with_another_device_token_is_another_body,
    p9_w3_the_last_refresh_may_be_repeated_and_an_older_one_ends_the_session,
    w4_an_ended_session_is_refused_at_once_by_us_and_within_ten_minutes_by_others,
    w6_a_login_without_a_key_whose_answer_was_lost_needs_a_new_code,
);

async fn otp_with(api: &Api, phone: &str, key: &str) -> Answer {
    api.post_with("/v1/otp", json!({ "phone_number": phone }), &[("idempotency-key", key)]).await
}

async fn login_with(api: &Api, phone: &str, code: &str, key: &str) -> Answer {
    let body = json!({ "phone_number": phone, "otp": code });
    api.post_with("/v1/login", body, &[("idempotency-key", key)]).await
}

fn session_text(answer: &Answer) -> String {
    session(answer).to_string()
}

fn session(answer: &Answer) -> serde_json::Value {
    claims(&answer.text("access"))["sid"].clone()
}

async fn w2_the_same_key_gets_the_same_request_and_one_text(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let (one, other) = (&apis[0], apis.last().unwrap());
    let phone = new_phone();
    let first = otp_with(one, &phone, "tap-1").await.expect(202);
    let again = otp_with(other, &phone, "tap-1").await.expect(202);
    assert_eq!(again.text("request_id"), first.text("request_id"));
    assert_eq!(again.text("expires_at"), first.text("expires_at"));
    otp_with(one, &new_phone(), "tap-1").await.expect(202);
    let body = json!({ "phone_number": phone, "channel": "voice" });
    let reused = other.post_with("/v1/otp", body, &[("idempotency-key", "tap-1")]).await;
    reused.problem(422, "idempotency_key_reused");
    let next = otp_with(other, &phone, "tap-2").await.expect(202);
    assert_ne!(next.text("request_id"), first.text("request_id"));
    let code = one.code(&phone, 2).await;
    one.login(&phone, &code).await.expect(200);
    let after = otp_with(one, &phone, "tap-1").await.expect(202);
    assert_eq!(after.text("request_id"), first.text("request_id"), "also after login");
    assert_eq!(one.messages(&phone).await.len(), 2);
}

async fn p9_a_login_repeated_with_its_key_gives_the_same_session(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let (one, other) = (&apis[0], apis.last().unwrap());
    let phone = new_phone();
    let code = one.fresh_code(&phone).await;
    let not_it = wrong(&code, 1);
    login_with(one, &phone, &not_it, "try").await.problem(401, "otp_incorrect");
    // A refusal is not remembered, so the key is free.
    let first = login_with(one, &phone, &code, "try").await.expect(200);
    let again = login_with(other, &phone, &code, "try").await.expect(200);
    assert_eq!(session(&again), session(&first));
    assert_eq!(again.body["user"], first.body["user"]);
    let reused = login_with(other, &phone, &not_it, "try").await;
    reused.problem(422, "idempotency_key_reused");
    other.me(&again.text("access")).await.expect(200);
    let refreshed = other.refresh(&again.text("refresh")).await.expect(200);
    assert_eq!(session(&refreshed), session(&first));
    let late = login_with(one, &phone, &code, "try").await;
    late.problem(401, "otp_incorrect");
    one.me(&refreshed.text("access")).await.expect(200);
}

/// Each known device has attempts of its own: one sign-in must not make many.
async fn f04_a_login_repeated_with_its_key_is_one_known_device(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let phone = new_phone();
    let code = apis[0].fresh_code(&phone).await;
    let first = login_with(&apis[0], &phone, &code, "try").await.expect(200);
    for n in 1..=5 {
        let again = login_with(&apis[n % apis.len()], &phone, &code, "try").await.expect(200);
        assert_eq!(again.text("device_token"), first.text("device_token"));
    }
}

async fn p9_logins_at_once_with_one_key_are_one_session(place: Place) {
    // A login is counted once, whether it was let in or found its session afterwards. There are more logins here than a
    // code has attempts.
    let (_system, apis) = place.open(&[("LATCHKEY_LOGINS_PER_IP_MINUTE", "120")]).await;
    for _ in 0..10 {
        let phone = &new_phone();
        let code = &apis[0].fresh_code(phone).await;
        let barrier = &Barrier::new(12);
        let logins = (0..12).map(|n| {
            let api = &apis[n % apis.len()];
            async move {
                barrier.wait().await;
                login_with(api, phone, code, "double-tap").await.expect(200)
            }
        });
        let sessions: BTreeSet<_> = join_all(logins).await.iter().map(session_text).collect();
        assert_eq!(sessions.len(), 1);
    }
}

async fn p9_a_login_with_another_device_token_is_another_body(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let (one, other) = (&apis[0], apis.last().unwrap());
    let phone = new_phone();
    let known = one.sign_in(&phone).await["device_token"].as_str().unwrap().to_owned();
    let code = one.fresh_code(&phone).await;
    let login = async |api: &Api, token: Option<&str>| {
        let mut body = json!({ "phone_number": phone, "otp": code });
        if let Some(token) = token {
            body["device_token"] = json!(token);
        }
        api.post_with("/v1/login", body, &[("idempotency-key", "device")]).await
    };
    let first = login(one, Some(&known)).await.expect(200);
    login(other, None).await.problem(422, "idempotency_key_reused");
    login(other, Some("another")).await.problem(422, "idempotency_key_reused");
    let again = login(other, Some(&known)).await.expect(200);
    assert_eq!(session(&again), session(&first));
}

async fn p9_w3_the_last_refresh_may_be_repeated_and_an_older_one_ends_the_session(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let (one, other) = (&apis[0], apis.last().unwrap());
    let login = one.sign_in(&new_phone()).await;
    let first = login["refresh"].as_str().unwrap();
    let lost = one.refresh(first).await.expect(200);
    let again = other.refresh(first).await.expect(200);
    let gen_of = |answer: &Answer| claims(&answer.text("refresh"))["gen"].clone();
    assert_eq!((session(&again), gen_of(&again)), (session(&lost), gen_of(&lost)));
    let next = one.refresh(&again.text("refresh")).await.expect(200);
    assert_eq!(session(&next), session(&lost));
    other.refresh(first).await.problem(401, "refresh_reused");
    one.refresh(&next.text("refresh")).await.problem(401, "session_revoked");
    one.me(&next.text("access")).await.problem(401, "session_revoked");
}

async fn w4_an_ended_session_is_refused_at_once_by_us_and_within_ten_minutes_by_others(
    place: Place,
) {
    let (_system, apis) = place.open(&[]).await;
    let login = apis[0].sign_in(&new_phone()).await;
    let access = login["access"].as_str().unwrap();
    apis[0].blacklist(login["refresh"].as_str().unwrap()).await.expect(200);
    for api in &apis {
        api.me(access).await.problem(401, "session_revoked");
        api.verify(access).await.problem(401, "session_revoked");
    }
    // A service that only checks the signature relies on these two claims.
    let claims = claims(access);
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 600);
}

async fn w6_a_login_without_a_key_whose_answer_was_lost_needs_a_new_code(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let api = &apis[0];
    let (mut proxy, url) = Proxy::before_url(&format!("{}/", api.url)).await;
    let behind = Api::new(url.trim_end_matches('/'));
    let phone = new_phone();
    let request = api.otp(&phone).await.expect(202).text("request_id");
    let code = api.code(&phone, 1).await;
    proxy.set(Fault::SwallowAnswers).await;
    let login = {
        let (phone, code) = (phone.clone(), code.clone());
        tokio::spawn(async move {
            let body = json!({ "phone_number": phone, "otp": code });
            behind.try_call(Method::POST, "/v1/login", Some(&body), &[]).await.map(|a| a.status)
        })
    };
    eventually("the login's commit", testkit::PATIENCE, async || {
        let status = api.status(&request).await.expect(200).text("status");
        (status == "verified").then_some(())
    })
    .await;
    proxy.set(Fault::Refuse).await;
    login.await.unwrap().unwrap_err();
    let last = apis.last().unwrap();
    last.login(&phone, &code).await.problem(401, "otp_incorrect");
    last.sign_in(&phone).await;
}

both_sides!(p9_p13_a_gateway_whose_clock_is_an_hour_off_answers_like_the_others);

async fn p9_p13_a_gateway_whose_clock_is_an_hour_off_answers_like_the_others(side: Side) {
    let mut latchkey = InProcessLatchkey::start(side, 1).await;
    let (ahead, behind) = (Clock::manual(), Clock::manual());
    latchkey.advance(3600);
    ahead.advance(Duration::from_hours(2));
    for clock in [ahead, behind] {
        let number = latchkey.add_with_clock(clock).await;
        let (odd, even) = (latchkey.api_of(number), latchkey.api());
        let phone = new_phone();
        let request = odd.otp(&phone).await.expect(202).text("request_id");
        let code = odd.code(&phone, 1).await;
        for api in [&odd, &even] {
            assert_ne!(api.status(&request).await.expect(200).text("status"), "expired");
        }
        let first = login_with(&odd, &phone, &code, "odd").await.expect(200);
        for api in [&odd, &even] {
            let again = login_with(api, &phone, &code, "odd").await.expect(200);
            assert_eq!(session(&again), session(&first));
        }
        latchkey.advance(31);
        for api in [&odd, &even] {
            login_with(api, &phone, &code, "odd").await.problem(401, "otp_incorrect");
        }
        let request = odd.otp(&phone).await.expect(202).text("request_id");
        // A text that is still on its way would fail, not expire.
        odd.code(&phone, 2).await;
        latchkey.advance(301);
        for api in [&odd, &even] {
            assert_eq!(api.status(&request).await.expect(200).text("status"), "expired");
        }
    }
}

mod on_the_engines {
    use sqlx::{Connection as _, Row as _};

    use super::super::TWICE;
    use super::*;
    use testkit::engines::Engines;
    use testkit::postgres;
    use testkit::system::System;

    /// The size of W6 if the gateway got no answer to its commit: one code request, without a wait for the old code's
    /// expiry, although this was its last attempt.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn w6_a_login_whose_commit_was_not_confirmed_needs_a_new_code() {
        let (system, mut proxy, direct) = System::with_database_proxy().await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        for n in 1..=4 {
            api.login(&phone, &wrong(&code, n)).await.problem(401, "otp_incorrect");
        }
        // The sign-in waits at a lock while the proxy starts to swallow answers; then the lock is released.
        let (mut session, mut look) =
            (postgres::connect(&direct).await.unwrap(), postgres::connect(&direct).await.unwrap());
        let mut locked = session.begin().await.unwrap();
        let lock = "LOCK TABLE used_codes IN ACCESS EXCLUSIVE MODE";
        sqlx::query(lock).execute(&mut *locked).await.unwrap();
        let login = {
            let (api, phone, code) = (api.clone(), phone.clone(), code.clone());
            tokio::spawn(once(async move { api.login(&phone, &code).await }))
        };
        let count = async |look: &mut sqlx::PgConnection, sql: &'static str| {
            sqlx::query_scalar::<_, i64>(sql).fetch_one(look).await.unwrap()
        };
        eventually("the sign-in at the lock", testkit::PATIENCE, async || {
            // For longer than a batch of sign-ins waits.
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
                AND waitstart < clock_timestamp() - INTERVAL '300 ms'
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            (count(&mut look, waiting).await > 0).then_some(())
        })
        .await;
        proxy.set(Fault::SwallowAnswers).await;
        locked.rollback().await.unwrap();
        login.await.unwrap().problem(503, "temporarily_unavailable");
        assert_eq!(count(&mut look, "SELECT count(*) FROM used_codes").await, 1, "committed");
        proxy.set(Fault::None).await;
        proxy.cut_all();

        let asked = api.otp(&phone).await.expect(202).text("request_id");
        let fresh = api.code(&phone, 2).await;
        let login = eventually("the database's return", testkit::PATIENCE, async || {
            Some(api.login_for(&phone, &fresh, &asked).await).filter(|answer| answer.status != 503)
        });
        login.await.expect(200);
    }

    /// The size of W2: one request, one text, whatever answers the client got in between.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn w2_a_code_request_whose_confirm_was_lost_gives_503_and_the_same_key_finds_it_again() {
        let mut engines = Engines::shared().fresh().await;
        let straight = engines.amqp_url.clone();
        let mut proxy = engines.proxy_broker().await;
        // The gateways connect through the proxy, the workers directly to the broker.
        let counts = testkit::system::Apart { otp_workers: 0, sms_workers: 0, ..TWICE };
        let gateways = System::apart(engines.clone(), counts, &[]).await;
        let secrets: Vec<(&str, &str)> = ["LATCHKEY_SECRET", "LATCHKEY_JWT_KEYS_DIR"]
            .map(|name| (name, gateways.env[name].as_str()))
            .into();
        engines.amqp_url = straight;
        let counts = testkit::system::Apart { gateways: 0, ..TWICE };
        let _workers = System::apart(engines.clone(), counts, &secrets).await;
        let api = gateways.api();
        let phone = new_phone();

        proxy.set(Fault::SwallowAnswers).await;
        let refused = api.in_time("a lost confirm", otp_with(&api, &phone, "lost")).await;
        refused.problem(503, "temporarily_unavailable");
        let code = api.code(&phone, 1).await;
        proxy.set(Fault::None).await;
        proxy.cut_all();

        let found = eventually("the broker's return", testkit::PATIENCE, async || {
            Some(otp_with(&api, &phone, "lost").await).filter(|answer| answer.status == 202)
        })
        .await;
        let messages = api.messages(&phone).await;
        assert_eq!(messages.len(), 1, "more than one text");
        assert_eq!(messages[0]["request_id"], found.body["request_id"]);
        eventually("the end of the second event", testkit::PATIENCE, async || {
            let queue = gateways.run(&["dead", "list", "--json"]);
            let mut connection = postgres::connect(&engines.database_url).await.ok()?;
            let row = sqlx::query("SELECT count(*) AS n FROM sms_attempts")
                .fetch_one(&mut connection)
                .await
                .ok()?;
            assert_eq!(row.get::<i64, _>("n"), 1, "the provider was called more than once");
            (queue.trim() == "[]").then_some(())
        })
        .await;
        api.login_for(&phone, &code, &found.text("request_id")).await.expect(200);
    }
}
