//! Staff at the console: from the sign-in to the audit of what they did, and how its pages look.

use testkit::http::{Api, new_phone};
use testkit::system::{Side, System};
use testkit::{PATIENCE, both_sides, eventually};

use crate::browser::chromium::Browser;
use crate::browser::looks::{look_at, weighs_little};
use crate::browser::request_code;

both_sides!(staff_create_a_user_who_signs_in_and_find_all_of_it);

const STAFF: &str = "Grace Hopper";

/// Makes an account of staff, by the operator's commands.
fn hire(system: &System, role: &str) -> String {
    let phone = new_phone();
    system.run(&["users", "create", &phone, "--first-name", "Grace", "--last-name", "Hopper"]);
    system.run(&["staff", "grant", &phone, role]);
    phone
}

async fn sign_in(browser: &Browser, api: &Api, phone: &str) {
    browser.goto(&format!("{}/console", api.url)).await;
    browser.wait_until("document.activeElement.id === 'phone'").await;
    browser.type_into("#phone", phone).await;
    browser.click("form button").await;
    browser.wait_until("document.activeElement.id === 'code'").await;
    let code = api.code(phone, 1).await;
    browser.type_into("#code", &code).await;
    browser.click("form button").await;
    browser.wait_for_text(".me", STAFF).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_console_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, staff) = (system.api(), hire(&system, "operator"));
    let browser = Browser::start().await;
    browser.goto(&format!("{}/console/login", api.url)).await;
    look_at(&browser, "console-login").await;
    sign_in(&browser, &api, &staff).await;
    look_at(&browser, "console-pulse").await;
    weighs_little(&browser, "pulse").await;
    create(&browser, &new_phone()).await;
    block_prefix(&browser, "98912").await;
    for page in ["requests", "users", "blocks", "audit"] {
        open(&browser, page).await;
        browser.find("tbody tr").await;
        look_at(&browser, &format!("console-{page}")).await;
        weighs_little(&browser, page).await;
    }
    open(&browser, "requests").await;
    browser.click("tbody a").await;
    browser.find("ol.line").await;
    look_at(&browser, "console-request").await;
    weighs_little(&browser, "request").await;
    browser.click(".me a").await;
    browser.wait_for_text("h1", STAFF).await;
    look_at(&browser, "console-user").await;
    weighs_little(&browser, "user").await;
    browser.no_errors(&[]).await;
    browser.goto(&format!("{}/console/nowhere", api.url)).await;
    browser.wait_for_text("h1", "found").await;
    look_at(&browser, "console-refused").await;
    browser.no_errors(&[404]).await;
}
