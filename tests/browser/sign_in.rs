//! From a phone number to tokens on `/try`.

use fantoccini::key::Key;
use serde_json::json;
use testkit::both_sides;
use testkit::http::new_phone;
use testkit::system::{Side, System};

use crate::browser::chromium::Browser;
use crate::browser::{open_sign_in, paste, request_code};

both_sides!(
    a_newcomer_signs_in_with_the_code_from_the_inbox_page,
    p9_an_answer_that_is_lost_on_its_way_is_asked_for_again_with_the_same_key,
);

async fn a_newcomer_signs_in_with_the_code_from_the_inbox_page(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;

    browser.goto(&api.url).await;
    browser.click("a.primary").await;
    browser.wait_until("document.body.dataset.ready").await;
    // A whole number chooses its country and is grouped as it is written there.
    browser.type_into("#phone", &phone).await;
    assert_eq!(browser.text("#prefix").await, "+98");
    let written = browser.run("return document.getElementById('phone').value", &[]).await;
    let digits = &phone[3..];
    assert_eq!(written, format!("{} {} {}", &digits[..3], &digits[3..6], &digits[6..]));
    browser.click("summary").await;
    browser.type_into("#first", "Ada").await;
    browser.type_into("#last", "Lovelace").await;
    let enter = Key::Enter.to_string();
    browser.type_into("#last", &enter).await;
    browser.find("#code").await;
    browser.wait_until("document.activeElement.id === 'code'").await;
    browser.wait_for_text("#sent-to", &phone).await;
    browser.wait_for_text("#status", "Sent.").await;

    let sign_in = browser.goto_in_new_tab(&format!("{}/inbox", api.url)).await;
    browser.wait_for_text(".message .phone", &phone).await;
    let code = browser.text(".message .code b").await;
    assert_eq!(code, api.code(&phone, 1).await);
    browser.no_errors(&[]).await;

    browser.go_to_tab(sign_in).await;
    browser.type_into("#code", &code).await;
    browser.wait_for_text("#done-title", "You are signed in").await;
    browser.wait_until("document.activeElement.id === 'done-title'").await;
    assert!(browser.text("#user").await.contains(&phone));
    assert!(browser.text("#user").await.contains("Ada Lovelace"));
    assert!(browser.text("#claims").await.contains("\"token_type\": \"access\""));
    let access = browser.text("#access").await;
    api.me(&access).await.expect(200);

    browser.click("#me").await;
    browser.wait_for_text("#done-status", "The server knows you.").await;
    browser.click("#renew").await;
    browser.wait_for_text("#done-status", "You have new tokens.").await;
    assert_ne!(browser.text("#access").await, access);
    let access = browser.text("#access").await;
    browser.click("#logout").await;
    browser.wait_until("document.activeElement.id === 'phone'").await;
    api.me(&access).await.problem(401, "session_revoked");
    browser.no_errors(&[]).await;
    let stored = "return localStorage.length + sessionStorage.length + document.cookie.length";
    assert_eq!(browser.run(stored, &[]).await, 0, "no token is left behind");
}

/// Loses the answer to the first of each of these calls after the server gave it, and notes the keys.
const LOSES_ANSWERS: &str = "
    const real = window.fetch;
    window.keys = {};
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        const key = options?.headers?.['idempotency-key'];
        if (!key) return answer;
        window.keys[path] = [...(window.keys[path] ?? []), key];
        if (window.keys[path].length === 1) throw new TypeError('the answer is lost');
        return answer;
    };";

async fn p9_an_answer_that_is_lost_on_its_way_is_asked_for_again_with_the_same_key(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    browser.run(LOSES_ANSWERS, &[]).await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.find("#code").await;
    let code = api.code(&phone, 1).await;
    browser.type_into("#code", &code).await;
    browser.find("#done-title").await;
    for path in ["/v1/otp", "/v1/login"] {
        let keys = browser.run("return window.keys[arguments[0]]", &[json!(path)]).await;
        let keys = keys.as_array().unwrap();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{path}: {keys:?}");
    }
    assert_eq!(api.messages(&phone).await.len(), 1, "one request is one text");
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_pasted_whole_however_it_is_written() {
    let system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let browser = Browser::start().await;
    for persian in [false, true] {
        let phone = new_phone();
        request_code(&browser, &format!("{}/try", api.url), &phone).await;
        browser.wait_until("document.activeElement.id === 'code'").await;
        let code = api.code(&phone, 1).await;
        let digit = |c: char| char::from_u32('۰' as u32 + c.to_digit(10).unwrap()).unwrap();
        let code = if persian { code.chars().map(digit).collect() } else { code };
        let (start, end) = code.split_at(code.char_indices().nth(3).unwrap().0);
        paste(&browser, &format!(" {start}-{end} ")).await;
        browser.find("#done-title").await;
        assert!(browser.text("#user").await.contains(&phone));
    }
    browser.no_errors(&[]).await;
}

/// A browser that hands over codes from texts, as Chrome on Android does.
const WEB_OTP: &str = "
    window.OTPCredential = class {};
    window.heard = [];
    navigator.credentials.get = ({ otp, signal }) => new Promise((resolve, reject) => {
        const one = { transport: otp.transport.join(), isAborted: false, resolve };
        signal.addEventListener('abort', () => { one.isAborted = true; reject(new DOMException('', 'AbortError')); });
        window.heard.push(one);
    });";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_the_phone_hands_over_signs_in_and_a_wait_that_is_over_is_ended() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WEB_OTP })).await;
    request_code(&browser, &format!("{}/try", api.url), &phone).await;
    browser.wait_until("heard.length === 1 && heard[0].transport === 'sms'").await;
    browser.click("#back").await;
    browser.wait_until("heard[0].isAborted").await;
    browser.click("#send").await;
    browser.wait_until("heard.length === 2 && !heard[1].isAborted").await;
    let code = api.code(&phone, 2).await;
    browser.run("heard[1].resolve({ code: arguments[0] })", &[json!(code)]).await;
    browser.find("#done-title").await;
    browser.wait_until("heard[1].isAborted").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_event_stream_does_not_get_through_the_status_is_polled() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    browser.devtools("Network.enable", json!({})).await;
    browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*/events"] })).await;
    request_code(&browser, &format!("{}/try", api.url), &phone).await;
    browser.wait_for_text("#status", "Sent.").await;
    let polled = "return performance.getEntriesByType('resource').some((entry) => /otp\\/[^/]+$/.test(entry.name))";
    assert_eq!(browser.run(polled, &[]).await, true);
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("/events")), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_can_be_walked_with_the_keyboard_alone() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    let keys = async |keys: &[Key]| {
        let text: String = keys.iter().map(ToString::to_string).collect();
        browser.client.active_element().await.unwrap().send_keys(&text).await.unwrap();
    };
    let focus = async || {
        let id = "const it = document.activeElement; return it.id || it.className || it.value || it.localName";
        browser.run(id, &[]).await.as_str().unwrap().to_owned()
    };
    let mut order = Vec::new();
    for _ in 0..7 {
        keys(&[Key::Tab]).await;
        order.push(focus().await);
    }
    assert_eq!(order, ["brand", "language", "country", "phone", "sms", "summary", "send"]);
    keys(&[Key::Shift, Key::Tab]).await;
    assert_eq!(focus().await, "summary");
    browser.type_into("#phone", &phone).await;
    keys(&[Key::Enter]).await;
    browser.wait_until("document.activeElement.id === 'code'").await;
    paste(&browser, &api.code(&phone, 1).await).await;
    browser.wait_until("document.activeElement.id === 'done-title'").await;
    let mut order = Vec::new();
    for _ in 0..5 {
        keys(&[Key::Tab]).await;
        order.push(focus().await);
    }
    assert_eq!(order, ["copy", "copy", "me", "renew", "logout"]);
    keys(&[Key::Enter]).await;
    browser.wait_until("document.activeElement.id === 'phone'").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_offered_beside_the_text_and_brings_the_same_code() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    request_code(&browser, &format!("{}/try", api.url), &phone).await;
    browser.wait_for_text("#sent-to", "We sent a text to").await;
    let code = api.code(&phone, 1).await;
    browser.click("#call").await;
    browser.wait_for_text("#sent-to", "We are calling").await;
    assert_eq!(api.code(&phone, 2).await, code);
    browser.type_into("#code", &code).await;
    browser.find("#done-title").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_deployment_serves_is_offered() {
    let settings = [("LATCHKEY_COUNTRIES", "IR,DE"), ("LATCHKEY_VOICE", "false")];
    let system = System::start(Side::Embedded, &settings).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    let offered =
        "return [...document.getElementById('country').options].map((option) => option.value)";
    assert_eq!(browser.run(offered, &[]).await, json!(["DE", "IR"]));
    browser.wait_until("document.getElementById('channels').hidden").await;
    browser.choose("#country", "IR").await;
    browser.type_into("#phone", &phone[3..]).await;
    browser.click("#send").await;
    browser.wait_for_text("#status", "Sent.").await;
    browser.wait_until("document.getElementById('call').hidden").await;
    browser.no_errors(&[]).await;
}
