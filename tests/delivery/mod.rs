//! Delivery through the fake Twilio: crashes of the worker, faults of the database and the provider, and receipts in
//! any order.

mod begins;
mod clocks;
mod fallback;
mod kills;
mod receipts;
mod routes;
mod unreliable;
mod voice_fallback;
mod worker;

use fake_twilio::{Call, Fake};

use testkit::http::Api;

/// The address given to Twilio; nothing listens there, so callbacks go to the test's gateway instead.
const PUBLIC_URL: &str = "https://auth.example.test/base";

/// The settings of a system that sends through the fake.
fn settings(fake: &Fake, base_url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("LATCHKEY_SMS_ROUTES", "default=twilio".to_owned()),
        ("TWILIO_ACCOUNT_SID", fake.account.sid.clone()),
        ("TWILIO_AUTH_TOKEN", fake.account.auth_token.clone()),
        ("TWILIO_FROM", "+15005550006".to_owned()),
        ("TWILIO_BASE_URL", base_url.to_owned()),
        ("LATCHKEY_PUBLIC_URL", PUBLIC_URL.to_owned()),
    ]
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Returns the code in a text.
fn code(call: &Call) -> String {
    let runs = call.text().split(|c: char| !c.is_ascii_digit());
    runs.into_iter().find(|run| run.len() == 6).expect("a text has a code").to_owned()
}

/// Returns a request's public status.
async fn status(api: &Api, request_id: &str) -> String {
    api.status(request_id).await.expect(200).text("status")
}
