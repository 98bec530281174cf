//! Why can they not sign in now? Each thing that stands in the way is said, and the state of the code is shown, never the
//! code.

use accounts::{Block, BlockKind, Blocks, StaffRole};
use testkit::http::wrong;
use testkit::system::Side;

use super::browser::{Console, Page};
use crate::accounts::in_process::InProcessLatchkey;

testkit::both_sides!(
    the_state_of_a_code_is_shown_and_never_the_code,
    a_lock_is_seen_explained_and_opened,
    whatever_stands_in_the_way_is_said,
);

/// Opens the page of an account, whose newest code must not be on it.
async fn look(console: &mut super::browser::Browser, id: &str, code: &str) -> Page {
    let page = console.get(&format!("/console/users/{id}")).await.expect(200);
    // Ids and times have such digits by chance: only a word of its own is the code.
    let mut words = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != ':');
    assert!(code.is_empty() || !words.any(|word| word == code), "the code is shown");
    page
}

async fn the_state_of_a_code_is_shown_and_never_the_code(side: Side) {
    let console = Console::start(side).await;
    let (api, mut member) = (console.latchkey.api(), console.member(StaffRole::Viewer).await);
    let browser = &mut member.browser;
    // Created by staff: no code was ever requested.
    let new = console.created().await;
    let page = look(browser, &new.0, "").await;
    page.shows("<span class=\"tag \">none</span>");
    page.shows("Nothing stands in the way");
    let code = api.fresh_code(&new.1).await;
    let page = look(browser, &new.0, &code).await;
    page.shows(">live</span>");
    page.shows("Live until");
    page.shows("0 of 5 used, 5 left");
    for _ in 0..2 {
        api.login(&new.1, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    }
    look(browser, &new.0, &code).await.shows("2 of 5 used, 3 left");
    for _ in 0..3 {
        api.login(&new.1, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    }
    let page = look(browser, &new.0, &code).await;
    page.shows(">exhausted</span>");
    page.shows("5 of 5 used, 0 left");
    page.shows("The attempts at the code are exhausted");
    console.latchkey.advance(301);
    let page = look(browser, &new.0, &code).await;
    page.shows(">expired</span>");
    let code = api.fresh_code(&new.1).await;
    api.login(&new.1, &code).await.expect(200);
    let page = look(browser, &new.0, &code).await;
    page.shows(">used</span>");
    page.shows("Nothing stands in the way");
}

async fn a_lock_is_seen_explained_and_opened(side: Side) {
    let settings = [("LATCHKEY_OTP_MAX_FAILURES", "10")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &settings).await);
    let (id, phone, _) = console.account(None).await;
    let (api, id) = (console.latchkey.api(), id.to_string());
    let mut member = console.member(StaffRole::Support).await;
    let mut code = api.fresh_code(&phone).await;
    for failure in 0..9 {
        if failure == 5 {
            console.latchkey.advance(301);
            code = api.fresh_code(&phone).await;
        }
        api.login(&phone, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    }
    api.login(&phone, &code).await.problem(429, "too_many_requests");
    let page = look(&mut member.browser, &id, &code).await;
    page.shows("Sign-in by code is locked");
    let digits = &phone[phone.len() - 4..];
    let list = member.browser.get(&format!("/console/users?digits={digits}")).await.expect(200);
    list.shows("<span class=\"tag bad\">locked</span>");
    let done = member.browser.submit(&page, &format!("/console/users/{id}/unlock"), &[]).await;
    assert!(done.leads_to().ends_with("done=unlocked"));
    let page = look(&mut member.browser, &id, &code).await;
    page.shows("Nothing stands in the way");
    api.login(&phone, &code).await.expect(200);
    let key = console.latchkey.engines.keys.phone_key(&phone.parse().unwrap());
    let acts = console.acts(key.as_str()).await;
    let opened = acts.iter().find(|entry| entry.act == "phone_unlocked").unwrap();
    assert_eq!(opened.actor, member.id.to_string());
}

async fn whatever_stands_in_the_way_is_said(side: Side) {
    let settings = [("LATCHKEY_RESEND_COOLDOWN_SECS", "30"), ("LATCHKEY_COUNTRIES", "IR")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &settings).await);
    let (_, staff, _) = console.account(Some(StaffRole::Viewer)).await;
    console.latchkey.advance(31);
    let mut browser = console.browser();
    browser.sign_in(&staff).await;
    let (id, phone, _) = console.account(None).await;
    let id = id.to_string();
    let page = look(&mut browser, &id, "").await;
    page.shows("A code was requested a moment ago");
    console.latchkey.advance(31);
    look(&mut browser, &id, "").await.shows("Nothing stands in the way");
    let now = console.latchkey.clock.now();
    let blocks = Blocks::new(&console.latchkey.engines.sql);
    let key = console.latchkey.engines.keys.phone_key(&phone.parse().unwrap());
    for (kind, value, shown) in [
        (BlockKind::Phone, key.as_str(), "that phone"),
        (BlockKind::Prefix, "98912", "98912"),
        (BlockKind::Country, "IR", "IR"),
        (BlockKind::Country, "DE", "DE"),
    ] {
        let block = Block {
            kind,
            value: value.to_owned(),
            display: shown.to_owned(),
            reason: format!("because of {shown}"),
            owner: "ops".to_owned(),
            until: Some(now.plus_secs(3600)),
            created_at: now,
        };
        blocks.add(&block, "test").await.unwrap();
    }
    let page = look(&mut browser, &id, "").await;
    for shown in ["that phone", "98912", "IR"] {
        page.shows(&format!("because of {shown} (ask ops)"));
    }
    page.hides("because of DE");
    // A number of a country that is not served, as an import may bring it.
    let abroad = console.created_as("+14155552671", "US").await;
    look(&mut browser, &abroad, "").await.shows("are not served");
}
