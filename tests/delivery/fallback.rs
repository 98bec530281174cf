//! `LATCHKEY_VOICE_FALLBACK_SECS`: a call repeats the code of a text without confirmed delivery.

use domain::clock::Clock;
use domain::vocabulary::Status;
use fake_twilio::Fake;

use super::{borrowed, code, settings, status};
use testkit::both_sides;
use testkit::eventually;
use testkit::http::new_phone;
use testkit::system::{Side, System};

both_sides!(p2_a_text_without_a_receipt_is_followed_by_one_call_with_its_code);

async fn p2_a_text_without_a_receipt_is_followed_by_one_call_with_its_code(side: Side) {
    let fake = Fake::start().await.unwrap();
    let mut settings = settings(&fake, &fake.url());
    // The shortest allowed setting: here the broker's own clock decides.
    settings.push(("LATCHKEY_VOICE_FALLBACK_SECS", "10".to_owned()));
    let system = System::start(side, &borrowed(&settings)).await;
    let (api, phone) = (system.api(), new_phone());
    let asked_ms = Clock::system().now_ms();
    let request = api.otp(&phone).await.expect(202).text("request_id");
    let calls = eventually("a call after the text", testkit::PATIENCE, async || {
        Some(fake.calls_to(&phone)).filter(|calls| calls.len() == 2)
    })
    .await;
    assert_eq!([calls[0].voice, calls[1].voice], [false, true]);
    let after_ms = calls[1].at_ms - asked_ms;
    assert!(after_ms >= 9_500, "{after_ms} ms after the request");
    let said: String = calls[1].text().chars().filter(char::is_ascii_digit).collect();
    assert!(said.contains(&code(&calls[0])), "the same code");
    // Named or not, the login answers the request that the client knows.
    api.login(&phone, &code(&calls[0])).await.expect(200);
    eventually("the request's status", testkit::PATIENCE, async || {
        (status(&api, &request).await == Status::Verified.as_str()).then_some(())
    })
    .await;
}
