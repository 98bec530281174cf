//! Sessions bound to a key of the client (RFC 9449): their life cycle, and that unbound sessions did not change.

use gateway::signing_key::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use super::client_key::ClientKey;
use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Answer, INBOX_TOKEN, new_phone, wrong};
use testkit::system::{Side, System};

both_sides!(
    a_session_is_bound_at_sign_in_and_needs_its_key_from_then_on,
    a_session_started_with_a_password_is_bound_too,
    p9_a_bound_refresh_or_login_is_repeated_only_with_its_key,
    clients_without_a_key_see_no_change,
    a_sign_in_with_a_bad_proof_costs_no_attempt,
    a_proof_must_name_the_public_url_of_the_service,
    in_production_without_a_public_url_no_proof_is_accepted,
);

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Asserts the challenge of RFC 9449, section 7.1: the proof is invalid, and these algorithms may sign one.
#[track_caller]
fn refused(answer: Answer, detail: &str) {
    let challenge = answer.header("www-authenticate").map(str::to_owned);
    let problem = answer.problem(401, "token_not_valid");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail}: {problem:?}");
    let challenge = challenge.unwrap();
    assert_eq!(challenge, r#"DPoP error="invalid_dpop_proof", algs="ES256 EdDSA RS256""#);
}

async fn a_session_is_bound_at_sign_in_and_needs_its_key_from_then_on(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let key = ClientKey::of(algorithm, &latchkey.clock);
        let first = key.sign_in(&one, &new_phone()).await;
        assert_eq!(first["token_type"], "DPoP");
        let access = text(&first, "access");
        assert_eq!(claims(&access)["cnf"], json!({ "jkt": key.thumbprint() }));
        for api in [&one, &other] {
            let me = key.me(api, &access).await.expect(200);
            assert_eq!(me.body["id"], first["user"]["id"]);
            api.verify(&access).await.expect(200);
        }
        let name = json!({ "first_name": "Ada" });
        let changed = key.call(&other, Method::PATCH, "/v1/me/", &access, Some(&name)).await;
        assert_eq!(changed.expect(200).text("first_name"), "Ada", "old clients' slash");
        let listed =
            key.call(&one, Method::GET, "/v1/me/sessions", &access, None).await.expect(200);
        assert_eq!(listed.body[0]["current"], true);
        assert_eq!(
            names(&listed.body[0]),
            ["created_at", "current", "device", "id", "ip", "last_seen_at"]
        );

        latchkey.advance(300);
        let second = key.refresh(&other, &text(&first, "refresh")).await.expect(200).body;
        assert_eq!(second["token_type"], "DPoP");
        let access = text(&second, "access");
        assert_eq!(claims(&access)["cnf"], json!({ "jkt": key.thumbprint() }));
        assert_eq!(claims(&access)["sid"], claims(&text(&first, "access"))["sid"]);
        key.me(&one, &access).await.expect(200);
        key.blacklist(&one, &text(&second, "refresh")).await.expect(200);
        key.me(&other, &access).await.problem(401, "session_revoked");
        key.refresh(&one, &text(&second, "refresh")).await.problem(401, "session_revoked");
    }
}

async fn a_session_started_with_a_password_is_bound_too(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (phone, password) = (new_phone(), "vq7 blue kite 9 over the lake");
    let access = text(&api.sign_in(&phone).await, "access");
    let body = json!({ "password": password });
    api.signed_in(Method::PUT, "/v1/me/password", &access, Some(body)).await.expect(204);
    let (key, body) =
        (ClientKey::new(&latchkey.clock), json!({ "phone_number": phone, "password": password }));
    let bound = key.post(&api, "/v1/token", body.clone()).await.expect(200).body;
    assert_eq!(bound["token_type"], "DPoP");
    key.me(&api, &text(&bound, "access")).await.expect(200);
    refused(api.refresh(&text(&bound, "refresh")).await, "bound to a key");
    key.refresh(&api, &text(&bound, "refresh")).await.expect(200);
    let plain = api.post("/v1/token", body).await.expect(200).body;
    assert_eq!(plain["token_type"], "Bearer");
    api.me(&text(&plain, "access")).await.expect(200);
}

async fn p9_a_bound_refresh_or_login_is_repeated_only_with_its_key(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let (key, thief) = (ClientKey::new(&latchkey.clock), ClientKey::new(&latchkey.clock));
    let phone = new_phone();
    let code = one.fresh_code(&phone).await;
    let body = json!({ "phone_number": phone, "otp": code });
    let named = [("idempotency-key", "a-bound-login")];
    let first = key.post_with(&one, "/v1/login", body.clone(), &named).await.expect(200).body;
    let again = key.post_with(&other, "/v1/login", body.clone(), &named).await.expect(200).body;
    assert_eq!((&again["token_type"], names(&again)), (&first["token_type"], names(&first)));
    let session = |pair: &Value| claims(&text(pair, "access"))["sid"].clone();
    assert_eq!(session(&again), session(&first));
    assert_eq!(claims(&text(&again, "access"))["cnf"]["jkt"], key.thumbprint());
    for answer in [
        thief.post_with(&one, "/v1/login", body.clone(), &named).await,
        one.post_with("/v1/login", body.clone(), &named).await,
    ] {
        answer.problem(422, "idempotency_key_reused");
    }

    // A client that repeats its refresh unchanged, including the proof, gets an equivalent pair.
    let refresh = text(&again, "refresh");
    let sent = json!({ "refresh": refresh });
    let url = format!("{}/v1/token/refresh", one.url);
    let proof = key.proof(&Method::POST, &url, None);
    let asked =
        async || one.post_with("/v1/token/refresh", sent.clone(), &[("dpop", &proof)]).await;
    let second = asked().await.expect(200).body;
    let repeated = asked().await.expect(200).body;
    let generation = |pair: &Value| claims(&text(pair, "refresh"))["gen"].clone();
    assert_eq!((generation(&second), generation(&repeated)), (json!(2), json!(2)));
    refused(thief.refresh(&one, &refresh).await, "different key");
    refused(other.refresh(&refresh).await, "bound to a key");
    key.refresh(&other, &refresh).await.expect(200);
    // After a refresh the first login cannot be replayed, with any key.
    key.post_with(&one, "/v1/login", body, &named).await.problem(401, "otp_incorrect");
}

async fn clients_without_a_key_see_no_change(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let pair = api.sign_in(&new_phone()).await;
    assert_eq!(pair["token_type"], "Bearer");
    let members = [
        "access",
        "device_token",
        "expires_in",
        "refresh",
        "refresh_expires_in",
        "token_type",
        "user",
    ];
    assert_eq!(names(&pair), members);
    let access = text(&pair, "access");
    let wanted = "amr aud auth_time exp iat iss jti nbf sid sub token_type user_id";
    assert_eq!(names(&claims(&access)).join(" "), wanted);
    api.me(&access).await.expect(200);
    let missing = api.get("/v1/me").await;
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    missing.problem(401, "token_not_valid");
    // A proof on a refresh does not bind an unbound session.
    let key = ClientKey::new(&latchkey.clock);
    let next = key.refresh(&api, &text(&pair, "refresh")).await.expect(200).body;
    assert_eq!(
        (&next["token_type"], names(&claims(&text(&next, "access"))).join(" ").as_str()),
        (&json!("Bearer"), wanted)
    );
    api.refresh(&text(&next, "refresh")).await.expect(200);
}

async fn a_sign_in_with_a_bad_proof_costs_no_attempt(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (key, phone) = (ClientKey::new(&latchkey.clock), new_phone());
    let code = api.fresh_code(&phone).await;
    let body = |code: &str| json!({ "phone_number": phone, "otp": code });
    let elsewhere = key.proof(&Method::POST, "https://evil.test/v1/login", None);
    for (proof, detail) in [("", "three parts"), ("x.y.z", "three parts"), (&*elsewhere, "`htu`")] {
        for code in [&code, &wrong(&code, 1)] {
            let answer = api.post_with("/v1/login", body(code), &[("dpop", proof)]).await;
            refused(answer, detail);
        }
    }
    let answer = key.post(&api, "/v1/login", body(&wrong(&code, 1))).await;
    assert_eq!(answer.problem(401, "otp_incorrect")["attempts_left"], 4);
    assert_eq!(
        key.post(&api, "/v1/login", body(&code)).await.expect(200).text("token_type"),
        "DPoP"
    );
}

async fn a_proof_must_name_the_public_url_of_the_service(side: Side) {
    const PUBLIC: &str = "https://id.example.test/auth";
    let system = System::start(
        side,
        &[("LATCHKEY_PUBLIC_URL", PUBLIC), ("LATCHKEY_INBOX_TOKEN", INBOX_TOKEN)],
    )
    .await;
    let api = system.api();
    let key = ClientKey::new(&domain::clock::Clock::system());
    let phone = new_phone();
    let code = api.fresh_code(&phone).await;
    let body = json!({ "phone_number": phone, "otp": code });
    // Neither the listen address nor the headers of a proxy, real or fake, count.
    for (host, forwarded) in [("", ""), ("id.example.test", "https"), ("evil.test", "https")] {
        let url = match host {
            "" => format!("{}/v1/login", api.url),
            host => format!("{forwarded}://{host}/v1/login"),
        };
        let proof = key.proof(&Method::POST, &url, None);
        let mut headers = vec![("dpop", proof.as_str())];
        if !host.is_empty() {
            headers.extend([
                ("x-forwarded-host", host),
                ("x-forwarded-proto", forwarded),
                ("host", host),
            ]);
        }
        refused(api.post_with("/v1/login", body.clone(), &headers).await, "`htu`");
    }
    let proof = key.proof(&Method::POST, &format!("{PUBLIC}/v1/login"), None);
    let pair = api.post_with("/v1/login", body, &[("dpop", &proof)]).await.expect(200);
    assert_eq!(pair.text("token_type"), "DPoP");
}

async fn in_production_without_a_public_url_no_proof_is_accepted(side: Side) {
    let mut latchkey = InProcessLatchkey::start(side, 1).await;
    let number = latchkey.add_in_production().await;
    let (tried, api) = (latchkey.api_of(0), latchkey.api_of(number));
    let key = ClientKey::new(&latchkey.clock);
    let phone = new_phone();
    let body = json!({ "phone_number": phone, "otp": tried.fresh_code(&phone).await });
    // Its own address, and one that a client claims with its `Host`.
    for (url, host) in [(api.url.as_str(), None), ("http://evil.test", Some("evil.test"))] {
        let proof = key.proof(&Method::POST, &format!("{url}/v1/login"), None);
        let headers: Vec<_> =
            host.map(|host| ("host", host)).into_iter().chain([("dpop", proof.as_str())]).collect();
        refused(api.post_with("/v1/login", body.clone(), &headers).await, "`htu`");
    }
    // In development the address serves, and in production who proves nothing signs in as ever.
    let proof = key.proof(&Method::POST, &format!("{}/v1/login", tried.url), None);
    let pair = tried.post_with("/v1/login", body, &[("dpop", &proof)]).await.expect(200);
    assert_eq!(pair.text("token_type"), "DPoP");
    let phone = new_phone();
    let body = json!({ "phone_number": phone, "otp": tried.fresh_code(&phone).await });
    api.post_with("/v1/login", body, &[]).await.expect(200);
}
