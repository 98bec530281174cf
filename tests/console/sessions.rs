//! A session of the console: how it ends, and what no other site can make it do.

use accounts::{Sessions, StaffRole};
use reqwest::Method;
use serde_json::json;
use testkit::system::Side;

use super::browser::{Console, Page, SESSION};

testkit::both_sides!(
    a_role_removed_a_second_ago_opens_nothing,
    whatever_ends_an_accounts_sessions_ends_those_at_the_console,
    a_session_ends_when_it_is_idle_and_after_half_a_day_in_any_case,
    a_sign_out_ends_the_session_at_the_server,
    a_form_without_its_token_or_from_another_site_does_nothing,
);

fn is_out(page: &Page) -> bool {
    page.status == 303 && page.header("location").starts_with("/console/login")
}

async fn a_role_removed_a_second_ago_opens_nothing(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Owner).await;
    let home = member.browser.get("/console").await.expect(200);
    home.shows("owner");
    let now = console.latchkey.clock.now();
    assert!(console.accounts.grant_role(member.id, StaffRole::Viewer, "test", now).await.unwrap());
    member.browser.get("/console").await.expect(200).shows("viewer");
    assert!(console.accounts.revoke_role(member.id, "test", now).await.unwrap());
    assert!(is_out(&member.browser.get("/console").await));
    let out = member.browser.submit(&home, "/console/logout", &[]).await;
    assert!(is_out(&out) && member.browser.cookies.contains_key(SESSION), "it was not judged");
}

async fn whatever_ends_an_accounts_sessions_ends_those_at_the_console(side: Side) {
    let console = Console::start(side).await;
    let now = console.latchkey.clock.now();
    // Staff block the account.
    let mut blocked = console.member(StaffRole::Support).await;
    assert!(console.accounts.block(blocked.id, "left", "test", now).await.unwrap());
    assert!(is_out(&blocked.browser.get("/console").await));
    assert!(console.accounts.unblock(blocked.id, "test", now).await.unwrap());
    assert!(is_out(&blocked.browser.get("/console").await), "it does not come back");
    // The owner signs out everywhere else, or sets a password.
    let api = console.latchkey.api();
    let mut elsewhere = console.member(StaffRole::Support).await;
    let path = "/v1/me/sessions";
    api.signed_in(Method::DELETE, path, &elsewhere.access, None).await.expect(204);
    assert!(is_out(&elsewhere.browser.get("/console").await));
    let mut secured = console.member(StaffRole::Support).await;
    let body = json!({ "password": "violet anchor breeze 42 lagoon" });
    let path = "/v1/me/password";
    api.signed_in(Method::PUT, path, &secured.access, Some(body)).await.expect(204);
    assert!(is_out(&secured.browser.get("/console").await));
    // The end of one session of the app is no end of this one.
    let mut kept = console.member(StaffRole::Support).await;
    api.blacklist(&kept.refresh).await.expect(200);
    kept.browser.get("/console").await.expect(200);
    let sessions = Sessions::new(&console.latchkey.engines.sql);
    assert!(sessions.of_user(kept.id, now).await.unwrap().is_empty());
    // The account is deleted.
    let mut gone = console.member(StaffRole::Support).await;
    api.signed_in(Method::DELETE, "/v1/me", &gone.access, None).await.expect(204);
    assert!(is_out(&gone.browser.get("/console").await));
}

async fn a_session_ends_when_it_is_idle_and_after_half_a_day_in_any_case(side: Side) {
    let console = Console::start(side).await;
    let mut idle = console.member(StaffRole::Viewer).await;
    console.latchkey.advance(29 * 60);
    idle.browser.get("/console").await.expect(200);
    console.latchkey.advance(29 * 60);
    idle.browser.get("/console").await.expect(200);
    console.latchkey.advance(30 * 60);
    assert!(is_out(&idle.browser.get("/console").await));
    let mut busy = console.member(StaffRole::Viewer).await;
    for _ in 0..28 {
        console.latchkey.advance(25 * 60);
        busy.browser.get("/console").await.expect(200);
    }
    console.latchkey.advance(20 * 60 - 5);
    busy.browser.get("/console").await.expect(200);
    console.latchkey.advance(5);
    assert!(is_out(&busy.browser.get("/console").await));
}

async fn a_sign_out_ends_the_session_at_the_server(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let stolen = member.browser.clone();
    let home = member.browser.get("/console").await.expect(200);
    let out = member.browser.submit(&home, "/console/logout", &[]).await;
    assert_eq!(out.leads_to(), "/console/login");
    assert!(!member.browser.cookies.contains_key(SESSION));
    let mut stolen = stolen;
    assert!(is_out(&stolen.get("/console").await));
    assert_eq!(console.count(&member.id.to_string(), "console_signed_out").await, 1);
}

async fn a_form_without_its_token_or_from_another_site_does_nothing(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Owner).await;
    let mut other = console.member(StaffRole::Owner).await;
    let browser = &mut member.browser;
    let token = browser.get("/console").await.expect(200).field("token");
    let others = other.browser.get("/console").await.expect(200).field("token");
    let out = "/console/logout";
    for fields in [vec![], vec![("token", "")], vec![("token", others.as_str())]] {
        let refused = browser.send(Method::POST, out, Some(&fields), &[]).await.expect(403);
        refused.shows("out of date");
    }
    let fields = [("token", token.as_str())];
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("same-site", "null"),
        ("same-origin", "https://evil.example"),
        ("", "https://evil.example"),
        ("", "null"),
    ] {
        let headers = [("sec-fetch-site", site), ("origin", origin)];
        let refused = browser.send(Method::POST, out, Some(&fields), &headers).await.expect(403);
        refused.shows("another site");
    }
    // In the address it counts for nothing, and a GET signs nobody out.
    let path = format!("{out}?token={token}");
    browser.send(Method::POST, &path, Some(&[]), &[]).await.expect(403);
    browser.get(&path).await.expect(405);
    browser.get("/console").await.expect(200);
    let url = browser.api.url.clone();
    let own = [("sec-fetch-site", ""), ("origin", url.as_str())];
    assert_eq!(browser.send(Method::POST, out, Some(&fields), &own).await.status, 303);
    assert!(is_out(&browser.get("/console").await));
}
