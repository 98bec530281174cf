//! A database that is away: 503, and nothing half done.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::engines::Engines;
use testkit::folder::free_port;
use testkit::http::{Api, new_phone, served};
use testkit::proxy::Fault;
use testkit::system::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_without_its_database_nothing_is_done_and_said_so_on_the_engines() {
    let mut engines = Engines::shared().fresh().await;
    let mut proxy = engines.proxy_database().await;
    let address = format!("127.0.0.1:{}", free_port());
    let system = System::on(engines, &[("LATCHKEY_ADMIN_LISTEN", &address)]).await;
    let create = ["admin-keys", "create", "helpdesk", "--role", "operator"];
    let bearer = format!("Bearer {}", system.run(&create).trim());
    let headers = [("authorization", bearer.as_str())];
    let api = Api::new(&format!("http://{address}"));
    let post = async |path: &str, body: &Value| {
        api.try_call(Method::POST, path, Some(body), &headers).await.unwrap()
    };
    let new = json!({ "phone_number": new_phone() });
    let id = post("/admin/v1/users", &new).await.expect(201).text("id");
    let (block, why) = (format!("/admin/v1/users/{id}/block"), json!({ "reason": "a test" }));
    let many = json!({ "act": "block", "user_ids": [id], "reason": "a test" });
    proxy.set(Fault::Refuse).await;
    proxy.cut_all();
    for (path, body) in [(block.as_str(), &why), ("/admin/v1/users/bulk", &many)] {
        let problem = post(path, body).await.problem(503, "temporarily_unavailable");
        assert!(problem["retry_after"].as_u64().unwrap() > 0);
    }
    proxy.set(Fault::None).await;
    let path = format!("/admin/v1/users/{id}");
    let get = async || api.try_call(Method::GET, &path, None, &headers).await.unwrap();
    let view = served(get).await.expect(200).body;
    assert_eq!((&view["block"], &view["user"]["state"]), (&Value::Null, &json!("active")));
    let acts: Vec<_> =
        view["events"].as_array().unwrap().iter().map(|it| it["act"].clone()).collect();
    assert_eq!(acts, ["user_created"]);
    assert_eq!(post(&block, &why).await.expect(200).body, json!({ "changed": true }));
}
