//! Who may open the pages, and what a stranger's texts can do in them: nothing.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;
use testkit::both_sides;
use testkit::http::{Answer, Api, INBOX_TOKEN, new_phone};
use testkit::system::{Side, System};

use crate::accounts::in_process::InProcessLatchkey;
use crate::browser::chromium::Browser;
use crate::browser::{open_sign_in, request_code};

both_sides!(
    f17_in_production_there_are_no_pages,
    f17_a_page_of_the_web_cannot_open_the_pages_on_loopback,
    f17_with_a_token_only_the_start_page_opens_without_it,
    a_name_with_a_script_is_shown_and_not_run,
);

const PAGES: [&str; 3] = ["/", "/inbox", "/try"];

async fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    api.try_call(Method::GET, path, None, headers).await.unwrap()
}

async fn f17_in_production_there_are_no_pages(side: Side) {
    let mut latchkey = InProcessLatchkey::start(side, 1).await;
    let number = latchkey.add_in_production().await;
    let (tried, live) = (latchkey.api(), latchkey.api_of(number));
    for path in ["/", "/inbox", "/inbox/messages", "/try", "/pages/try.js", "/pages/settings.json"]
    {
        tried.get(path).await.expect(200);
        for path in [path.to_owned(), format!("{path}?token=x")] {
            live.get(&path).await.problem(404, "not_found");
        }
    }
}

async fn f17_a_page_of_the_web_cannot_open_the_pages_on_loopback(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    for page in PAGES {
        for host in ["evil.example", "localhost.evil.example:8080", "192.0.2.1"] {
            get(&api, page, &[("host", host)]).await.problem(403, "host_not_allowed");
        }
        let forwarded = [("host", "127.0.0.1"), ("x-forwarded-for", "198.51.100.7")];
        get(&api, page, &forwarded).await.problem(403, "host_not_allowed");
        let answer = get(&api, page, &[("host", "localhost:8080")]).await.expect(200);
        let header = |name| answer.header(name).unwrap_or_default().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store", "a page may hold the token");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer", "its address may hold the token");
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

async fn f17_with_a_token_only_the_start_page_opens_without_it(side: Side) {
    let system = System::start(side, &[("LATCHKEY_INBOX_TOKEN", INBOX_TOKEN)]).await;
    let api = system.api();
    for page in ["/inbox", "/try"] {
        for query in ["", "?token=", "?token=another-token-of-tests", "?token=a&token=b"] {
            get(&api, &format!("{page}{query}"), &[]).await.problem(401, "token_not_valid");
        }
        get(&api, &format!("{page}?token={INBOX_TOKEN}"), &[]).await.expect(200);
        let bearer = format!("Bearer {INBOX_TOKEN}");
        get(&api, page, &[("authorization", &bearer)]).await.expect(200);
    }
    let open = get(&api, "/", &[]).await.expect(200).body.to_string();
    assert!(!open.contains(INBOX_TOKEN) && open.contains("name=\\\"token\\\""), "{open}");
    let opened = get(&api, &format!("/?token={INBOX_TOKEN}"), &[]).await.expect(200);
    assert!(opened.body.to_string().contains(&format!("/try?token={INBOX_TOKEN}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_its_type_and_is_sent_again_only_when_it_has_changed() {
    let system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let types = BTreeMap::from([
        ("pages.css", "text/css; charset=utf-8"),
        ("try.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("fa.json", "application/json"),
    ]);
    for (name, wanted) in types {
        let path = format!("/pages/{name}");
        let answer = get(&api, &path, &[]).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(wanted));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
        let tag = answer.header("etag").unwrap();
        get(&api, &path, &[("if-none-match", "\"other\"")]).await.expect(200);
        let known = get(&api, &path, &[("if-none-match", tag)]).await.expect(304);
        assert!(known.body.is_null());
    }
    for path in ["/pages/", "/pages/none.js", "/pages/..%2fmod.rs", "/pages/%ff", "/pages/a/b"] {
        get(&api, path, &[]).await.problem(404, "not_found");
    }
}

/// Fails if any of these was run.
const MARK: &str = "document.body.dataset.owned";

async fn a_name_with_a_script_is_shown_and_not_run(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    let name = format!("<img src=x onerror=\"{MARK}=1\">");
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    browser.click("summary").await;
    browser.type_into("#first", &name).await;
    browser.type_into("#last", "</bdi><script>alert(1)</script>").await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.find("#code").await;
    browser.type_into("#code", &api.code(&phone, 1).await).await;
    browser.find("#done-title").await;
    assert!(browser.text("#user").await.contains(&name));
    let found = browser
        .run("return document.querySelectorAll('#user img, #user script').length", &[])
        .await;
    assert_eq!(found, 0);
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_cannot_bring_a_script_into_a_page() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    let script = format!("%22%3E%3Cimg%20src=x%20onerror=%22{MARK}=1%22%3E");
    for page in [
        format!("/?token={script}"),
        format!("/inbox?phone={script}&token={script}"),
        format!("/try?lang={script}&token={script}"),
    ] {
        browser.goto(&format!("{}{page}", api.url)).await;
        browser.wait_until("document.readyState === 'complete'").await;
        let found =
            "return document.querySelectorAll('img:not([src^=\"/pages/\"]), [onerror]').length";
        assert_eq!(browser.run(found, &[]).await, 0, "{page}");
        assert_eq!(
            browser.run(&format!("return {MARK} ?? null"), &[]).await,
            json!(null),
            "{page}"
        );
    }
    // A language that is no language is the reader's own.
    request_code(&browser, &format!("{}/try?lang={script}", api.url), &phone).await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_page_cannot_frame_the_pages() {
    let system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let browser = Browser::start().await;
    for page in PAGES {
        let frame = format!("data:text/html,<iframe src=\"{}{page}\"></iframe>", api.url);
        browser.goto(&frame).await;
        browser.client.enter_frame(0).await.expect("the frame");
        browser.wait_until("location.protocol === 'chrome-error:'").await;
        browser.client.enter_parent_frame().await.expect("the page around it");
    }
}
