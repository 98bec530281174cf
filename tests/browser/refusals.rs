//! What `/try` says when the server refuses, and that it waits as long as the server says.

use serde_json::json;
use testkit::both_sides;
use testkit::http::{new_phone, wrong};
use testkit::system::{Side, System};

use crate::browser::chromium::Browser;
use crate::browser::{open_sign_in, paste, request_code};

both_sides!(
    p8_a_wrong_code_is_said_with_the_attempts_that_are_left_until_there_are_none,
    the_buttons_count_down_the_servers_own_wait_and_the_resend_then_succeeds,
    a_second_tab_shares_the_code_and_is_told_when_it_was_used,
);

async fn p8_a_wrong_code_is_said_with_the_attempts_that_are_left_until_there_are_none(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    request_code(&browser, &format!("{}/try", api.url), &phone).await;
    let code = api.code(&phone, 1).await;
    for (by, left) in [(1, 4), (2, 3), (3, 2), (4, 1)] {
        browser.wait_until("document.activeElement.id === 'code'").await;
        paste(&browser, &wrong(&code, by)).await;
        let said = browser.wait_for_text("#code-error", &format!("\u{2066}{left}\u{2069}")).await;
        assert!(said.starts_with("That code is not right."), "{said}");
        browser.wait_until("document.getElementById('code').ariaInvalid === 'true'").await;
        browser
            .wait_until("document.activeElement.id === 'code' && getSelection().toString() !== ''")
            .await;
    }
    paste(&browser, &wrong(&code, 5)).await;
    browser.wait_for_text("#code-error", "no attempts are left").await;
    // Even the right code is not judged now, and the button shows for how long.
    browser
        .wait_until("document.activeElement.id === 'code' && getSelection().toString() !== ''")
        .await;
    paste(&browser, &code).await;
    browser.wait_for_text("#code-error", "Too many wrong codes. Try again in").await;
    browser.wait_for_text("#sign-in:disabled", "Sign in · ").await;
    browser.no_errors(&[401, 429]).await;
}

async fn the_buttons_count_down_the_servers_own_wait_and_the_resend_then_succeeds(side: Side) {
    let system = System::start(side, &[("LATCHKEY_RESEND_COOLDOWN_SECS", "3")]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    // Every word that the button shows, however briefly.
    let note = "window.seen = new Set(); const it = document.getElementById('resend'); \
        new MutationObserver(() => window.seen.add(`${it.disabled} ${it.textContent}`)) \
            .observe(it, { childList: true, subtree: true, characterData: true })";
    browser.run(note, &[]).await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.find("#resend:not(:disabled)").await;
    let seen = browser.run("return [...window.seen]", &[]).await;
    let counted =
        |text: &serde_json::Value| text.as_str().unwrap().contains("Send again · \u{2066}0:0");
    assert!(seen.as_array().unwrap().iter().any(counted), "{seen}");
    browser.click("#resend").await;
    browser
        .eventually("second text", async || (api.messages(&phone).await.len() == 2).then_some(()))
        .await;
    // The server refused nothing: the button was not offered too early.
    browser.no_errors(&[]).await;
}

async fn a_second_tab_shares_the_code_and_is_told_when_it_was_used(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    let page = format!("{}/try", api.url);
    request_code(&browser, &page, &phone).await;
    let first = browser.goto_in_new_tab(&page).await;
    request_code(&browser, &page, &phone).await;
    let second = browser.client.window().await.unwrap();
    let code = api.code(&phone, 2).await;
    browser.go_to_tab(first).await;
    browser.type_into("#code", &code).await;
    browser.find("#done-title").await;
    browser.go_to_tab(second).await;
    browser.type_into("#code", &code).await;
    browser.wait_for_text("#code-error", "That code is not right.").await;
    browser.no_errors(&[401]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_requested_too_soon_is_said_and_waited_for() {
    let system = System::start(Side::Embedded, &[("LATCHKEY_RESEND_COOLDOWN_SECS", "600")]).await;
    let (api, phone) = (system.api(), new_phone());
    api.otp(&phone).await.expect(202);
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.wait_for_text("#phone-error", "A code was sent a moment ago. Try again in").await;
    let first = browser.wait_for_text("#send:disabled", "Send the code · ").await;
    browser
        .eventually("countdown", async || (browser.text("#send").await != first).then_some(()))
        .await;
    browser.no_errors(&[429]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_number_that_is_refused_is_explained_and_has_the_focus() {
    let system = System::start(Side::Embedded, &[("LATCHKEY_DEFAULT_REGION", "US")]).await;
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", system.api().url)).await;
    for (number, words) in [
        ("", "Enter your phone number."),
        ("123", "This is not a phone number of the chosen country."),
        ("+1 900 555 0123", "We cannot send codes to this number."),
    ] {
        browser.find("#phone").await.clear().await.unwrap();
        browser.type_into("#phone", number).await;
        browser.click("#send").await;
        browser.wait_for_text("#phone-error", words).await;
        browser.wait_until("document.activeElement.id === 'phone'").await;
        browser.wait_until("document.getElementById('phone').ariaInvalid === 'true'").await;
    }
    browser.no_errors(&[400]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_server_that_does_not_answer_is_asked_again_and_its_absence_is_said() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    open_sign_in(&browser, &format!("{}/try", api.url)).await;
    browser.devtools("Network.enable", json!({})).await;
    browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*/v1/otp"] })).await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.wait_for_text("#phone-step .status", "No answer. Trying again").await;
    browser.wait_for_text("#phone-error", "The server does not answer.").await;
    browser.devtools("Network.setBlockedURLs", json!({ "urls": [] })).await;
    browser.click("#send").await;
    browser.find("#code").await;
}
