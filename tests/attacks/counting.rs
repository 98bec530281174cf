//! Code checks one after the other: counted per phone and per address, through every endpoint.

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::guessing::{attempt, spent_until_its_expiry};
use super::pumping::{counted, metrics_of_gateways};
use super::{both, system};
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::Side;

both_sides!(
    p4_counting_through_the_codes_on_one_connection_finds_nothing,
    p4_attempts_at_a_phone_change_are_counted_across_sessions_and_gateways,
    p4_logins_from_one_address_are_limited_across_phones_endpoints_and_gateways,
    f12_guessing_at_many_phones_makes_the_network_wait_and_is_reported,
);

async fn p4_counting_through_the_codes_on_one_connection_finds_nothing(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let code = api.fresh_code(&phone).await;
    // The codes around the right one. No more of them, so that a slow machine ends before the code expires.
    for n in 0..200 {
        let answer = attempt(&api, &phone, &wrong(&code, 1_000_000 - 100 + n)).await;
        if n < 5 {
            assert_eq!(answer.problem(401, "otp_incorrect")["attempts_left"], 4 - n);
        } else {
            spent_until_its_expiry(answer);
        }
    }
}

async fn p4_attempts_at_a_phone_change_are_counted_across_sessions_and_gateways(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let (mine, wanted) = (new_phone(), new_phone());
    let mut sessions = Vec::new();
    for api in &apis {
        sessions.push(api.sign_in(&mine).await["access"].as_str().unwrap().to_owned());
    }
    let body = Some(json!({ "phone_number": wanted }));
    let code_request = async |n: usize| {
        let (api, access) = (&apis[n % 2], &sessions[n / 2 % 2]);
        api.signed_in(Method::POST, "/v1/me/phone", access, body.clone()).await
    };
    let confirm = async |n: usize, otp: &str| {
        let (api, access, body) = (&apis[n % 2], &sessions[n / 2 % 2], json!({ "otp": otp }));
        api.signed_in(Method::POST, "/v1/me/phone/confirm", access, Some(body)).await
    };
    code_request(0).await.expect(202);
    let code = apis[0].code(&wanted, 1).await;
    for n in 0..5 {
        let refused = confirm(n, &wrong(&code, n as u64 + 1)).await.problem(401, "otp_incorrect");
        assert_eq!(refused["attempts_left"], 4 - n);
        if n < 4 {
            code_request(n + 1).await.expect(202);
        }
    }
    for n in 0..4 {
        // By the session that requested last, which alone may confirm.
        spent_until_its_expiry(confirm(n % 2, &code).await);
        spent_until_its_expiry(code_request(n).await);
    }
    // Another purpose has its own code and its own attempts.
    apis[1].sign_in(&wanted).await;
}

/// Tries to sign in with a password.
async fn token(api: &Api, phone: &str) -> Answer {
    api.post("/v1/token", json!({ "phone_number": phone, "password": "whatever it may be" })).await
}

async fn p4_logins_from_one_address_are_limited_across_phones_endpoints_and_gateways(side: Side) {
    let system = system(side, &[("LATCHKEY_LOGINS_PER_IP_MINUTE", "7")]).await;
    let apis = both(&system);
    let (mine, other) = (new_phone(), new_phone());
    let access = apis[0].sign_in(&mine).await["access"].as_str().unwrap().to_owned();
    let code = apis[0].fresh_code(&other).await;
    let confirm = async |api: &Api| {
        let body = Some(json!({ "otp": "000000" }));
        api.signed_in(Method::POST, "/v1/me/phone/confirm", &access, body).await
    };
    for api in &apis {
        attempt(api, &new_phone(), "000000").await.problem(401, "otp_incorrect");
        token(api, &new_phone()).await.problem(401, "invalid_credentials");
        confirm(api).await.problem(401, "otp_incorrect");
    }
    // The right code is no exception, and a spoofed header does not change the address.
    for api in &apis {
        let body = json!({ "phone_number": other, "otp": code });
        let spoofed = [("x-forwarded-for", "198.51.100.9"), ("forwarded", "for=198.51.100.9")];
        for answer in [
            attempt(api, &other, &code).await,
            api.post_with("/v1/login", body, &spoofed).await,
            token(api, &mine).await,
            confirm(api).await,
        ] {
            let refused = answer.problem(429, "too_many_requests");
            assert_eq!(refused["limit"], "logins_ip");
            assert!((1..=60).contains(&refused["retry_after"].as_u64().unwrap()));
        }
    }
    // Code requests do not count as logins.
    apis[1].otp(&new_phone()).await.expect(202);
}

async fn f12_guessing_at_many_phones_makes_the_network_wait_and_is_reported(side: Side) {
    let settings = [
        ("LATCHKEY_LOGINS_PER_IP_MINUTE", "1000000"),
        ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32"),
    ];
    let system = system(side, &settings).await;
    let apis = both(&system);
    let (phone, device) = (new_phone(), new_phone());
    let token = apis[0].sign_in(&device).await["device_token"].clone();
    let code = apis[0].fresh_code(&phone).await;
    let from = async |n: usize, address: &str, phone: &str, code: &str| {
        let body = json!({ "phone_number": phone, "otp": code });
        apis[n % 2].post_with("/v1/login", body, &[("x-forwarded-for", address)]).await
    };
    let guess = async |n: usize, address: &str| {
        let phone = new_phone();
        apis[n % 2].otp(&phone).await.expect(202);
        from(n, address, &phone, "000000").await.problem(401, "otp_incorrect");
    };
    // At numbers without a code no guess is right: it counts for nothing, and shuts nobody's network.
    for n in 0..60 {
        let address = format!("198.51.100.{n}");
        from(n, &address, &new_phone(), "000000").await.problem(401, "otp_incorrect");
    }
    // Each attempt is at another phone and comes from another address of one network.
    for n in 0..51 {
        guess(n, &format!("198.51.100.{n}")).await;
    }
    for n in 0..2 {
        let refused = from(n, "198.51.100.99", &phone, &code).await;
        let refused = refused.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "logins_ip");
        assert!((1..=60).contains(&refused["retry_after"].as_u64().unwrap()));
    }
    from(0, "198.51.101.99", &phone, &code).await.expect(200);
    // A known device in this network is judged.
    let by = async |path: &str, field: &str, token: Option<&Value>| {
        let mut body = json!({ "phone_number": device, field: "000000" });
        if let Some(token) = token {
            body["device_token"] = token.clone();
        }
        apis[0].post_with(path, body, &[("x-forwarded-for", "198.51.100.99")]).await
    };
    by("/v1/token", "password", None).await.problem(429, "too_many_requests");
    by("/v1/token", "password", Some(&token)).await.problem(401, "invalid_credentials");
    by("/v1/login", "otp", None).await.problem(429, "too_many_requests");
    by("/v1/login", "otp", Some(&token)).await.problem(401, "otp_incorrect");
    // Spread over networks the attempts are served, and reported.
    let attempts = (0..449).map(|n| {
        let guess = &guess;
        async move { guess(n, &format!("10.{}.{}.1", n / 200, n % 200)).await }
    });
    futures::stream::iter(attempts).buffer_unordered(16).collect::<Vec<()>>().await;
    eventually("the report", testkit::PATIENCE, async || {
        let seen = metrics_of_gateways(&system).await;
        (counted(&seen, "latchkey_attempts_suspicious_total") == 1).then_some(())
    })
    .await;
}

mod on_the_engines {
    use super::*;
    use testkit::engines::Engines;
    use testkit::system::System;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p4_a_changed_address_limit_applies_as_configured() {
        let engines = Engines::shared().fresh().await;
        let secret = "one secret for all of them: an address has one key";
        // Back at the first limit, its own count is still there.
        for (limit, left) in [(3, 3), (5, 5), (3, 0)] {
            let number = limit.to_string();
            let settings = [
                ("LATCHKEY_LOGINS_PER_IP_MINUTE", number.as_str()),
                ("LATCHKEY_SENDS_PER_IP_HOUR", number.as_str()),
                ("LATCHKEY_SECRET", secret),
            ];
            let system = System::on(engines.clone(), &settings).await;
            let api = system.api();
            let (mut judged, mut asked) = (0, 0);
            for _ in 0..=limit {
                judged += usize::from(attempt(&api, &new_phone(), "000000").await.status == 401);
                asked += usize::from(api.otp(&new_phone()).await.status == 202);
            }
            assert_eq!(asked, left, "code requests with a limit of {limit}");
            // The minute of the first three attempts may be over by now.
            assert!(judged == left || left == 0, "{judged} logins checked with a limit of {limit}");
            system.stop().await;
        }
    }
}
