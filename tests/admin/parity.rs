//! A page of the console and an answer of the admin API say the same.

use accounts::StaffRole;
use fake_twilio::callback::sign;
use reqwest::Method;
use serde_json::json;
use testkit::system::Side;

use super::client::Admin;

testkit::both_sides!(
    a_page_shows_what_the_answer_holds,
    a_page_of_limits_and_providers_shows_what_the_answers_hold,
    the_page_for_developers_shows_the_calls_that_the_answer_holds,
);

async fn a_page_shows_what_the_answer_holds(side: Side) {
    let admin = Admin::start(side).await;
    let (id, phone, _) = admin.console.account(None).await;
    let request = admin.console.latchkey.api().otp(&phone).await.expect(202).text("request_id");
    let by = admin.key(StaffRole::Operator).await;
    let path = format!("/admin/v1/requests/{request}");
    let view = testkit::eventually("the text with its provider", testkit::PATIENCE, async || {
        let view = by.get(&path).await.body;
        view["taken_ms"].is_number().then_some(view)
    })
    .await;
    let mut member = admin.console.member(StaffRole::Viewer).await;
    let page = member.browser.get(&format!("/console/requests/{request}")).await.expect(200);
    for step in view["steps"].as_array().unwrap() {
        page.shows(step["title"].as_str().unwrap());
        page.shows(step["at"].as_str().unwrap());
        page.shows(step["detail"].as_str().unwrap());
    }
    page.shows(view["phone_number"].as_str().unwrap());
    page.shows(&format!("/console/users/{}", view["user_id"].as_str().unwrap()));
    page.shows(view["status"].as_str().unwrap());
    assert_eq!(page.text.matches("<li class=").count(), view["steps"].as_array().unwrap().len());

    let view = by.get(&format!("/admin/v1/users/{id}")).await.expect(200).body;
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    for text in [
        &view["user"]["phone_number"],
        &view["user"]["country"],
        &view["user"]["created_at"],
        &view["user"]["last_seen_at"],
        &view["standing"]["code"]["state"],
        &view["standing"]["code"]["expires_at"],
        &view["sessions"][0]["created_at"],
    ] {
        page.shows(text.as_str().unwrap());
    }
    for obstacle in view["standing"]["obstacles"].as_array().unwrap() {
        page.shows(obstacle["detail"].as_str().unwrap());
    }
    let live =
        view["sessions"].as_array().unwrap().iter().filter(|it| it["ended_at"].is_null()).count();
    assert_eq!(view["user"]["live_sessions"], live);
    assert_eq!(
        page.text.matches("<span class=\"tag good\">live</span>").count(),
        live + 1,
        "and the code"
    );
    for text in view["texts"].as_array().unwrap() {
        page.shows(&format!("/console/requests/{}", text["id"].as_str().unwrap()));
    }
}

async fn a_page_of_limits_and_providers_shows_what_the_answers_hold(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    let mut member = admin.console.member(StaffRole::Viewer).await;
    let view = by.get("/admin/v1/limits").await.expect(200).body;
    let page = member.browser.get("/console/limits").await.expect(200);
    page.shows(view["started_at"].as_str().unwrap());
    for limit in view["limits"].as_array().unwrap() {
        page.shows(limit["limit"].as_str().unwrap());
        page.shows(limit["variable"].as_str().unwrap_or("built in"));
    }
    let body =
        serde_json::json!({ "minutes": 5, "reason": "no receipts", "owner": "the night watch" });
    by.post("/admin/v1/providers/http/shut", body).await.expect(200);
    let view = by.get("/admin/v1/providers").await.expect(200).body;
    let page = member.browser.get("/console/providers").await.expect(200);
    for provider in view["providers"].as_array().unwrap() {
        page.shows(&format!(
            "/console/requests?provider={}",
            provider["provider"].as_str().unwrap()
        ));
        for text in ["until", "since", "reason", "owner"] {
            provider["shut"][text].as_str().into_iter().for_each(|text| page.shows(text));
        }
    }
    for route in view["routes"].as_array().unwrap() {
        for provider in route["providers"].as_array().unwrap() {
            page.shows(provider.as_str().unwrap());
        }
    }
}

async fn the_page_for_developers_shows_the_calls_that_the_answer_holds(side: Side) {
    let (token, url) = ("m4rk3d0fea48c1b7735dd09ab12ce4f6", "https://id.example.test");
    let settings = [
        ("LATCHKEY_SMS_ROUTES", "default=inbox;44=twilio"),
        ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
        ("TWILIO_AUTH_TOKEN", token),
        ("TWILIO_FROM", "+12125550100"),
        ("LATCHKEY_PUBLIC_URL", url),
    ];
    let admin = Admin::start_with(side, &settings).await;
    let by = admin.key(StaffRole::Viewer).await;
    let mut member = admin.console.member(StaffRole::Viewer).await;
    let view = by.get("/admin/v1/webhook-calls").await.expect(200).body;
    assert_eq!((&view["signed"], &view["unsigned"]), (&json!([]), &json!([])));
    assert_eq!(view["url"], format!("{url}/webhooks/twilio/status/{{attempt_id}}"));
    assert_eq!(view["is_expected"], true);
    let attempt = "018f4e7a-0000-7000-8000-00000000000a";
    let path = format!("/webhooks/twilio/status/{attempt}");
    let form = [("MessageStatus".to_owned(), "delivered".to_owned())];
    let signature = sign(token, &format!("{url}{path}"), &form);
    for (signature, status) in [(signature.as_str(), 204), ("AAAA", 403)] {
        let (fields, headers) =
            ([("MessageStatus", "delivered")], [("x-twilio-signature", signature)]);
        let mut browser = admin.console.browser();
        let answer = browser.send(Method::POST, &path, Some(&fields), &headers).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let view = by.get("/admin/v1/webhook-calls").await.expect(200).body;
    let (signed, unsigned) = (&view["signed"][0], &view["unsigned"][0]);
    assert_eq!((&signed["verdict"], &signed["status"]), (&json!("accepted"), &json!(204)));
    assert_eq!(signed["message_status"], "delivered");
    assert_eq!(signed["attempt_id"], attempt);
    assert_eq!(
        (&unsigned["verdict"], &unsigned["status"]),
        (&json!("wrong_signature"), &json!(403))
    );
    assert_eq!(
        (&unsigned["message_status"], &unsigned["attempt_id"]),
        (&json!(null), &json!(null))
    );
    let page = member.browser.get("/console/developers").await.expect(200);
    page.shows(&view["url"].as_str().unwrap().replace('&', "&#38;"));
    page.shows(view["started_at"].as_str().unwrap());
    for call in [signed, unsigned] {
        for name in ["at", "verdict", "caller"] {
            page.shows(call[name].as_str().unwrap());
        }
    }
    let words = unsigned["meaning"].as_str().unwrap().split('`');
    words.for_each(|part| page.shows(&part.replace('\'', "&#39;")));
}
