//! A user's whole journey: sign-up, code, login, refresh, verify, me, logout, and login again.

use serde_json::json;

use super::{Place, claims};
use crate::everywhere;
use testkit::eventually;
use testkit::http::{Api, new_phone};

everywhere!(
    a_user_signs_up_and_in_and_out_and_in_again,
    the_status_of_a_code_request_goes_from_accepted_to_verified,
    a_sign_up_changes_nothing_in_an_existing_account,
    the_published_keys_are_the_signing_keys,
);

/// The gateways in turn: each step goes to a different one than the last.
fn turns(apis: &[Api]) -> impl Iterator<Item = &Api> {
    apis.iter().cycle()
}

async fn a_user_signs_up_and_in_and_out_and_in_again(place: Place) {
    let (system, apis) = place.open(&[]).await;
    let mut turn = turns(&apis);
    let mut next = || turn.next().expect("the iterator is endless");
    let phone = new_phone();

    let request = next().signup(&phone, "Grace", "Hopper").await.expect(202);
    assert_eq!(request.text("phone_number"), phone);
    assert_eq!(request.body["code_length"], 6);
    assert_eq!(request.body["channel"], "sms");
    let expires_in = request.body["expires_in"].as_u64().unwrap();
    assert!((295..=300).contains(&expires_in), "{expires_in}");

    let code = next().code(&phone, 1).await;
    let login = next().login_for(&phone, &code, &request.text("request_id")).await.expect(200);
    let (access, refresh) = (login.text("access"), login.text("refresh"));
    assert_eq!(login.body["token_type"], "Bearer");
    assert_eq!(login.body["expires_in"], 600);
    assert_eq!(login.body["user"]["first_name"], "Grace");
    assert_eq!(login.body["user"]["last_name"], "Hopper");
    assert_eq!(login.body["user"]["phone_number"], phone);
    assert_eq!(claims(&access)["sub"], login.body["user"]["id"]);
    assert_eq!(claims(&access)["amr"], json!(["sms"]));

    let new = next().refresh(&refresh).await.expect(200);
    assert_eq!(claims(&new.text("access"))["sid"], claims(&access)["sid"]);
    next().verify(&new.text("access")).await.expect(200);
    next().verify(&new.text("refresh")).await.expect(200);
    let me = next().me(&new.text("access")).await.expect(200);
    assert_eq!(me.body, login.body["user"]);
    next().me(&new.text("refresh")).await.problem(401, "token_not_valid");

    next().blacklist(&new.text("refresh")).await.expect(200);
    next().refresh(&new.text("refresh")).await.problem(401, "session_revoked");
    next().verify(&new.text("access")).await.problem(401, "session_revoked");
    next().me(&new.text("access")).await.problem(401, "session_revoked");

    let code = next().fresh_code(&phone).await;
    let again = next().login(&phone, &code).await.expect(200);
    assert_eq!(again.body["user"], login.body["user"]);
    assert_ne!(claims(&again.text("access"))["sid"], claims(&access)["sid"]);
    system.stop().await;
}

async fn the_status_of_a_code_request_goes_from_accepted_to_verified(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let api = &apis[0];
    let phone = new_phone();
    let request = api.otp(&phone).await.expect(202).text("request_id");
    let mut seen = Vec::new();
    eventually("the text to be sent", testkit::PATIENCE, async || {
        let status = api.status(&request).await.expect(200).text("status");
        if seen.last() != Some(&status) {
            seen.push(status.clone());
        }
        (status == "sent").then_some(())
    })
    .await;
    let way = ["accepted", "issued", "sending", "sent"];
    let places: Vec<_> =
        seen.iter().map(|status| way.iter().position(|one| one == status)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{seen:?}");
    let code = api.code(&phone, 1).await;
    apis.last().unwrap().login(&phone, &code).await.expect(200);
    let status = api.status(&request).await.expect(200);
    assert_eq!(status.text("status"), "verified");
    assert_eq!(status.text("request_id"), request);
}

async fn a_sign_up_changes_nothing_in_an_existing_account(place: Place) {
    let (_system, apis) = place.open(&[]).await;
    let api = &apis[0];
    let phone = new_phone();
    api.signup(&phone, "First", "Owner").await.expect(202);
    let code = api.code(&phone, 1).await;
    let first = api.login(&phone, &code).await.expect(200);
    api.signup(&phone, "Second", "Try").await.expect(202);
    let code = api.code(&phone, 2).await;
    let again = apis.last().unwrap().login(&phone, &code).await.expect(200);
    assert_eq!(again.body["user"], first.body["user"]);
}

async fn the_published_keys_are_the_signing_keys(place: Place) {
    use base64::Engine as _;
    let (_system, apis) = place.open(&[]).await;
    let login = apis[0].sign_in(&new_phone()).await;
    let access = login["access"].as_str().unwrap();
    let head = access.split('.').next().unwrap();
    let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap();
    let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    assert_eq!((head["typ"].as_str(), head["alg"].as_str()), (Some("at+jwt"), Some("ES256")));
    for api in &apis {
        let keys = api.get("/.well-known/jwks.json").await.expect(200);
        assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
        let keys = keys.body["keys"].as_array().unwrap().clone();
        assert!(keys.iter().any(|key| key["kid"] == head["kid"] && key.get("d").is_none()));
        api.verify(access).await.expect(200);
    }
}
