//! A thief gains nothing from what was stolen from a bound session, and harms nobody (RFC 9449, section 11).

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::client_key::{ClientKey, call};
use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone};
use testkit::postgres;
use testkit::system::{Side, System};

both_sides!(
    p9_a_stolen_refresh_token_is_useless_without_the_key_and_its_owner_stays_signed_in,
    a_bound_access_token_is_refused_without_a_valid_proof,
    a_proof_of_a_protected_call_works_once,
    a_token_without_a_key_is_useless_for_a_bound_session,
    f28_a_proof_is_valid_for_a_minute_and_cannot_be_made_in_advance,
    f28_with_nonces_a_proof_needs_one_of_the_last_minutes_from_any_gateway,
);

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// Asserts a refusal of the proof and returns its detail.
#[track_caller]
fn refused(answer: Answer, name: &str) -> String {
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    assert!(challenge.starts_with(r#"DPoP error="invalid_dpop_proof""#), "{name}: {challenge}");
    text(&Value::Object(answer.problem(401, "token_not_valid")), "detail")
}

async fn p9_a_stolen_refresh_token_is_useless_without_the_key_and_its_owner_stays_signed_in(
    side: Side,
) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let (owner, thief) = (ClientKey::new(&latchkey.clock), ClientKey::new(&latchkey.clock));
    let mut pair = owner.sign_in(&one, &new_phone()).await;
    let mut stolen = vec![text(&pair, "refresh")];
    for gap in [0, 29, 31, 500] {
        latchkey.advance(gap);
        for refresh in &stolen {
            // Without a proof, with the thief's own key, with a proof for another call, or with a proof copied from
            // the owner: none of them uses the token, and an old token does not end the owner's session.
            let url = format!("{}/v1/token/refresh", one.url);
            let elsewhere = owner.proof(&Method::POST, &format!("{}/v1/login", one.url), None);
            let method = owner.proof(&Method::GET, &url, None);
            for proof in [&elsewhere, &method] {
                let body = json!({ "refresh": refresh });
                let headers = [("dpop", proof.as_str())];
                refused(one.post_with("/v1/token/refresh", body.clone(), &headers).await, "copied");
                refused(one.post_with("/v1/token/blacklist", body, &headers).await, "copied");
            }
            refused(other.refresh(refresh).await, "unproven");
            refused(other.blacklist(refresh).await, "unproven");
            refused(thief.refresh(&one, refresh).await, "the thief's own key");
            refused(thief.blacklist(&one, refresh).await, "the thief's own key");
        }
        owner.me(&other, &text(&pair, "access")).await.expect(200);
        pair = owner.refresh(&other, &text(&pair, "refresh")).await.expect(200).body;
        stolen.push(text(&pair, "refresh"));
    }
    // With the right key an old token still reveals a copy.
    owner.refresh(&one, &stolen[0]).await.problem(401, "refresh_reused");
    thief.refresh(&one, &text(&pair, "refresh")).await.problem(401, "session_revoked");
}

async fn a_bound_access_token_is_refused_without_a_valid_proof(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (key, thief) = (ClientKey::new(&latchkey.clock), ClientKey::new(&latchkey.clock));
    let phone = new_phone();
    let (bound, second) = (key.sign_in(&api, &phone).await, key.sign_in(&api, &phone).await);
    let plain = text(&api.sign_in(&phone).await, "access");
    let (access, second) = (text(&bound, "access"), text(&second, "access"));
    let me = format!("{}/v1/me", api.url);
    let get = Method::GET;
    let claims = || key.claims(&get, &me, Some(&access));
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        key.sign(&key.header(), &claims)
    };
    let headed = |name: &str, value: Value| {
        let mut header = key.header();
        header[name] = value;
        key.sign(&header, &claims())
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        key.sign(&key.header(), &claims)
    };
    let mut private = key.jwk();
    private["d"] = json!("AAAA");
    let now = latchkey.clock.now().secs();
    let good = key.proof(&get, &me, Some(&access));
    let table = [
        ("by another key", thief.proof(&get, &me, Some(&access))),
        ("by another key that names ours", thief.sign(&key.header(), &claims())),
        ("of another method", key.proof(&Method::DELETE, &me, Some(&access))),
        ("of another URL", key.proof(&get, &format!("{me}/sessions"), Some(&access))),
        ("of another host", key.proof(&get, "http://evil.test/v1/me", Some(&access))),
        ("with a query", key.proof(&get, &format!("{me}?x=y"), Some(&access))),
        ("of another token", key.proof(&get, &me, Some(&second))),
        ("of no token", key.proof(&get, &me, None)),
        ("with an ath that is empty", with("ath", json!(""))),
        ("too old", with("iat", json!(now - 70))),
        ("too new", with("iat", json!(now + 70))),
        ("with no time", without("iat")),
        ("with a time as text", with("iat", json!(now.to_string()))),
        ("with no id", without("jti")),
        ("with an empty id", with("jti", json!(""))),
        ("with a huge id", with("jti", json!("j".repeat(200)))),
        ("with no method", without("htm")),
        ("with no URL", without("htu")),
        ("unsigned", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("cut", good[..good.len() - 4].to_owned()),
        ("an access token", access.clone()),
        ("a refresh token", text(&bound, "refresh")),
        ("of another type", headed("typ", json!("JWT"))),
        ("of no algorithm", headed("alg", json!("none"))),
        ("of a shared key's algorithm", headed("alg", json!("HS256"))),
        ("of another key's algorithm", headed("alg", json!("RS256"))),
        ("with a private key", headed("jwk", private)),
        ("with another's key", headed("jwk", thief.jwk())),
        ("with a key elsewhere", headed("jku", json!("https://evil.test/keys"))),
        ("with crit", headed("crit", json!(["exp"]))),
        ("huge", with("x", json!("x".repeat(5000)))),
        ("text", "proof".to_owned()),
        ("nothing", String::new()),
    ];
    let authorization = format!("DPoP {access}");
    let send =
        async |headers: &[(&str, &str)]| call(&api, Method::GET, "/v1/me", None, headers).await;
    for (name, proof) in &table {
        refused(send(&[("authorization", &authorization), ("dpop", proof)]).await, name);
    }
    refused(send(&[("authorization", &authorization)]).await, "no proof");
    let fresh = key.proof(&get, &me, Some(&access));
    let twice = [("authorization", &*authorization), ("dpop", &*good), ("dpop", &*fresh)];
    refused(send(&twice).await, "two proofs");

    // Downgrade and upgrade: neither kind of token passes as the other, with or without a proof.
    for proof in [None, Some(("dpop", good.as_str()))] {
        let downgraded = format!("Bearer {access}");
        let headers: Vec<_> =
            [("authorization", downgraded.as_str())].into_iter().chain(proof).collect();
        let answer = send(&headers).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        assert!(challenge.starts_with(r#"DPoP error="invalid_token""#), "{challenge}");
        answer.problem(401, "token_not_valid");
    }
    let ours = key.proof(&get, &me, Some(&plain));
    let upgraded = format!("DPoP {plain}");
    let answer = send(&[("authorization", &upgraded), ("dpop", &ours)]).await;
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    answer.problem(401, "token_not_valid");

    // None of this touched the session, and the proof that was never accepted is still valid.
    send(&[("authorization", &authorization), ("dpop", &good)]).await.expect(200);
    api.me(&plain).await.expect(200);
}

async fn a_proof_of_a_protected_call_works_once(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let (key, phone) = (ClientKey::new(&latchkey.clock), new_phone());
    let access = text(&key.sign_in(&apis[0], &phone).await, "access");
    let authorization = format!("DPoP {access}");
    // Both gateways are one service under the name of the first.
    let host = apis[0].url.trim_start_matches("http://");
    let send = async |api: &Api, proof: &str| {
        let headers = [("authorization", &*authorization), ("dpop", proof), ("host", host)];
        call(api, Method::GET, "/v1/me", None, &headers).await
    };
    for _ in 0..5 {
        let proof = key.proof(&Method::GET, &format!("{}/v1/me", apis[0].url), Some(&access));
        let all = (0..20).map(|number| send(&apis[number % 2], &proof));
        let answers = join_all(all).await;
        let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 200);
        assert_eq!(good.len(), 1);
        for answer in bad {
            assert!(refused(answer, "used").contains("already used"));
        }
        latchkey.advance(55);
        refused(send(&apis[1], &proof).await, "used, still fresh");
        latchkey.advance(10);
        refused(send(&apis[1], &proof).await, "used, too old");
    }
    // A proof from a clock that runs ahead is fresh for longer than a minute, and is remembered that long.
    let mut ahead = key.claims(&Method::GET, &format!("{}/v1/me", apis[0].url), Some(&access));
    ahead["iat"] = json!(ahead["iat"].as_i64().unwrap() + 3);
    let ahead = key.sign(&key.header(), &ahead);
    send(&apis[0], &ahead).await.expect(200);
    latchkey.advance(61);
    // Used or, on a machine that was slow, too old: never good.
    refused(send(&apis[1], &ahead).await, "used");
    // Another key may use the same id.
    let another = ClientKey::new(&latchkey.clock);
    let theirs = text(&another.sign_in(&apis[0], &phone).await, "access");
    let me = format!("{}/v1/me", apis[0].url);
    for (key, access) in [(&key, &access), (&another, &theirs)] {
        let mut claims = key.claims(&Method::GET, &me, Some(access));
        claims["jti"] = json!("one");
        let proof = key.sign(&key.header(), &claims);
        let sent = [("authorization", &*format!("DPoP {access}")), ("dpop", &*proof)];
        call(&apis[0], Method::GET, "/v1/me", None, &sent).await.expect(200);
    }
}

/// A gateway of an earlier version that refreshes a bound session would issue such a token.
async fn a_token_without_a_key_is_useless_for_a_bound_session(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let pair = api.sign_in(&new_phone()).await;
    let (access, refresh) = (text(&pair, "access"), text(&pair, "refresh"));
    api.me(&access).await.expect(200);
    let key = ClientKey::new(&domain::clock::Clock::system());
    let sql = "UPDATE sessions SET jkt = $1";
    match &system.engines {
        Some(engines) => {
            let mut connection = postgres::connect(&engines.database_url).await.unwrap();
            sqlx::query(sql).bind(key.thumbprint()).execute(&mut connection).await.unwrap();
        }
        None => {
            let url = format!("sqlite://{}/latchkey.sqlite", system.env["LATCHKEY_DATA_DIR"]);
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query(sql).bind(key.thumbprint()).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    api.me(&access).await.problem(401, "token_not_valid");
    api.verify(&access).await.problem(401, "token_not_valid");
    refused(api.refresh(&refresh).await, "unproven");
    let bound = key.refresh(&api, &refresh).await.expect(200).text("access");
    key.me(&api, &bound).await.expect(200);
}

async fn f28_a_proof_is_valid_for_a_minute_and_cannot_be_made_in_advance(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let key = ClientKey::new(&latchkey.clock);
    let mut pair = key.sign_in(&api, &new_phone()).await;
    let path = "/v1/token/refresh";
    let made = |ahead: i64| {
        let mut claims = key.claims(&Method::POST, &format!("{}{path}", api.url), None);
        claims["iat"] = json!(claims["iat"].as_i64().unwrap() + ahead);
        key.sign(&key.header(), &claims)
    };
    // The clock keeps running, so the limits have twenty seconds of slack; a unit test checks them to the second.
    for (ahead, wait, good) in [
        (0, 0, true),
        (0, 40, true),
        (0, 62, false),
        (3, 0, true),
        (30, 0, false),
        (65, 0, false),
        (65, 64, true),
        (15, 55, true),
        (15, 80, false),
        (-40, 0, true),
        (-62, 0, false),
    ] {
        let proof = made(ahead);
        latchkey.advance(wait);
        let body = json!({ "refresh": text(&pair, "refresh") });
        let answer = api.post_with(path, body, &[("dpop", &proof)]).await;
        if good {
            pair = answer.expect(200).body;
        } else {
            let date = answer.header("date").map(str::to_owned);
            let detail = refused(answer, "skewed");
            assert!(detail.contains("`iat`") && date.is_some(), "{detail}");
        }
    }
}

async fn f28_with_nonces_a_proof_needs_one_of_the_last_minutes_from_any_gateway(side: Side) {
    let nonces = [("LATCHKEY_DPOP_NONCE", "true")];
    let latchkey = InProcessLatchkey::start_with(side, 2, &nonces).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let (key, phone) = (ClientKey::new(&latchkey.clock), new_phone());
    let login = json!({ "phone_number": phone, "otp": one.fresh_code(&phone).await });
    let proof = |api: &Api, method: &Method, path: &str, access: Option<&str>, nonce: &str| {
        let mut claims = key.claims(method, &format!("{}{path}", api.url), access);
        claims["nonce"] = json!(nonce);
        key.sign(&key.header(), &claims)
    };
    // Asserts that the answer demands a nonce, and returns the one it gives.
    let given = |answer: Answer| {
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        assert!(challenge.starts_with(r#"DPoP error="use_dpop_nonce""#), "{challenge}");
        let nonce = answer.header("dpop-nonce").expect("a nonce").to_owned();
        answer.problem(401, "token_not_valid");
        nonce
    };

    let mut nonce = given(key.post(&one, "/v1/login", login.clone()).await);
    let strange = proof(&one, &Method::POST, "/v1/login", None, &"0".repeat(nonce.len()));
    given(one.post_with("/v1/login", login.clone(), &[("dpop", &strange)]).await);
    // No attempt was counted and the code is still good. A nonce of one gateway is good at the other.
    let made = proof(&other, &Method::POST, "/v1/login", None, &nonce);
    let answer = other.post_with("/v1/login", login, &[("dpop", &made)]).await;
    let access = text(&answer.expect(200).body, "access");
    let authorization = format!("DPoP {access}");
    let me = async |nonce: &str| {
        let made = proof(&one, &Method::GET, "/v1/me", Some(&access), nonce);
        let headers = [("authorization", authorization.as_str()), ("dpop", made.as_str())];
        call(&one, Method::GET, "/v1/me", None, &headers).await
    };
    for wait in [0, 230] {
        latchkey.advance(wait);
        let answer = me(&nonce).await.expect(200);
        assert!(answer.header("dpop-nonce").is_some(), "each answer to a proof gives a nonce");
    }
    latchkey.advance(200);
    nonce = given(me(&nonce).await);
    me(&nonce).await.expect(200);
    // Whoever sends no proof needs no nonce, and one without a key is told what is missing.
    one.sign_in(&new_phone()).await;
    refused(
        call(&one, Method::GET, "/v1/me", None, &[("authorization", &authorization)]).await,
        "",
    );
}

mod on_the_engines {
    use super::*;
    use testkit::engines::Engines;
    use testkit::eventually;
    use testkit::proxy::Fault;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_without_redis_no_proof_is_accepted_and_calls_that_need_no_memory_still_work() {
        let mut engines = Engines::shared().fresh().await;
        let mut proxy = engines.proxy_redis().await;
        let system = System::on(engines, &[]).await;
        let api = system.api();
        let key = ClientKey::new(&domain::clock::Clock::system());
        let phone = new_phone();
        let pair = key.sign_in(&api, &phone).await;
        let (access, plain) = (text(&pair, "access"), text(&api.sign_in(&phone).await, "access"));
        key.me(&api, &access).await.expect(200);
        let proof = key.proof(&Method::GET, &format!("{}/v1/me", api.url), Some(&access));
        let sent = [("authorization", &*format!("DPoP {access}")), ("dpop", &*proof)];

        proxy.set(Fault::Refuse).await;
        let refused = call(&api, Method::GET, "/v1/me", None, &sent);
        api.in_time("no Redis", refused).await.problem(503, "temporarily_unavailable");
        api.me(&plain).await.expect(200);
        let next = key.refresh(&api, &text(&pair, "refresh")).await.expect(200);

        proxy.set(Fault::None).await;
        let access = next.text("access");
        eventually("bound calls after the recovery", testkit::PATIENCE, async || {
            (key.me(&api, &access).await.status == 200).then_some(())
        })
        .await;
    }
}
