//! The page of the API: read, and tried from its first call to an account that it reads with its own token.

use testkit::both_sides;
use testkit::http::new_phone;
use testkit::system::{Side, System};

use crate::browser::chromium::Browser;
use crate::browser::looks::{look_at, weighs_little};

both_sides!(a_call_is_tried_on_the_page_of_the_api);

/// Sends the form of a call; returns what the page shows of the answer, once it begins with this status.
async fn send(browser: &Browser, call: &str, body: &str, status: &str) -> String {
    let form = format!("#{call} form");
    browser
        .run(&format!("document.querySelector('{form}').closest('details').open = true"), &[])
        .await;
    let fill =
        "const field = document.querySelector(arguments[0]); if (field) field.value = arguments[1]";
    browser.run(fill, &[format!("{form} textarea").into(), body.into()]).await;
    browser.click(&format!("{form} button")).await;
    browser.wait_for_text(&format!("{form} output pre"), status).await
}

async fn a_call_is_tried_on_the_page_of_the_api(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let browser = Browser::start().await;
    browser.goto(&format!("{}/docs", api.url)).await;
    browser.find("#requestCode").await;
    let body = format!("{{\"phone_number\": \"{phone}\"}}");
    let shown = send(&browser, "requestCode", &body, "202").await;
    assert!(shown.contains("request_id"), "{shown}");
    let body =
        format!("{{\"phone_number\": \"{phone}\", \"otp\": \"{}\"}}", api.code(&phone, 1).await);
    send(&browser, "logIn", &body, "200").await;
    // The token of the sign-in is used for the calls that need one.
    let me = send(&browser, "getUser", "", "200").await;
    assert!(me.contains(&phone), "{me}");
    let refused = send(&browser, "logIn", &body, "401").await;
    assert!(refused.contains("otp_incorrect"), "{refused}");
    browser.no_errors(&[401]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_the_api_is_readable_for_all_at_every_width_and_light() {
    let system = System::start(Side::Embedded, &[]).await;
    let browser = Browser::start().await;
    browser.goto(&format!("{}/docs", system.api().url)).await;
    browser.find("#logIn").await;
    look_at(&browser, "docs").await;
    weighs_little(&browser, "docs").await;
    browser.no_errors(&[]).await;
}
