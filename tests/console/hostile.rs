//! What users and strangers write is shown as text: names, devices, reasons, addresses.

use accounts::{NewUser, StaffRole};
use domain::ids::UserId;
use serde_json::json;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::Console;

testkit::both_sides!(
    nothing_that_a_user_wrote_becomes_a_part_of_a_page,
    odd_addresses_and_bodies_are_refused_politely,
);

const HOSTILE: &str = "</title></td><script>alert(1)</script><img src=x onerror=alert(1)>\"' x=\"";

async fn nothing_that_a_user_wrote_becomes_a_part_of_a_page(side: Side) {
    let console = Console::start(side).await;
    let now = console.latchkey.clock.now();
    let (id, number) = (UserId::new(&console.latchkey.clock), new_phone().parse().unwrap());
    let user = NewUser {
        id,
        phone_number: &number,
        first_name: HOSTILE,
        last_name: HOSTILE,
        locale: "en",
        country: "IR",
        password_hash: None,
        created_at: now,
        block_reason: Some(HOSTILE),
    };
    console.accounts.create(user, HOSTILE, now).await.unwrap();
    console.audit.add(now, HOSTILE, HOSTILE, HOSTILE, &json!({ HOSTILE: HOSTILE })).await.unwrap();
    // A device says of itself what it likes.
    let (api, phone) = (console.latchkey.api(), new_phone());
    let code = api.fresh_code(&phone).await;
    let login = json!({ "phone_number": phone, "otp": code });
    let agent = [("user-agent", "<b>bold</b><script>alert(2)</script>")];
    let login = api.post_with("/v1/login", login, &agent).await.expect(200);
    let device = login.body["user"]["id"].as_str().unwrap();
    let mut member = console.member(StaffRole::Owner).await;
    let name = super::browser::encoded(HOSTILE);
    let pages = [
        "/console".to_owned(),
        "/console/users".to_owned(),
        format!("/console/users/{id}"),
        format!("/console/users/{device}"),
        format!("/console/users?name={name}&digits={name}"),
        format!("/console/users?name={name}"),
        format!("/console/requests?provider={name}&country={name}&status={name}&user={id}"),
        "/console/audit".to_owned(),
        format!("/console/audit?actor={name}&subject={name}&act={name}&since={name}"),
        "/console/blocks".to_owned(),
    ];
    for address in pages {
        let page = member.browser.get(&address).await.expect(200);
        // The page's own script alone.
        assert_eq!(page.text.matches("<script").count(), 1, "{address}");
        page.shows("<script src=\"/console/console.js?");
        for part in ["<script>", "<img", "onerror=alert(1)>", "\"' x=\"", "<b>bold"] {
            assert!(!page.text.contains(part), "{part} at {address}");
        }
    }
    let page = member.browser.get(&format!("/console/users/{id}")).await;
    page.shows("&#60;script&#62;alert(1)&#60;/script&#62;");
    let page = member.browser.get(&format!("/console/users/{device}")).await;
    page.shows("&#60;b&#62;bold&#60;/b&#62;");
}

async fn odd_addresses_and_bodies_are_refused_politely(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Owner).await;
    let browser = &mut member.browser;
    for address in [
        "/console/users/x",
        "/console/users/%00",
        "/console/users/..%2f..%2fv1%2fme",
        "/console/requests/%ff",
        "/console/<script>",
        "/console/users/x/y/z",
    ] {
        let page = browser.get(address).await.expect(404);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{address}");
        page.hides("<script");
    }
    for address in ["/console/login?next=%ff&next=a", "/console/login?next=//evil.example"] {
        assert_eq!(browser.get(address).await.expect(200).field("next"), "");
    }
    let home = browser.get("/console").await.expect(200);
    let long = "9".repeat(20_000);
    browser.submit(&home, "/console/find", &[("what", &long)]).await.expect(413);
    browser.submit(&home, "/console/find", &[("what", "a\0b")]).await.expect(400);
    browser.submit(&home, "/console/find", &[("what", "a"), ("what", "b")]).await.expect(400);
    let token = home.field("token");
    let fields = [("token", token.as_str())];
    let json = [("content-type", "application/json")];
    let refused = browser.send(reqwest::Method::POST, "/console/find", None, &json).await;
    assert_eq!(refused.status, 415);
    let page = browser.send(reqwest::Method::PUT, "/console/find", Some(&fields), &[]).await;
    assert_eq!(page.status, 405);
    page.shows("Open the page itself");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("allow"), "POST");
    let page = browser.get("/console/nowhere").await.expect(404);
    let id = page.header("x-request-id").to_owned();
    page.shows(&id);
}
