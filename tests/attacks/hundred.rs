//! A hundred failures in a row at one phone: over HTTP, with the default limits and a clock that the test moves (P4;
//! contract, rulings 3 and 4).

use domain::phone::Phone;
use serde_json::json;

use crate::accounts::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::Side;

both_sides!(
    f04_a_known_device_has_ten_failures_a_day_beyond_the_lock_and_staff_unlock_it,
    f04_strangers_lock_out_no_known_device,
    f12_a_locked_phone_unlocks_a_day_after_its_last_counted_attempt_for_ten_more,
);

/// The attempts of one code, and its lifetime plus a second.
const ATTEMPTS: u64 = 5;
const A_CODES_LIFE_SECS: u64 = 301;
/// From the 91st on, only attempts from a known device are checked (contract, rulings 4 and 39).
const FOR_STRANGERS: u64 = 90;
/// `LATCHKEY_FAILURE_RESET_SECS`.
const RESET_SECS: u64 = 86_400;
/// How long a slow machine may take between two calls: time passes even when the test does not move the clock.
const SLACK_SECS: u64 = 20;

/// A subscriber's phone and device, and the number of failed attempts in a row.
struct PhoneUnderAttack {
    latchkey: InProcessLatchkey,
    apis: [Api; 2],
    phone: String,
    device: String,
    failures: u64,
}

/// The wait before the next attempt.
fn wait_after(failures: u64) -> u64 {
    match failures {
        0..=9 => 0,
        10 => 30,
        11 => 60,
        12 => 120,
        13 => 240,
        14 => 480,
        _ => 900,
    }
}

impl PhoneUnderAttack {
    async fn begin(side: Side) -> Self {
        let latchkey = InProcessLatchkey::start(side, 2).await;
        let apis = [latchkey.api_of(0), latchkey.api_of(1)];
        let phone = new_phone();
        let device = apis[0].sign_in(&phone).await["device_token"].as_str().unwrap().to_owned();
        Self { latchkey, apis, phone, device, failures: 0 }
    }

    /// Requests a code, which works as usual, and returns it.
    async fn code(&self) -> String {
        let api = &self.apis[0];
        let request = api.otp(&self.phone).await.expect(202).text("request_id");
        eventually("the text of that request", testkit::PATIENCE, async || {
            let messages = api.messages(&self.phone).await;
            let text = messages.into_iter().find(|text| text["request_id"] == request)?;
            Some(text["code"].as_str()?.to_owned())
        })
        .await
    }

    /// Tries a code at the gateways in turn; with a token, from that device.
    async fn attempt(&self, otp: &str, device: Option<&str>) -> Answer {
        let mut body = json!({ "phone_number": self.phone, "otp": otp });
        if let Some(device) = device {
            body["device_token"] = device.into();
        }
        self.apis[usize::from(self.failures.is_multiple_of(2))].post("/v1/login", body).await
    }

    /// A stranger fails once more, after the wait; then the right code is refused too.
    async fn fail(&mut self) {
        self.latchkey.advance(wait_after(self.failures));
        let code = self.code().await;
        self.attempt(&wrong(&code, 1), None).await.problem(401, "otp_incorrect");
        self.failures += 1;
        if self.failures <= 10 && self.failures.is_multiple_of(ATTEMPTS) {
            // Here the code is exhausted, which lasts longer than the first wait.
            self.attempt(&code, None).await.problem(429, "otp_attempts_exhausted");
            self.latchkey.advance(A_CODES_LIFE_SECS);
        } else if self.failures > 10 {
            let is_last = self.failures == FOR_STRANGERS;
            let wait = if is_last { RESET_SECS } else { wait_after(self.failures) };
            self.is_closed(&code, None, wait).await;
        }
    }

    /// Asserts that the right code is not checked for this long.
    async fn is_closed(&self, code: &str, device: Option<&str>, secs: u64) {
        let refused = self.attempt(code, device).await.problem(429, "too_many_requests");
        assert_eq!(refused["limit"], "guesses");
        let told = refused["retry_after"].as_u64().unwrap();
        let in_time = secs.saturating_sub(SLACK_SECS)..=secs;
        assert!(in_time.contains(&told), "{told} of {secs} after {} failures", self.failures);
    }

    /// A stranger fails as often as strangers may.
    async fn until_strangers_are_locked_out(&mut self) {
        while self.failures < FOR_STRANGERS {
            self.fail().await;
        }
    }
}

async fn f04_a_known_device_has_ten_failures_a_day_beyond_the_lock_and_staff_unlock_it(side: Side) {
    let mut attacked = PhoneUnderAttack::begin(side).await;
    attacked.until_strangers_are_locked_out().await;
    let device = attacked.device.clone();
    let mut code = String::new();
    for failures in 0..10 {
        if failures % ATTEMPTS == 0 {
            code = attacked.code().await;
        }
        let refused = attacked.attempt(&wrong(&code, failures + 1), Some(&device)).await;
        let left = refused.problem(401, "otp_incorrect")["attempts_left"].as_u64().unwrap();
        assert_eq!(left, ATTEMPTS - 1 - failures % ATTEMPTS);
        if failures == ATTEMPTS - 1 {
            let spent = attacked.attempt(&code, Some(&device)).await;
            spent.problem(429, "otp_attempts_exhausted");
            attacked.latchkey.advance(A_CODES_LIFE_SECS);
        }
    }
    // Now it is as anybody; code requests work as usual. Its failures did not put off the end of the lock.
    let code = attacked.code().await;
    for device in [None, Some(device.as_str())] {
        attacked.is_closed(&code, device, RESET_SECS - A_CODES_LIFE_SECS).await;
    }
    // This is what `latchkey users unlock` does; the command itself is tested with a lower limit.
    let engines = &attacked.latchkey.engines;
    let phone = Phone::trusted(&attacked.phone).unwrap();
    let claimant = accounts::Claimant {
        phone_number: phone.e164(),
        phone_key: &engines.keys.phone_key(phone.e164()),
        former_key: None,
        known_device: None,
    };
    let limits =
        accounts::AttemptLimits { attempts: 5, max_failures: 100, failure_reset_secs: 86_400 };
    let now = engines.clock.now();
    assert!(
        accounts::Attempts::new(&engines.sql)
            .reset_failures(claimant, limits, "staff", now)
            .await
            .unwrap()
    );
    attacked.attempt(&code, None).await.expect(200);
}

async fn f04_strangers_lock_out_no_known_device(side: Side) {
    let mut attacked = PhoneUnderAttack::begin(side).await;
    let others = attacked.apis[0].sign_in(&new_phone()).await;
    attacked.until_strangers_are_locked_out().await;
    let code = attacked.code().await;
    // Another user's device, a forged one and none count as strangers; the owner's device waits for nothing.
    for stranger in [None, Some(""), Some("dt1.forged"), others["device_token"].as_str()] {
        attacked.is_closed(&code, stranger, RESET_SECS).await;
    }
    let device = Some(attacked.device.as_str());
    attacked.attempt(&wrong(&code, 1), device).await.problem(401, "otp_incorrect");
    attacked.attempt(&code, device).await.expect(200);
    // A success resets the failures in a row, for strangers too.
    let code = attacked.code().await;
    attacked.attempt(&wrong(&code, 1), None).await.problem(401, "otp_incorrect");
    attacked.attempt(&code, None).await.expect(200);
}

async fn f12_a_locked_phone_unlocks_a_day_after_its_last_counted_attempt_for_ten_more(side: Side) {
    let mut attacked = PhoneUnderAttack::begin(side).await;
    attacked.until_strangers_are_locked_out().await;
    eventually("the text that tells its owner", testkit::PATIENCE, async || {
        let messages = attacked.apis[0].messages(&attacked.phone).await;
        let tells = |text: &serde_json::Value| {
            text["text"].as_str().is_some_and(|text| text.contains("after many wrong attempts"))
        };
        messages.iter().any(tells).then_some(())
    })
    .await;
    // Attempts that are not checked do not move the end.
    for passed in [40_000, 80_000] {
        attacked.latchkey.advance(40_000);
        let code = attacked.code().await;
        attacked.is_closed(&code, None, RESET_SECS - passed).await;
    }
    attacked.latchkey.advance(RESET_SECS - 80_000 - 60);
    let code = attacked.code().await;
    attacked.is_closed(&code, None, 60).await;
    attacked.latchkey.advance(60);
    // Ten more are judged until the next lock, each after the longest wait (contract, ruling 42).
    attacked.attempt(&wrong(&code, 1), None).await.problem(401, "otp_incorrect");
    for failures in 1..10 {
        attacked.is_closed(&code, None, 900).await;
        attacked.latchkey.advance(900);
        let code = attacked.code().await;
        attacked.attempt(&wrong(&code, failures), None).await.problem(401, "otp_incorrect");
    }
    let code = attacked.code().await;
    attacked.is_closed(&code, None, RESET_SECS).await;
    attacked.latchkey.advance(RESET_SECS);
    // A success restores the full count.
    let code = attacked.code().await;
    attacked.attempt(&code, None).await.expect(200);
    let code = attacked.code().await;
    attacked.attempt(&wrong(&code, 1), None).await.problem(401, "otp_incorrect");
    attacked.attempt(&code, None).await.expect(200);
}
