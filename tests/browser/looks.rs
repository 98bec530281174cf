//! How the pages look: at the width of a phone and of a laptop, light and dark, in every language. Pictures are written to
//! `screenshots` in the target folder, to be looked at.

use testkit::http::{new_phone, wrong};
use testkit::system::{Side, System};

use crate::browser::checks::{Scheme, WIDTHS};
use crate::browser::chromium::Browser;
use crate::browser::words::LOCALES;
use crate::browser::{open_sign_in, paste, request_code};

/// What a page and all that it loads may weigh, in bytes.
const MOST_BYTES: u64 = 60 * 1024;

/// Looks at the page as it is now: nothing serious for people with disabilities, nothing to scroll sideways.
pub(super) async fn look_at(browser: &Browser, name: &str) {
    for width in WIDTHS {
        for scheme in Scheme::BOTH {
            browser.look(width, scheme).await;
            let name = format!("{name}-{width}-{}", scheme.name());
            browser.fits(&name).await;
            let barriers = browser.barriers().await;
            assert!(barriers.is_empty(), "{name}: {barriers:#?}");
            browser.shot(&name).await;
        }
    }
}

pub(super) async fn weighs_little(browser: &Browser, name: &str) {
    let weight = browser.weight().await;
    assert!((1_000..MOST_BYTES).contains(&weight), "{name} weighs {weight} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_page_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let browser = Browser::start().await;
    browser.goto(&system.api().url).await;
    browser.find("[data-copy]").await;
    look_at(&browser, "start").await;
    weighs_little(&browser, "start").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_page_that_asks_for_the_token_is_readable_for_all() {
    let token = [("LATCHKEY_INBOX_TOKEN", testkit::http::INBOX_TOKEN)];
    let system = System::start(Side::Embedded, &token).await;
    let browser = Browser::start().await;
    browser.goto(&format!("{}/?token=not-the-right-one", system.api().url)).await;
    browser.find("#token").await;
    look_at(&browser, "start-token").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inbox_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let browser = Browser::start().await;
    browser.goto(&format!("{}/inbox", api.url)).await;
    browser.find("#empty").await;
    look_at(&browser, "inbox-empty").await;
    for (locale, channel) in [("fa", "sms"), ("de", "voice"), ("en", "sms")] {
        let body = serde_json::json!({ "phone_number": new_phone(), "locale": locale, "channel": channel });
        api.post("/v1/otp", body).await.expect(202);
    }
    browser.wait_until("document.querySelectorAll('.message').length === 3").await;
    browser.wait_until("document.getAnimations().length === 0").await;
    look_at(&browser, "inbox").await;
    weighs_little(&browser, "inbox").await;
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_of_the_sign_in_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let page = format!("{}/try", api.url);
    let browser = Browser::start().await;
    open_sign_in(&browser, &page).await;
    look_at(&browser, "try-phone").await;
    weighs_little(&browser, "try").await;
    browser.click("summary").await;
    browser.click("#send").await;
    browser.wait_for_text("#phone-error", "Enter").await;
    look_at(&browser, "try-phone-error").await;
    browser.type_into("#first", "Ada").await;
    browser.type_into("#last", "Lovelace").await;
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.wait_for_text("#status", "Sent.").await;
    look_at(&browser, "try-code").await;
    let code = api.code(&phone, 1).await;
    browser.click("#code").await;
    paste(&browser, &wrong(&code, 1)).await;
    browser.wait_for_text("#code-error", "not right").await;
    look_at(&browser, "try-code-error").await;
    browser.type_into("#code", &code).await;
    browser.find("#done-title").await;
    look_at(&browser, "try-done").await;
    browser.no_errors(&[401]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_language_has_its_direction_fits_a_phone_and_weighs_little() {
    let system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let browser = Browser::start().await;
    for locale in LOCALES {
        browser.look(360, Scheme::Light).await;
        let page = format!("{}/try?lang={locale}", api.url);
        open_sign_in(&browser, &page).await;
        weighs_little(&browser, locale).await;
        let root =
            browser.run("const it = document.documentElement; return [it.lang, it.dir]", &[]).await;
        let direction = if ["fa", "ar"].contains(&locale) { "rtl" } else { "ltr" };
        assert_eq!(root, serde_json::json!([locale, direction]));
        browser.fits(locale).await;
        browser.shot(&format!("try-{locale}-360-light")).await;
        request_code(&browser, &page, &new_phone()).await;
        browser.fits(locale).await;
        let barriers = browser.barriers().await;
        assert!(barriers.is_empty(), "{locale}: {barriers:#?}");
        // Numbers and codes read left to right in every language.
        let ltr = "return ['phone', 'code'].every((id) => getComputedStyle(document.getElementById(id)).direction === 'ltr')";
        assert_eq!(browser.run(ltr, &[]).await, true, "{locale}");
        browser.shot(&format!("try-code-{locale}-360-light")).await;
    }
    browser.no_errors(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_language_is_the_readers_and_can_be_chosen() {
    let system = System::start(Side::Embedded, &[]).await;
    let browser = Browser::start().await;
    let agent = browser.run("return navigator.userAgent", &[]).await;
    let german = serde_json::json!({ "userAgent": agent, "acceptLanguage": "de-AT,en" });
    browser.devtools("Emulation.setUserAgentOverride", german).await;
    open_sign_in(&browser, &format!("{}/try", system.api().url)).await;
    assert_eq!(browser.text("#phone-title").await, "Anmelden");
    assert_eq!(browser.text("#prefix").await, "+43");
    browser.choose("#language", "fa").await;
    browser.wait_for_text("#phone-title", "ورود").await;
    browser
        .wait_until("document.documentElement.dir === 'rtl' && location.search === '?lang=fa'")
        .await;
    assert_eq!(browser.text("#prefix").await, "+43", "the chosen country stays");
    // The next text is in the page's language.
    let phone = new_phone();
    browser.type_into("#phone", &phone).await;
    browser.click("#send").await;
    browser.find("#code").await;
    system.api().code(&phone, 1).await;
    assert!(system.api().messages(&phone).await[0]["text"].as_str().unwrap().contains("کد تایید"));
    browser.no_errors(&[]).await;
}
