//! The metrics of running services: a walk through a sign-in moves every figure that it should.

use std::time::Duration;

use testkit::engines::Engines;
use testkit::folder::free_port;
use testkit::http::{get_blocking, new_phone, wrong};
use testkit::process::Binary;
use testkit::system::{Apart, System};
use testkit::{PATIENCE, eventually};

use service::telemetry::catalogue::METRICS;

const EACH_ONCE: Apart = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };

/// What a process shows of itself now.
fn shown(system: &System, binary: Binary) -> String {
    let process = system.processes.iter().find(|process| process.binary == binary).unwrap();
    get_blocking(&process.ops_url, "/metrics").unwrap_or_default()
}

/// The value of a series, with its labels as they are written.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Whether a count is this one.
fn is(value: f64, count: f64) -> bool {
    (value - count).abs() < 0.5
}

/// Waits until the series of a process has such a value.
async fn reaches(system: &System, binary: Binary, series: &str, is_so: impl Fn(f64) -> bool) {
    let what = format!("{series} of {}", binary.name());
    eventually(&what, PATIENCE, async || {
        value(&shown(system, binary), series).filter(|value| is_so(*value))
    })
    .await;
}

/// Separate services whose first provider is away: nothing listens there.
pub(super) async fn with_a_failing_provider() -> System {
    let away = format!("http://127.0.0.1:{}/", free_port());
    let more = [
        ("LATCHKEY_SMS_ROUTES", "default=http,inbox"),
        ("LATCHKEY_HTTP_PROVIDER_URL", away.as_str()),
        ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-this-test-0123456789abcdef"),
        // It counts how many codes are used, and refuses nothing.
        ("LATCHKEY_PUMPING_GUARD", "record"),
    ];
    System::apart(Engines::shared().fresh().await, EACH_ONCE, &more).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_moves_every_figure_that_it_should_on_the_engines() {
    let system = with_a_failing_provider().await;
    let (api, phone) = (system.api(), new_phone());
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &wrong(&code, 1)).await.expect(401);
    let signed_in = api.login(&phone, &code).await.expect(200).body;
    let first = signed_in["refresh"].as_str().unwrap().to_owned();
    let second = api.refresh(&first).await.expect(200).text("refresh");
    api.refresh(&second).await.expect(200);
    drop(api.refresh(&first).await.problem(401, "refresh_reused"));
    // Each finds the provider away, until its circuit opens.
    for _ in 0..5 {
        api.fresh_code(&new_phone()).await;
    }

    let is_six = |value: f64| value >= 6.0;
    let some = |value: f64| value >= 1.0;
    for (series, is_so) in [
        (
            "latchkey_build_info{version=\"0.1.0\",service=\"gateway\"}",
            &some as &dyn Fn(f64) -> bool,
        ),
        ("latchkey_codes_requested_total{country=\"IR\"}", &is_six),
        ("latchkey_codes_verified_total{country=\"IR\"}", &|value| is(value, 1.0)),
        ("latchkey_request_to_verified_seconds_count", &|value| is(value, 1.0)),
        ("latchkey_refresh_total{outcome=\"rotated\"}", &|value| is(value, 2.0)),
        ("latchkey_refresh_total{outcome=\"reused\"}", &|value| is(value, 1.0)),
        ("latchkey_distinct_client_addresses", &|value| is(value, 1.0)),
        ("latchkey_limit_value{limit=\"phone_hour\"}", &|value| is(value, 0.0)),
        ("latchkey_signing_key_age_seconds", &|value| (0.0..86_400.0).contains(&value)),
        ("latchkey_outbox_oldest_seconds", &|value| value >= 0.0),
        ("latchkey_clock_skew_seconds", &|value| value.abs() < 60.0),
        ("latchkey_db_pool{state=\"most\"}", &|value| value >= 16.0),
        ("latchkey_engine_seconds_count{engine=\"postgresql\",operation=\"sign_in\"}", &some),
        ("latchkey_engine_seconds_count{engine=\"redis\",operation=\"command\"}", &is_six),
        ("latchkey_engine_seconds_count{engine=\"rabbitmq\",operation=\"publish\"}", &is_six),
    ] {
        reaches(&system, Binary::Gateway, series, is_so).await;
    }
    for (series, is_so) in [
        ("latchkey_consumer_up{queue=\"sms-worker\"}", &some as &dyn Fn(f64) -> bool),
        ("latchkey_provider_open{provider=\"http\"}", &some),
        ("latchkey_provider_open{provider=\"inbox\"}", &|value| is(value, 0.0)),
        ("latchkey_sms_total{provider=\"inbox\",status=\"sent\",country=\"IR\"}", &is_six),
        ("latchkey_request_to_sent_seconds_count", &is_six),
        ("latchkey_own_queue_oldest_seconds", &|value| value >= 0.0),
        ("latchkey_own_messages_in_hand", &|value| value >= 0.0),
        (
            "latchkey_engine_seconds_count{engine=\"postgresql\",operation=\"begin_attempts\"}",
            &some,
        ),
        (
            "latchkey_engine_seconds_count{engine=\"postgresql\",operation=\"finish_attempts\"}",
            &some,
        ),
    ] {
        reaches(&system, Binary::SmsWorker, series, is_so).await;
    }
    let up = "latchkey_consumer_up{queue=\"otp-worker\"}";
    reaches(&system, Binary::OtpWorker, up, some).await;

    for binary in [Binary::Gateway, Binary::OtpWorker, Binary::SmsWorker] {
        let text = shown(&system, binary);
        assert!(!text.contains(&phone) && !text.contains(&phone[1..]), "a phone:\n{text}");
        let of_ours = |line: &str| line.starts_with("# TYPE latchkey_");
        let described = text.lines().filter(|line| of_ours(line)).count();
        assert_eq!(described, METRICS.len(), "{}:\n{text}", binary.name());
    }
    tokio::time::timeout(Duration::from_mins(2), system.stop()).await.unwrap();
}
