//! A provider that fails often and is slow.

use std::time::{Duration, Instant};

use fake_twilio::{Act, Fake, Script};
use futures::future::join_all;

use super::{borrowed, settings, status};
use crate::both_sides;
use crate::support::http::new_phone;
use crate::support::in_time;
use crate::support::system::{Side, System};

const REQUESTS: usize = 60;
/// A code's life, less what a text must have left of it.
const IN_LIFE: Duration = Duration::from_secs(290);

both_sides!(p2_every_text_arrives_in_its_life_from_a_provider_that_fails_and_is_slow);

async fn p2_every_text_arrives_in_its_life_from_a_provider_that_fails_and_is_slow(side: Side) {
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
        "{side:?}: {delivered} of {REQUESTS} sent, the last after {slowest:?}; {first_try} would be by one try each; {} calls",
        fake.calls().len()
    );
    assert_eq!(delivered, REQUESTS);
    assert!(first_try < REQUESTS, "the provider did fail");
    for (phone, _) in &runs {
        let calls = fake.calls_to(phone);
        let taken: Vec<_> = calls.iter().filter(|call| call.taken).collect();
        assert_eq!(taken.len(), 1, "no text twice");
    }
}
