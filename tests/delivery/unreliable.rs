//! A provider that is slow and fails often.

use std::time::{Duration, Instant};

use fake_twilio::{Act, Fake, Script};
use futures::StreamExt as _;
use futures::future::join_all;

use super::{borrowed, code, settings, status};
use crate::faults::HEALED_WITHIN;
use crate::faults::oracle::ENDS;
use testkit::both_sides;
use testkit::engines::Engines;
use testkit::http::{Api, new_phone};
use testkit::process::Binary;
use testkit::system::{Apart, Side, System};
use testkit::{eventually, in_time};

const REQUESTS: usize = 60;
/// A code's validity, less the time that a text must have left.
const IN_LIFE: Duration = Duration::from_secs(290);

both_sides!(p2_every_text_arrives_before_its_expiry_from_a_slow_and_failing_provider);

async fn p2_every_text_arrives_before_its_expiry_from_a_slow_and_failing_provider(side: Side) {
    let fake = Fake::start().await.unwrap();
    let refuse = |status, code| Act::Refuse { status, code, retry_after: None };
    let script = Script {
        delay_ms: 2_000,
        failing_percent: 30,
        failures: vec![refuse(429, 20429), refuse(503, 21730), refuse(400, 21611)],
        ..Script::default()
    };
    fake.script("", script);
    let settings = settings(&fake, &fake.url());
    let system = System::start(side, &borrowed(&settings)).await;
    let api = system.api();
    let began = Instant::now();
    let runs = (0..REQUESTS).map(|_| async {
        let phone = new_phone();
        let request = api.otp(&phone).await.expect(202).text("request_id");
        let sent = in_time(IN_LIFE, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (status(&api, &request).await == "sent").then_some(began.elapsed())
        });
        (phone, sent.await)
    });
    let runs = join_all(runs).await;
    let first_try = runs
        .iter()
        .filter(|(phone, _)| fake.calls_to(phone).first().is_some_and(|c| c.taken))
        .count();
    let delivered = runs.iter().filter(|(_, sent)| sent.is_some()).count();
    let slowest = runs.iter().filter_map(|(_, sent)| *sent).max();
    println!(
        "{side:?}: {delivered} of {REQUESTS} sent, the last after {slowest:?}; {first_try} by one attempt; {} calls",
        fake.calls().len()
    );
    assert_eq!(delivered, REQUESTS);
    assert!(first_try < REQUESTS, "the provider never failed");
    for (phone, _) in &runs {
        let calls = fake.calls_to(phone);
        let taken: Vec<_> = calls.iter().filter(|call| call.taken).collect();
        assert_eq!(taken.len(), 1, "no text twice");
    }
}

/// Requests of a burst that are under way at once.
const AT_ONCE: usize = 64;
/// Requests of the burst in the suite; `of_two_thousand` makes two thousand.
const BURST: usize = 200;

/// A code request, and how it ended.
struct Ended {
    phone: String,
    status: String,
}

/// Requests so many codes at once, and waits until each has a final status (P1).
async fn burst(api: &Api, requests: usize) -> Vec<Ended> {
    let began = Instant::now();
    let asked: Vec<(String, String)> = futures::stream::iter(0..requests)
        .map(async |_| {
            let phone = new_phone();
            (api.otp(&phone).await.expect(202).text("request_id"), phone)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{requests} accepted within {:?}", began.elapsed());
    let (mut open, mut ended) = (asked, Vec::new());
    let all_ended = in_time(HEALED_WITHIN, async || {
        let looks = std::mem::take(&mut open).into_iter().map(async |(request, phone)| {
            let status = status(api, &request).await;
            (request, phone, status)
        });
        let looks: Vec<_> = futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        for (request, phone, status) in looks {
            if ENDS.contains(&status.as_str()) {
                ended.push(Ended { phone, status });
            } else {
                open.push((request, phone));
            }
        }
        open.is_empty().then_some(())
    })
    .await;
    println!("{} ended within {:?}", ended.len(), began.elapsed());
    assert!(all_ended.is_some(), "{} of {requests} are open", open.len());
    ended
}

/// A text whose call ended in an error waits for its receipt in the broker, and not in a place that another needs.
async fn three_of_ten_calls_fail(side: Side, requests: usize) {
    let fake = Fake::start().await.unwrap();
    // One half of them took the text all the same (W1).
    let refuse = Act::Refuse { status: 500, code: 20500, retry_after: None };
    let failures = vec![refuse, Act::TakeAndFail(500)];
    let script = Script { delay_ms: 20, failing_percent: 30, failures, ..Script::default() };
    fake.script("", script);
    let settings = settings(&fake, &fake.url());
    let system = System::start(side, &borrowed(&settings)).await;
    let (mut failed, mut twice) = (0, 0);
    for Ended { phone, status } in burst(&system.api(), requests).await {
        let calls = fake.calls_to(&phone);
        let taken = calls.iter().filter(|call| call.taken).count();
        let doubtful = calls.iter().filter(|call| call.act == Act::TakeAndFail(500)).count();
        let confirmed = calls.iter().filter(|call| call.act == Act::Take).count();
        assert!(calls.len() <= 2 && confirmed <= 1 && taken == confirmed + doubtful, "{calls:?}");
        assert_eq!(status == "sent", confirmed == 1, "{status}: {calls:?}");
        failed += usize::from(confirmed == 0);
        twice += usize::from(taken > 1);
    }
    println!("{side:?}: {requests} requests, {failed} failed, {twice} texted twice inside W1");
    assert!(fake.calls().len() > requests, "the provider never failed");
}

both_sides!(p1_w1_a_provider_that_fails_three_of_ten_calls_holds_up_nobody);

async fn p1_w1_a_provider_that_fails_three_of_ten_calls_holds_up_nobody(side: Side) {
    three_of_ten_calls_fail(side, BURST).await;
}

mod on_the_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes about a minute: tests/run --slow"]
    async fn p1_w1_a_burst_of_two_thousand_at_such_a_provider_ends_within_a_minute() {
        three_of_ten_calls_fail(Side::Engines, 2_000).await;
    }

    /// Everything that the worker held is redelivered. In sequence, at 2 s a call, it would take two minutes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_jobs_of_a_killed_worker_finish_within_a_minute_at_a_slow_provider() {
        let fake = Fake::start().await.unwrap();
        fake.script("", Script { delay_ms: 2_000, ..Script::default() });
        let settings = settings(&fake, &fake.url());
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        let engines = Engines::shared().fresh().await;
        let mut system = System::apart(engines, counts, &borrowed(&settings)).await;
        let api = system.api();
        let code_requests = (0..REQUESTS).map(async |_| {
            let phone = new_phone();
            (api.otp(&phone).await.expect(202).text("request_id"), phone)
        });
        let asked = join_all(code_requests).await;
        eventually("calls in flight", testkit::PATIENCE, async || {
            (fake.calls().len() >= 16).then_some(())
        })
        .await;
        system.all(Binary::SmsWorker).next().unwrap().restart().await;
        let began = Instant::now();
        let mut open: Vec<&str> = asked.iter().map(|(request, _)| request.as_str()).collect();
        let ended = in_time(HEALED_WITHIN, async || {
            let mut still = Vec::new();
            for request in std::mem::take(&mut open) {
                if status(&api, request).await != "sent" {
                    still.push(request);
                }
            }
            open = still;
            open.is_empty().then_some(())
        })
        .await;
        println!("{} of {REQUESTS} sent after {:?}", REQUESTS - open.len(), began.elapsed());
        assert!(ended.is_some(), "{} are open", open.len());
        for (_, phone) in &asked {
            // W1: calls in flight at the kill were taken, and their answers were lost.
            let calls = fake.calls_to(phone);
            assert!(calls.len() <= 2, "{} texts", calls.len());
            assert!(calls.iter().all(|call| code(call) == code(&calls[0])), "one code");
        }
    }
}
