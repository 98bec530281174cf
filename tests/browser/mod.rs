//! Walks through the pages in a real browser: what a person meets, on the embedded default and on the engines.
//!
//! `chromium` and `checks` are for every page; the others are walks through `/`, `/inbox`, `/try`, `/docs` and the console.

pub(crate) mod checks;
pub(crate) mod chromium;

mod access;
mod console;
mod docs;
mod inbox;
mod looks;
mod refusals;
mod sign_in;
mod words;

use chromium::Browser;
use serde_json::json;

/// Opens the sign-in page and requests a code for a number, as a person types it; returns when the code is wanted.
async fn request_code(browser: &Browser, url: &str, phone: &str) {
    open_sign_in(browser, url).await;
    browser.type_into("#phone", phone).await;
    browser.click("#send").await;
    browser.find("#code").await;
}

/// Opens the sign-in page at this address, with its query if it has one, and waits until it can be used.
async fn open_sign_in(browser: &Browser, url: &str) {
    browser.goto(url).await;
    browser.wait_until("document.body.dataset.ready").await;
}

/// Puts a text into the field that has the focus, as a paste or a keyboard's suggestion does: all at once.
async fn paste(browser: &Browser, text: &str) {
    browser.devtools("Input.insertText", json!({ "text": text })).await;
}
