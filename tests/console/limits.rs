//! Limits: what is in force, and what would answer a phone or an address: it agrees with what a request then meets.

use accounts::{Block, BlockKind, Blocks, StaffRole};
use serde_json::json;
use testkit::PATIENCE;
use testkit::http::{new_phone, wrong};
use testkit::system::Side;

use super::browser::{Browser, Console, Page};
use crate::accounts::in_process::InProcessLatchkey;

testkit::both_sides!(
    every_limit_is_listed_with_its_value_and_source,
    an_explanation_agrees_with_what_a_code_request_meets,
    an_explanation_agrees_with_what_a_sign_in_meets,
    an_explanation_is_in_the_audit_without_the_number,
    what_cannot_be_explained_is_said,
);

const PATH: &str = "/console/limits";

async fn explain(browser: &mut Browser, phone: &str, address: &str) -> Page {
    let page = browser.get(PATH).await.expect(200);
    browser.submit(&page, PATH, &[("phone", phone), ("address", address)]).await
}

/// What would answer a code request, or a sign-in: its name.
fn answers(page: &Page, what: &str) -> Option<String> {
    let from =
        page.text.find(&format!("<h3>{what}</h3>")).unwrap_or_else(|| panic!("{}", page.text));
    let rest = &page.text[from..];
    let line = &rest[..rest[4..].find("<h3>").map_or(rest.len(), |end| end + 4)];
    if line.contains("No limit refuses it") {
        return None;
    }
    let mark = "</span> by <b>";
    let name = &line[line.find(mark).unwrap_or_else(|| panic!("{line}")) + mark.len()..];
    Some(name[..name.find('<').unwrap()].to_owned())
}

async fn every_limit_is_listed_with_its_value_and_source(side: Side) {
    let limits = [("LATCHKEY_SENDS_PER_PHONE_HOUR", "7")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &limits).await);
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get(PATH).await.expect(200);
    for limit in domain::vocabulary::Limit::ALL {
        page.shows(&format!("<td data-label=\"Limit\" class=\"nowrap\">{limit}</td>"));
    }
    page.shows("7 in 60 min");
    page.shows("LATCHKEY_SENDS_PER_PHONE_HOUR, environment");
    page.shows("LATCHKEY_SENDS_GLOBAL_DAY, by default");
    page.shows("set at run time");
    page.shows("What would answer a phone");
}

async fn an_explanation_agrees_with_what_a_code_request_meets(side: Side) {
    let limits = [
        ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
        ("LATCHKEY_SENDS_PER_PHONE_HOUR", "2"),
        ("LATCHKEY_SENDS_PER_IP_HOUR", "8"),
        ("LATCHKEY_PUMPING_GUARD", "enforce"),
    ];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &limits).await);
    let (_, staff, _) = console.account(Some(StaffRole::Viewer)).await;
    console.latchkey.advance(31);
    let browser = &mut console.browser();
    assert_eq!(browser.sign_in(&staff).await.leads_to(), "/console");
    let (api, phone) = (console.latchkey.api(), new_phone());
    let page = explain(browser, &phone, "127.0.0.1").await.expect(200);
    assert_eq!(answers(&page, "A code request"), None);
    page.hides(&phone[3..]);
    page.shows("0 of 2");
    page.shows("127.0.0.0/24");
    page.shows("pumping guard (enforce)");
    api.otp(&phone).await.expect(202);
    let page = explain(browser, &phone, "").await.expect(200);
    assert_eq!(answers(&page, "A code request").as_deref(), Some("cooldown"));
    api.otp(&phone).await.problem(429, "resend_too_soon");
    console.latchkey.advance(31);
    let page = explain(browser, &phone, "").await.expect(200);
    assert_eq!(answers(&page, "A code request"), None);
    page.shows("1 of 2");
    api.otp(&phone).await.expect(202);
    console.latchkey.advance(61);
    let page = explain(browser, &phone, "").await.expect(200);
    assert_eq!(answers(&page, "A code request").as_deref(), Some("phone_hour"));
    assert_eq!(api.otp(&phone).await.problem(429, "too_many_requests")["limit"], "phone_hour");
    // The code's attempts: a request for an exhausted one waits for its end.
    let other = new_phone();
    let code = api.fresh_code(&other).await;
    for by in 1..=5 {
        api.login(&other, &wrong(&code, by)).await.problem(401, "otp_incorrect");
    }
    let page = explain(browser, &other, "").await.expect(200);
    assert_eq!(answers(&page, "A code request").as_deref(), Some("otp_attempts_exhausted"));
    page.shows("5 of 5");
    api.otp(&other).await.problem(429, "otp_attempts_exhausted");
    // The address.
    loop {
        let page = explain(browser, &new_phone(), "127.0.0.1").await.expect(200);
        let expected = answers(&page, "A code request");
        let answer = api.otp(&new_phone()).await;
        if answer.status == 202 {
            assert_eq!(expected, None);
            continue;
        }
        assert_eq!(expected.as_deref(), Some("ip_hour"));
        assert_eq!(answer.problem(429, "too_many_requests")["limit"], "ip_hour");
        break;
    }
    let page = explain(browser, "", "203.0.113.7").await.expect(200);
    assert_eq!(answers(&page, "A code request"), None, "another address");
    let page = explain(browser, "", "127.0.0.1").await.expect(200);
    assert_eq!(answers(&page, "A code request").as_deref(), Some("ip_hour"));
    // A block comes before everything else.
    let now = console.latchkey.clock.now();
    let block = Block {
        kind: BlockKind::Prefix,
        value: "98912".to_owned(),
        display: "98912".to_owned(),
        reason: "<script>alert(1)</script>".to_owned(),
        owner: "ops".to_owned(),
        until: None,
        created_at: now,
    };
    Blocks::new(&console.latchkey.engines.sql).add(&block, "test").await.unwrap();
    let page = explain(browser, &phone, "").await.expect(200);
    assert_eq!(answers(&page, "A code request").as_deref(), Some("blocked"));
    page.hides("<script>");
    testkit::eventually("the block in force", PATIENCE, async || {
        let answer = api.otp(&phone).await;
        (answer.body["limit"] == "blocked").then_some(())
    })
    .await;
}

async fn an_explanation_agrees_with_what_a_sign_in_meets(side: Side) {
    let limits = [("LATCHKEY_LOGINS_PER_IP_MINUTE", "12"), ("LATCHKEY_OTP_MAX_FAILURES", "5")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &limits).await);
    let mut viewer = console.member(StaffRole::Viewer).await;
    console.latchkey.advance(61);
    let (api, phone) = (console.latchkey.api(), new_phone());
    let browser = &mut viewer.browser;
    let code = api.fresh_code(&phone).await;
    let page = explain(browser, &phone, "127.0.0.1").await.expect(200);
    assert_eq!(answers(&page, "A sign-in"), None);
    page.shows("0 of 12");
    for by in 1..=5 {
        api.login(&phone, &wrong(&code, by)).await.problem(401, "otp_incorrect");
    }
    let page = explain(browser, &phone, "127.0.0.1").await.expect(200);
    assert_eq!(answers(&page, "A sign-in").as_deref(), Some("otp_attempts_exhausted"));
    page.shows("5 of 12");
    page.shows("locked after wrong attempts, by code");
    assert_eq!(api.login(&phone, &code).await.status, 429);
    // Of another phone only the address judges.
    let other = new_phone();
    loop {
        let page = explain(browser, &other, "127.0.0.1").await.expect(200);
        let expected = answers(&page, "A sign-in");
        let answer = api.login(&new_phone(), "000000").await;
        if answer.status == 401 {
            assert_eq!(expected, None);
            continue;
        }
        assert_eq!(expected.as_deref(), Some("logins_ip"));
        assert_eq!(answer.problem(429, "too_many_requests")["limit"], "logins_ip");
        break;
    }
    let page = explain(browser, "", "127.0.0.1").await.expect(200);
    assert_eq!(answers(&page, "A sign-in").as_deref(), Some("logins_ip"));
    let page = explain(browser, "", "2001:db8::1").await.expect(200);
    assert_eq!(answers(&page, "A sign-in"), None);
    page.shows("2001:db8::/64");
}

async fn an_explanation_is_in_the_audit_without_the_number(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let (id, phone, _) = console.account(None).await;
    let page = explain(&mut viewer.browser, &format!("00{}", &phone[1..]), "").await.expect(200);
    page.shows(&format!("/console/users/{id}"));
    explain(&mut viewer.browser, &new_phone(), "203.0.113.7").await.expect(200);
    let entries = console.acts(&id.to_string()).await;
    assert_eq!(
        (&*entries[0].act, &*entries[0].actor),
        ("limits_explained", &*viewer.id.to_string())
    );
    let entry = &console.acts("nobody").await[0];
    assert_eq!(entry.detail, json!({ "address": true, "phone": true }).to_string());
    let all = console.audit.page(None, None, 200).await.unwrap();
    let all = format!("{all:?}");
    assert!(!all.contains(&phone[3..]) && !all.contains("203.0.113"), "{all}");
    viewer
        .browser
        .get("/console/audit?act=limits_explained")
        .await
        .expect(200)
        .shows("looked at the limits");
}

async fn what_cannot_be_explained_is_said(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    for (phone, address, said) in [
        ("", "", "Enter a phone"),
        ("<script>", "", "This is not a mobile number"),
        ("", "<script>", "This is not an address"),
        ("", "203.0.113.0/24", "This is not an address"),
    ] {
        let page = explain(&mut viewer.browser, phone, address).await.expect(400);
        page.shows(said);
        page.hides("<script>");
        page.hides("<h3>");
    }
    assert_eq!(console.acts("nobody").await.len(), 0);
    // Nothing is read of a form that another page sent.
    let fields = [("phone", "+989121234567")];
    let sent = viewer.browser.send(reqwest::Method::POST, PATH, Some(&fields), &[]).await;
    sent.expect(403);
}
