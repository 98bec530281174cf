//! Providers: how they do, and staff who shut one: texts go by the next of their route, or wait.

use accounts::StaffRole;
use fake_twilio::{Act, Fake, Script};
use testkit::PATIENCE;
use testkit::http::Api;
use testkit::system::{Side, System};

use super::browser::{Browser, Console, Page};

testkit::both_sides!(
    calls_and_their_outcomes_are_shown_for_each_provider,
    texts_go_by_the_next_provider_while_one_is_shut,
    a_text_without_another_provider_waits_until_it_is_open,
    what_cannot_be_shut_is_said,
    the_command_shuts_a_provider_too,
);

const LIST: &str = "/console/providers";
/// Of countries whose texts go by Twilio, with another provider and without one.
const WITH_ANOTHER: &str = "+14155552671";
const ALONE: &str = "+447911123456";

async fn start(side: Side) -> (Console, Fake, Browser) {
    let routes = "default=twilio,inbox;44=twilio;98=inbox";
    let (console, fake) = Console::with_twilio(side, &[("LATCHKEY_SMS_ROUTES", routes)]).await;
    let browser = console.member(StaffRole::Operator).await.browser;
    (console, fake, browser)
}

async fn until(browser: &mut Browser, text: &str) -> Page {
    testkit::eventually(text, PATIENCE, async || {
        let page = browser.get(LIST).await.expect(200);
        page.text.contains(text).then_some(page)
    })
    .await
}

async fn shut(browser: &mut Browser, reason: &str) {
    let page = browser.get(LIST).await.expect(200);
    let fields = [("provider", "twilio"), ("act", "shut"), ("minutes", "60"), ("reason", reason)];
    let done = browser.submit(&page, LIST, &fields).await;
    assert_eq!(done.leads_to(), "/console/providers?done=shut");
}

async fn open(browser: &mut Browser) {
    let page = browser.get(LIST).await.expect(200);
    let fields = [("provider", "twilio"), ("act", "open")];
    let done = browser.submit(&page, LIST, &fields).await;
    assert_eq!(done.leads_to(), "/console/providers?done=opened");
}

async fn calls_and_their_outcomes_are_shown_for_each_provider(side: Side) {
    let (console, fake, mut browser) = start(side).await;
    let page = until(&mut browser, "16 at most").await;
    for route in ["any other", "twilio, then inbox", "+44", "+98"] {
        page.shows(route);
    }
    page.shows("closed");
    let api = console.latchkey.api();
    api.otp(WITH_ANOTHER).await.expect(202);
    let page = until(&mut browser, "1 accepted").await;
    page.shows("(half of them)");
    page.shows("none of 1 yet");
    page.hides("Last error");
    let refusal = Act::Refuse { status: 400, code: 21408, retry_after: None };
    fake.script("+44", Script::of([refusal]));
    api.otp(ALONE).await.expect(202);
    until(&mut browser, "Twilio may not send to this country (21408)").await;
}

/// Asks for codes until one comes by the inbox.
async fn until_by_inbox(api: &Api, phone: &str) {
    testkit::eventually("a text by the inbox", PATIENCE, async || {
        api.otp(phone).await.expect(202);
        (!api.messages(phone).await.is_empty()).then_some(())
    })
    .await;
}

async fn texts_go_by_the_next_provider_while_one_is_shut(side: Side) {
    let (console, fake, mut browser) = start(side).await;
    let api = console.latchkey.api();
    shut(&mut browser, "<script>they lose texts</script>").await;
    until_by_inbox(&api, WITH_ANOTHER).await;
    let calls = fake.calls_to(WITH_ANOTHER).len();
    let request = api.otp(WITH_ANOTHER).await.expect(202).text("request_id");
    testkit::eventually("the text by the inbox", PATIENCE, async || {
        let texts = api.messages(WITH_ANOTHER).await;
        texts.iter().any(|text| text["request_id"] == request.as_str()).then_some(())
    })
    .await;
    assert_eq!(fake.calls_to(WITH_ANOTHER).len(), calls, "a shut provider was called");
    let page = browser.get(LIST).await.expect(200);
    page.shows("shut by hand");
    page.shows("Ada Lovelace");
    page.shows("&#60;script&#62;they lose texts");
    page.hides("<script>");
    page.shows("all shut: texts wait");
    browser.get("/console/blocks").await.expect(200).shows("twilio");
    open(&mut browser).await;
    testkit::eventually("a text by Twilio", PATIENCE, async || {
        api.otp(WITH_ANOTHER).await.expect(202);
        (fake.calls_to(WITH_ANOTHER).len() > calls).then_some(())
    })
    .await;
    browser.get(LIST).await.expect(200).hides("shut by hand");
    let mut acts: Vec<_> = console.acts("twilio").await.into_iter().map(|it| it.act).collect();
    acts.sort_unstable();
    assert_eq!(acts, ["block_added", "block_removed"]);
}

async fn a_text_without_another_provider_waits_until_it_is_open(side: Side) {
    let (console, fake, mut browser) = start(side).await;
    let api = console.latchkey.api();
    shut(&mut browser, "a test").await;
    // In force here.
    until_by_inbox(&api, WITH_ANOTHER).await;
    let request = api.otp(ALONE).await.expect(202).text("request_id");
    testkit::eventually("the text waits for a retry", PATIENCE, async || {
        let page = browser.get("/console/queues").await.expect(200);
        page.text.contains("1 for 5 s").then_some(())
    })
    .await;
    assert!(fake.calls_to(ALONE).is_empty());
    open(&mut browser).await;
    testkit::eventually("the text", PATIENCE, async || fake.calls_to(ALONE).pop()).await;
    testkit::eventually("its status", PATIENCE, async || {
        let status = api.status(&request).await.expect(200).text("status");
        (status == "sent").then_some(())
    })
    .await;
    assert_eq!(fake.calls_to(ALONE).len(), 1, "one text");
}

async fn what_cannot_be_shut_is_said(side: Side) {
    let (console, _fake, mut browser) = start(side).await;
    let page = browser.get(LIST).await.expect(200);
    for (provider, act, minutes, reason, status) in [
        ("pigeon", "shut", "60", "x", 400),
        ("twilio", "shut", "60", " ", 400),
        ("twilio", "shut", "0", "x", 400),
        ("twilio", "shut", "100000", "x", 400),
        ("twilio", "shut", "soon", "x", 400),
        ("twilio", "burn", "60", "x", 400),
    ] {
        let fields =
            [("provider", provider), ("act", act), ("minutes", minutes), ("reason", reason)];
        let refused = browser.submit(&page, LIST, &fields).await.expect(status);
        refused.shows("role=\"alert\"");
    }
    let fields = [("provider", "twilio"), ("act", "open")];
    let done = browser.submit(&page, LIST, &fields).await;
    assert_eq!(done.leads_to(), "/console/providers?done=nothing");
    assert!(console.acts("twilio").await.is_empty());
}

async fn the_command_shuts_a_provider_too(side: Side) {
    let system = System::start(side, &[]).await;
    let run = |args: &[&str]| system.run(args);
    let why = ["--reason", "a test", "--owner", "tests"];
    run(&[&["block", "add", "provider", "Inbox"][..], &why].concat());
    let listed: serde_json::Value =
        serde_json::from_str(&run(&["block", "list", "--json"])).unwrap();
    assert_eq!((&listed[0]["kind"], &listed[0]["value"]), (&"provider".into(), &"inbox".into()));
    // It stops no code request.
    let (api, phone) = (system.api(), testkit::http::new_phone());
    api.otp(&phone).await.expect(202);
    run(&["block", "remove", "provider", "inbox", "--yes"]);
    let listed = run(&["block", "list", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&listed).unwrap(), serde_json::json!([]));
    api.code(&phone, 1).await;
}
