//! The whole service while its provider is away for ten minutes, on a manual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Queue;
use config::{Config, Role};
use domain::event::{Envelope, SmsRequested};
use domain::vocabulary::{Channel, Reason, Status};
use fake_twilio::{Account, Fake};
use service::connections::Connections;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::delivery::{TEXT, embedded_engines, job, statuses_in};

const LIFE_SECS: i64 = 300;
/// How far the clock moves per step of the outage, and how long a step takes. Nothing depends on the worker keeping up:
/// a text that it had no time to try is as stale as one that it tried.
const STEP: Duration = Duration::from_secs(2);
const STEP_TAKES: Duration = Duration::from_millis(25);
/// After the recovery the clock moves by this much, and only after this long without a status: what was in hand has
/// ended by then, on a busy machine too.
const STEP_OF_RECOVERY: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(250);
/// P12: delivery resumes within this time of the recovery. It covers the longest time that a circuit stays open, and a
/// job's remaining wait in the broker.
const SOON_MS: i64 = 60_000;

fn phone_of(number: usize) -> String {
    format!("+98912{number:07}")
}

async fn publish(engines: &Connections, number: usize) -> Envelope<SmsRequested> {
    let phone = phone_of(number);
    let job = job(&engines.keys, &engines.clock, None, Channel::Sms, &phone, TEXT, LIFE_SECS);
    engines.bus.publish(&job).await.unwrap();
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_after_a_ten_minute_outage_a_provider_gets_every_fresh_text_and_no_stale_one() {
    let (engines, folder) = embedded_engines().await;
    // Nothing listens on this port until the provider is back.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let account = Account { sid: format!("AC{:032x}", 7), auth_token: format!("{:032x}", 8) };
    let settings = [
        ("LATCHKEY_DATA_DIR", folder.path().display().to_string()),
        ("LATCHKEY_SMS_ROUTES", "default=twilio".to_owned()),
        ("TWILIO_ACCOUNT_SID", account.sid.clone()),
        ("TWILIO_AUTH_TOKEN", account.auth_token.clone()),
        ("TWILIO_FROM", "+15005550006".to_owned()),
        ("TWILIO_BASE_URL", format!("http://{address}")),
    ];
    let settings: BTreeMap<_, _> =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let config = Arc::new(Config::from_map(Role::AllInOne, &settings).unwrap());
    let clock = engines.clock.clone();
    let stop = CancellationToken::new();
    let mut statuses = engines.bus.consume(Queue::OtpWorker, 100).await.unwrap();
    let service = tokio::spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));

    let began_ms = clock.now_ms();
    let mut jobs = Vec::new();
    while clock.now_ms() - began_ms < 600_000 {
        if (clock.now_ms() - began_ms) / 20_000 >= i64::try_from(jobs.len()).unwrap() {
            jobs.push(publish(&engines, jobs.len()).await);
        }
        clock.advance(STEP);
        tokio::time::sleep(STEP_TAKES).await;
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let fake = Fake::serve(listener, None, account).unwrap();
    let back = clock.now();
    let old = jobs.len();
    for _ in 0..10 {
        jobs.push(publish(&engines, jobs.len()).await);
    }

    let mut ends = BTreeMap::new();
    while ends.len() < jobs.len() {
        assert!(clock.now_ms() - back.ms() < LIFE_SECS * 1000, "only {} have ended", ends.len());
        // The clock moves on only when the worker has been quiet for a while, so a slow machine does not outrun it.
        clock.advance(STEP_OF_RECOVERY);
        while let Ok(Some(told)) = tokio::time::timeout(QUIET, statuses.next()).await {
            for status in statuses_in(&told) {
                if status.status != Status::Sending {
                    ends.insert(status.message_id, (status.status, status.reason, clock.now_ms()));
                }
            }
        }
    }
    let mut counts = [0; 3];
    for (number, job) in jobs.iter().enumerate() {
        let (status, reason, at_ms) = ends[&job.data.message_id];
        let calls = fake.calls_to(&phone_of(number)).len();
        let left_ms = job.data.not_after.ms() - back.ms();
        if number >= old {
            counts[2] += 1;
            assert_eq!((status, calls), (Status::Sent, 1), "a fresh text");
            assert!(at_ms - back.ms() <= SOON_MS, "{} ms after the recovery", at_ms - back.ms());
        } else if left_ms < 10_000 {
            counts[0] += 1;
            assert_eq!((status, calls), (Status::Failed, 0), "a stale text");
            // `Expired` if the text was never tried because no time was left.
            let reasons = [Some(Reason::ProviderUnavailable), Some(Reason::Expired)];
            assert!(reasons.contains(&reason), "{reason:?}");
        } else {
            counts[1] += 1;
            // A text near its expiry may meet a circuit that is still open; none is sent late or twice.
            let wanted = usize::from(status == Status::Sent);
            assert_eq!(calls, wanted, "{left_ms} ms were left, {status}");
            assert!(left_ms < SOON_MS + 10_000 || status == Status::Sent, "{left_ms} ms, {status}");
        }
    }
    println!(
        "stale {} (none sent), still valid at the recovery {}, fresh {} (all sent)",
        counts[0], counts[1], counts[2]
    );
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    for call in fake.calls() {
        let validity: i64 = call.form["ValidityPeriod"].parse().unwrap();
        assert!((10..=LIFE_SECS).contains(&validity), "the remaining time: {validity}");
    }
    stop.cancel();
    service.await.unwrap().unwrap();
}
