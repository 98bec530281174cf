//! A blocked account: reported only after the right code or password.

use reqwest::Method;
use serde_json::json;

use testkit::both_sides;
use testkit::http::{new_phone, wrong};
use testkit::system::{Side, System};

both_sides!(p6_a_block_is_reported_only_after_the_right_code_or_password);

async fn p6_a_block_is_reported_only_after_the_right_code_or_password(side: Side) {
    const PASSWORD: &str = "vq7 blue kite 9 over the lake";
    let system = System::start(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let pair = api.sign_in(&phone).await;
    let access = pair["access"].as_str().unwrap();
    let body = json!({ "password": PASSWORD });
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await.expect(204);
    system.run(&["users", "block", &phone, "--reason", "a test", "--yes"]);
    api.me(access).await.problem(401, "session_revoked");
    api.refresh(pair["refresh"].as_str().unwrap()).await.problem(401, "session_revoked");

    let try_password = async |password: &str| {
        api.post("/v1/token", json!({ "phone_number": phone, "password": password })).await
    };
    try_password("a wrong one, of some length").await.problem(401, "invalid_credentials");
    try_password(PASSWORD).await.problem(403, "account_blocked");
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    api.login(&phone, &code).await.problem(403, "account_blocked");
    api.login(&phone, &code).await.problem(401, "otp_incorrect");

    system.run(&["users", "unblock", &phone]);
    api.me(access).await.problem(401, "session_revoked");
    assert_eq!(api.sign_in(&phone).await["user"]["id"], pair["user"]["id"]);
    try_password(PASSWORD).await.expect(200);
}
