//! The admin API has a port of its own, which serves nothing else, and nothing else serves it.

use reqwest::Method;
use testkit::folder::free_port;
use testkit::http::{Api, new_phone};
use testkit::system::{STOP_LIMIT, Side, System};

use super::client::Admin;

testkit::both_sides!(
    neither_port_serves_what_is_the_others,
    p10_no_key_and_no_number_is_in_the_log
);

async fn neither_port_serves_what_is_the_others(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(accounts::StaffRole::Owner).await;
    let public = admin.console.latchkey.api();
    let key = [("authorization", by.bearer.as_str())];
    for path in ["/admin/v1/users", "/admin", "/admin/v1/audit"] {
        let answer = public.try_call(Method::GET, path, None, &key).await.unwrap();
        answer.problem(404, "not_found");
    }
    for path in [
        "/v1/me",
        "/console",
        "/inbox/messages",
        "/docs",
        "/.well-known/jwks.json",
        "/",
        "/metrics",
    ] {
        let url = format!("{}{path}", admin.api.url);
        assert_eq!(testkit::http::status_of(&url).await, Some(404), "{path}");
    }
    let with = [key[0], ("content-encoding", "gzip")];
    let encoded = admin.call(Method::POST, "/admin/v1/users", None, &with).await;
    encoded.problem(415, "unsupported_media_type");
    let long = serde_json::json!({ "phone_number": "1".repeat(20_000) });
    by.post("/admin/v1/users", long).await.problem(413, "payload_too_large");
    let wrong = admin.call(Method::PUT, "/admin/v1/users", None, &key).await;
    assert!(wrong.header("allow").is_some());
    wrong.problem(405, "method_not_allowed");
    let named = [key[0], ("x-request-id", "my-own-id")];
    let answer = admin.call(Method::GET, "/admin/v1/users", None, &named).await.expect(200);
    assert_eq!(answer.header("x-request-id"), Some("my-own-id"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // A gateway without the setting has no such port: the default of every other test.
}

/// And a flood of wrong keys is one line, and a count.
async fn p10_no_key_and_no_number_is_in_the_log(side: Side) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut system =
        System::start(side, &[("LATCHKEY_ADMIN_LISTEN", &address), ("RUST_LOG", "debug")]).await;
    let create = ["admin-keys", "create", "helpdesk", "--role", "operator"];
    let key = system.run(&create).trim().to_owned();
    let (api, bearer) = (Api::new(&format!("http://{address}")), format!("Bearer {key}"));
    let headers = [("authorization", bearer.as_str())];
    let phone = new_phone();
    let body = serde_json::json!({ "phone_number": phone });
    let call = async |path: &str, body: Option<&serde_json::Value>| {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        api.try_call(method, path, body, &headers).await.unwrap()
    };
    let made = call("/admin/v1/users", Some(&body)).await.expect(201);
    call("/admin/v1/users/find", Some(&body)).await.expect(200);
    let why = serde_json::json!({ "reason": "a test" });
    let path = format!("/admin/v1/users/{}/reveal", made.text("id"));
    call(&path, Some(&why)).await.expect(200);
    for _ in 0..20 {
        api.get("/admin/v1/users").await.problem(401, "token_not_valid");
    }
    let metrics = testkit::http::get_blocking(&system.processes[0].ops_url, "/metrics").unwrap();
    assert!(metrics.contains("latchkey_admin_refused_total{reason=\"key\"} 20"), "{metrics}");
    let status = system.processes[0].server.terminate(STOP_LIMIT).await;
    assert!(status.success(), "it drains and ends");
    let output = system.output();
    assert!(output.contains("the admin API listens"), "{output}");
    assert_eq!(output.matches("without a valid key").count(), 1, "{output}");
    assert!(!output.contains(&key[26..]) && !output.contains(&phone[3..]), "a secret is logged");
}
