//! The first and the last step of a sign-in as metrics, by country: codes that were requested, and codes that were used. The
//! steps between, sent and delivered, are `latchkey_sms_total` of sms-worker, which knows the provider too.

use std::time::Duration;

use domain::phone::{Phone, country_label};
use domain::timestamp::Timestamp;

use crate::app::App;

/// Counts an accepted code request. One for a test number sends no text, so it is counted apart.
pub(crate) fn requested(app: &App, phone: &Phone) {
    if is_test(app, phone) {
        metrics::counter!("latchkey_test_number_requests_total").increment(1);
        return;
    }
    let country = country_label(phone.region());
    metrics::counter!("latchkey_codes_requested_total", "country" => country).increment(1);
}

/// Counts a code that was used, and the time since its first request: the code's life began with it.
pub(crate) fn verified(app: &App, phone: &Phone, expires_at: Timestamp, now: Timestamp) {
    if is_test(app, phone) {
        return;
    }
    let country = country_label(phone.region());
    metrics::counter!("latchkey_codes_verified_total", "country" => country).increment(1);
    let left_ms = expires_at.ms().saturating_sub(now.ms()).max(0).unsigned_abs();
    let life = Duration::from_secs(app.config.otp.ttl_secs.unsigned_abs());
    let took = life.saturating_sub(Duration::from_millis(left_ms));
    metrics::histogram!("latchkey_request_to_verified_seconds").record(took);
}

fn is_test(app: &App, phone: &Phone) -> bool {
    app.phones.test_code(phone.e164(), app.engines.clock.now()).is_some()
}
