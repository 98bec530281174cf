//! Rotation of the secret: counts, blocks and sessions from before it stay in force.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use testkit::both_sides;
use testkit::http::{Api, new_phone};
use testkit::process::{self, Binary};
use testkit::system::{Side, System};

both_sides!(p4_rotating_the_secret_keeps_failures_blocks_and_sessions);

const BEFORE: &str = "kv7tq2m9xw4r8ys3bn6c1zd5hj0plaeg";
const NOW: &str = "m3xq8vt1zc6w9rk4yb7n2hs5dj0gpfle";
const PASSWORD: &str = "vq7 blue kite 9 over the lake";

async fn p4_rotating_the_secret_keeps_failures_blocks_and_sessions(side: Side) {
    // One issuer for all processes, whatever their port.
    let issuer = ("LATCHKEY_ISSUER", "http://latchkey.test");
    let mut system = System::start(side, &[("LATCHKEY_SECRET", BEFORE), issuer]).await;
    let api = system.api();
    let (phone, blocked) = (new_phone(), new_phone());
    let tokens = api.sign_in(&phone).await;
    let access = tokens["access"].as_str().unwrap();
    let set = api.signed_in(
        Method::PUT,
        "/v1/me/password",
        access,
        Some(json!({ "password": PASSWORD })),
    );
    set.await.expect(204);
    let try_password = |api: Api, password: &'static str| {
        let body = json!({ "phone_number": phone, "password": password });
        async move { api.post("/v1/token", body).await }
    };
    for _ in 0..10 {
        let answer = try_password(api.clone(), "a wrong password").await;
        answer.problem(401, "invalid_credentials");
    }
    system.run(&["block", "add", "phone", &blocked, "--reason", "test", "--owner", "ops"]);

    let binary = match side {
        Side::Embedded => Binary::Latchkey,
        Side::Engines => Binary::Gateway,
    };
    let rotated = [("LATCHKEY_SECRET", NOW), ("LATCHKEY_SECRET_PREVIOUS", BEFORE)];
    let added = system.add(binary, &rotated).await;
    let api = Api::new(system.processes[added].url.as_ref().unwrap());
    let waits = try_password(api.clone(), PASSWORD).await.problem(429, "too_many_requests");
    assert_eq!(waits["limit"], "guesses");
    let stopped = api.otp(&blocked).await.problem(429, "too_many_requests");
    assert_eq!(stopped["limit"], "blocked");
    api.refresh(tokens["refresh"].as_str().unwrap()).await.expect(200);

    let home = Path::new(&system.env["LATCHKEY_DATA_DIR"]).parent().unwrap();
    let env = system.processes[added].server.env();
    let run = |args: &[&str]| process::run(Binary::Latchkey, args, home, env);
    run(&["block", "remove", "phone", &blocked, "--yes"]);
    let left: Value = serde_json::from_str(&run(&["block", "list", "--json"])).unwrap();
    assert_eq!(left, json!([]));
    run(&["users", "unlock", &phone]);
    try_password(api, PASSWORD).await.expect(200);
}
