//! Staff at the console: from the sign-in to the audit of what they did, and how its pages look.

use accounts::StaffRole;
use serde_json::json;
use testkit::http::{Api, new_phone};
use testkit::system::{Side, System};
use testkit::{PATIENCE, both_sides, eventually};

use crate::browser::chromium::Browser;
use crate::browser::looks::{look_at, weighs_little};
use crate::browser::request_code;
use crate::console::browser::Console;

both_sides!(
    staff_create_a_user_who_signs_in_and_find_all_of_it,
    staff_replay_a_dead_letter_and_read_it_in_the_audit,
);

const STAFF: &str = "Grace Hopper";

/// Makes an account of staff, by the operator's commands.
fn hire(system: &System, role: &str) -> String {
    let phone = new_phone();
    system.run(&["users", "create", &phone, "--first-name", "Grace", "--last-name", "Hopper"]);
    system.run(&["staff", "grant", &phone, role]);
    phone
}

async fn sign_in(browser: &Browser, api: &Api, phone: &str) {
    sign_in_as(browser, api, phone, STAFF).await;
}

async fn sign_in_as(browser: &Browser, api: &Api, phone: &str, name: &str) {
    browser.goto(&format!("{}/console", api.url)).await;
    browser.wait_until("document.activeElement.id === 'phone'").await;
    browser.type_into("#phone", phone).await;
    browser.click("form button").await;
    browser.wait_until("document.activeElement.id === 'code'").await;
    let code = api.code(phone, 1).await;
    browser.type_into("#code", &code).await;
    browser.click("form button").await;
    browser.wait_for_text(".me", name).await;
}

async fn open(browser: &Browser, page: &str) {
    browser.click(&format!("nav a[href='/console/{page}']")).await;
    browser.wait_until(&format!("location.pathname === '/console/{page}'")).await;
}

async fn find(browser: &Browser, what: &str) {
    browser.type_into("#what", what).await;
    browser.click("form[role=search] button").await;
}

/// Creates a user with the form.
async fn create(browser: &Browser, phone: &str) {
    open(browser, "users").await;
    browser.click("a[href='/console/users/new']").await;
    browser.type_into("#phone", phone).await;
    browser.type_into("#first", "Ada").await;
    browser.type_into("#last", "Lovelace").await;
    browser.click("form[action='/console/users'] button").await;
    browser.wait_for_text("h1", "Ada Lovelace").await;
}

/// Reloads the page until an element has this text.
async fn reload_until(browser: &Browser, css: &str, part: &str) {
    browser
        .eventually(&format!("{part:?} in {css}"), async || {
            if browser.text(css).await.contains(part) {
                return Some(());
            }
            browser.client.refresh().await.expect("reload the page");
            None
        })
        .await;
}

async fn block_prefix(browser: &Browser, digits: &str) {
    open(browser, "blocks").await;
    browser.choose("#kind", "prefix").await;
    browser.type_into("#value", digits).await;
    browser.type_into("#reason", "numbers for sale").await;
    browser.click("form[action='/console/blocks'] button").await;
    browser.wait_for_text("tbody", digits).await;
}

/// A request that is made while staff look at the list appears on it, unless they paused it.
async fn a_list_is_live(browser: &Browser, api: &Api) {
    browser.wait_for_text(".live", "Live").await;
    browser.click("h1").await;
    let row = async || {
        let request = api.otp(&new_phone()).await.expect(202).text("request_id");
        format!("tbody a[href='/console/requests/{request}']")
    };
    browser.find(&row().await).await;
    browser.click(".live button").await;
    browser.wait_for_text(".live", "Paused").await;
    let later = row().await;
    browser.click(".live button").await;
    browser.wait_for_text(".live", "Live").await;
    browser.find(&later).await;
    browser.type_into("body", "/").await;
    browser.wait_until("document.activeElement.id === 'what'").await;
}

async fn staff_create_a_user_who_signs_in_and_find_all_of_it(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, staff, newcomer) = (system.api(), hire(&system, "operator"), new_phone());
    let browser = Browser::start().await;
    sign_in(&browser, &api, &staff).await;
    create(&browser, &newcomer).await;
    browser.wait_for_text(".why", "Nothing stands in the way").await;

    let console = browser.goto_in_new_tab(&format!("{}/try", api.url)).await;
    request_code(&browser, &format!("{}/try", api.url), &newcomer).await;
    let code = api.code(&newcomer, 1).await;
    browser.type_into("#code", &code).await;
    browser.find("#done-title").await;
    assert!(browser.text("#user").await.contains("Ada Lovelace"));
    browser.go_to_tab(console).await;

    // However the number is written.
    open(&browser, "requests").await;
    a_list_is_live(&browser, &api).await;
    find(&browser, &format!("00{}", &newcomer[1..])).await;
    browser.wait_for_text("h1", "Ada Lovelace").await;
    reload_until(&browser, "section[aria-labelledby=code]", "It signed in").await;
    let page = browser.run("return document.body.innerText", &[]).await.to_string();
    assert!(!page.contains(&newcomer[3..]) && !page.contains(&code), "{page}");
    reload_until(&browser, "section[aria-labelledby=texts]", "inbox").await;
    browser.click("section[aria-labelledby=texts] tbody a").await;
    browser.wait_for_text("h1", "Where is the text?").await;
    reload_until(&browser, "ol.line", "Verified").await;
    let line = browser.text("ol.line").await;
    for step in ["Requested", "Code issued", "Attempt 1: handed to inbox", "inbox took it"] {
        assert!(line.contains(step), "{step}: {line}");
    }

    let prefix = &newcomer[1..newcomer.len() - 3];
    block_prefix(&browser, prefix).await;
    let refused = eventually("the block in force", PATIENCE, async || {
        Some(api.otp(&newcomer).await).filter(|answer| answer.status == 429)
    })
    .await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "blocked");

    open(&browser, "audit").await;
    for act in ["console_signed_in", "user_created", "block_added"] {
        browser.find(&format!("tbody a[href='/console/audit?act={act}']")).await;
    }
    assert!(browser.text("tbody").await.contains(STAFF));
    browser.click(".me button").await;
    browser.wait_for_text("h1", "Sign in").await;
    browser.no_errors(&[]).await;
}

/// Asks what would answer a phone and this machine.
async fn explain_limits(browser: &Browser, api: &Api) {
    open(browser, "limits").await;
    browser.type_into("#phone", &new_phone()).await;
    browser.type_into("#address", "127.0.0.1").await;
    browser.click("form[action='/console/limits'] button").await;
    browser.wait_for_text("#answer", "from 127.0.0.0").await;
    look_at(browser, "console-limits-explained").await;
    weighs_little(browser, "limits-explained").await;
    browser.goto(&format!("{}/console", api.url)).await;
}

async fn staff_replay_a_dead_letter_and_read_it_in_the_audit(side: Side) {
    let console = Console::start(side).await;
    let (_, staff, _) = console.account(Some(StaffRole::Operator)).await;
    let (api, bus) = (console.latchkey.api(), &console.latchkey.engines.bus);
    // No program here knows this version.
    let now = console.latchkey.clock.now();
    let body = json!({ "id": "e1", "type": "otp.requested.v9", "time": now.to_string(),
                       "data": { "country": "IR", "sealed": "k1.SECRET", "expires_at": now.to_string() } });
    bus.publish_raw("otp.requested.v9", "e1", body.to_string().into(), true).await.unwrap();
    let browser = Browser::start().await;
    sign_in_as(&browser, &api, &staff, "Ada Lovelace").await;
    open(&browser, "queues").await;
    reload_until(&browser, "main", "unknown_version").await;
    assert!(browser.text("main").await.contains("would be late"));
    if side == Side::Embedded {
        browser.click("details.act summary").await;
        look_at(&browser, "console-queues-dead").await;
        weighs_little(&browser, "queues with a dead letter").await;
    }
    browser.click("td[data-label=Id] a").await;
    browser.wait_for_text("h1", "Dead letter").await;
    let envelope = browser.text("pre").await;
    assert!(envelope.contains("\"IR\"") && !envelope.contains("SECRET"), "{envelope}");
    if side == Side::Embedded {
        look_at(&browser, "console-dead-letter").await;
        weighs_little(&browser, "dead letter").await;
    }
    browser.click("#replay").await;
    browser.wait_for_text(".done", "back in its queue").await;
    open(&browser, "audit").await;
    browser.find("tbody a[href='/console/audit?act=dead_letters_replayed']").await;
    let audit = browser.text("tbody").await;
    assert!(audit.contains("replayed dead letters") && audit.contains("message: e1"), "{audit}");
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_console_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, staff) = (system.api(), hire(&system, "owner"));
    let browser = Browser::start().await;
    browser.goto(&format!("{}/console/login", api.url)).await;
    look_at(&browser, "console-login").await;
    sign_in(&browser, &api, &staff).await;
    look_at(&browser, "console-pulse").await;
    weighs_little(&browser, "pulse").await;
    create(&browser, &new_phone()).await;
    block_prefix(&browser, "98912").await;
    for page in
        ["requests", "delivery", "users", "providers", "queues", "engines", "blocks", "audit"]
    {
        open(&browser, page).await;
        // Told or counted in the background, within seconds.
        let told = match page {
            "delivery" => "Half within",
            "engines" => "all-in-one",
            "providers" => "16 at most",
            _ => "",
        };
        if !told.is_empty() {
            reload_until(&browser, "main", told).await;
        }
        browser.find("tbody tr").await;
        look_at(&browser, &format!("console-{page}")).await;
        weighs_little(&browser, page).await;
    }
    open(&browser, "users").await;
    browser.click("tbody input[type=checkbox]").await;
    browser.choose("#many-act", "end-sessions").await;
    browser.click("#many button").await;
    browser.wait_for_text("h1", "End all sessions").await;
    look_at(&browser, "console-bulk").await;
    weighs_little(&browser, "bulk").await;
    open(&browser, "requests").await;
    browser.click("tbody a").await;
    browser.find("ol.line").await;
    look_at(&browser, "console-request").await;
    weighs_little(&browser, "request").await;
    browser.click(".me a").await;
    browser.wait_for_text("h1", STAFF).await;
    look_at(&browser, "console-user").await;
    weighs_little(&browser, "user").await;
    for page in ["staff", "settings", "limits"] {
        open(&browser, page).await;
        browser.find("tbody tr").await;
        look_at(&browser, &format!("console-{page}")).await;
        weighs_little(&browser, page).await;
    }
    explain_limits(&browser, &api).await;
    for language in ["curl", "typescript", "python", "kotlin", "swift", "flutter"] {
        let page = format!("{}/console/developers?language={language}", api.url);
        browser.goto(&page).await;
        browser.find("pre code").await;
        look_at(&browser, &format!("console-developers-{language}")).await;
        weighs_little(&browser, language).await;
    }
    browser.goto(&format!("{}/console/guard?days=7", api.url)).await;
    browser.wait_for_text("#replay + form + p + p", "0 would have been stopped").await;
    look_at(&browser, "console-guard").await;
    weighs_little(&browser, "guard").await;
    browser.no_errors(&[]).await;
    browser.goto(&format!("{}/console/nowhere", api.url)).await;
    browser.wait_for_text("h1", "found").await;
    look_at(&browser, "console-refused").await;
    browser.no_errors(&[404]).await;
}
