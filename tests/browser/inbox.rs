//! The inbox page: texts arrive by themselves, are filtered, and their codes are copied by one tap.

use serde_json::json;
use testkit::both_sides;
use testkit::http::{INBOX_TOKEN, new_phone};
use testkit::system::{Side, System};

use crate::browser::chromium::Browser;

both_sides!(
    texts_of_all_phones_arrive_newest_first_while_the_page_is_open,
    the_list_of_all_phones_is_sent_again_only_when_it_has_changed,
    with_a_token_the_pages_lead_from_one_to_the_next,
);

async fn texts_of_all_phones_arrive_newest_first_while_the_page_is_open(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, [first, second]) = (system.api(), [new_phone(), new_phone()]);
    let browser = Browser::start().await;
    browser.goto(&format!("{}/inbox", api.url)).await;
    browser.wait_for_text("#empty", "No texts yet").await;
    browser.wait_for_text("#live", "Live").await;
    for phone in [&first, &second] {
        api.otp(phone).await.expect(202);
        browser.wait_for_text(".message:first-child .phone", phone).await;
        browser.wait_for_text("#said", phone).await;
    }
    browser.wait_until("document.querySelectorAll('.message').length === 2").await;

    let params = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": api.url });
    browser.devtools("Browser.grantPermissions", params).await;
    browser.click(".message:first-child .code").await;
    browser.wait_for_text("#said", "Copied").await;
    let read =
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done(`${e}`))";
    let copied = browser.client.execute_async(read, Vec::new()).await.unwrap();
    assert_eq!(copied, api.code(&second, 1).await);

    browser.type_into("#filter", &first[1..]).await;
    browser.wait_until("document.querySelectorAll('.message').length === 1").await;
    assert_eq!(browser.text(".message .phone").await, first);
    browser.type_into("#filter", "000000").await;
    browser.wait_for_text("#empty", "No texts for this number").await;
    browser.no_errors(&[]).await;
}

async fn the_list_of_all_phones_is_sent_again_only_when_it_has_changed(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, [first, second]) = (system.api(), [new_phone(), new_phone()]);
    let list = async |tag: &str| {
        let known = [("if-none-match", tag)];
        let answer = api.try_call(reqwest::Method::GET, "/inbox/messages", None, &known);
        answer.await.unwrap()
    };
    assert_eq!(list("").await.expect(200).body, json!([]));
    api.fresh_code(&first).await;
    let found = list("").await.expect(200);
    let tag = found.header("etag").unwrap().to_owned();
    assert_eq!(phones(&found.body), [&first]);
    let same = list(&tag).await.expect(304);
    assert_eq!(
        (same.header("etag"), same.header("cache-control")),
        (Some(&*tag), Some("no-store"))
    );
    api.fresh_code(&second).await;
    let found = list(&tag).await.expect(200);
    assert_eq!(phones(&found.body), [&second, &first]);
    assert_eq!(
        phones(&json!(api.messages(&first).await)),
        [&first],
        "a phone's own list is its own"
    );
    api.get("/inbox/messages?phone_number=").await.problem(400, "invalid_phone_number");
}

fn phones(texts: &serde_json::Value) -> Vec<&str> {
    texts.as_array().unwrap().iter().map(|text| text["phone_number"].as_str().unwrap()).collect()
}

async fn with_a_token_the_pages_lead_from_one_to_the_next(side: Side) {
    let system = System::start(side, &[("LATCHKEY_INBOX_TOKEN", INBOX_TOKEN)]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    browser.goto(&api.url).await;
    browser.type_into("#token", "not-the-token-of-the-tests").await;
    browser.click("form button").await;
    browser.wait_for_text("form .error", "That is not the token.").await;
    browser.type_into("#token", INBOX_TOKEN).await;
    browser.click("form button").await;
    browser.click("a[href^='/inbox?']").await;
    browser.wait_for_text("#live", "Live").await;
    api.otp(&phone).await.expect(202);
    browser.wait_for_text(".message .phone", &phone).await;
    browser.click(".top a[href^='/try?']").await;
    browser.wait_until("document.body.dataset.ready").await;
    assert!(!system.output().contains(INBOX_TOKEN), "the token is in no log");
    browser.no_errors(&[]).await;
}
