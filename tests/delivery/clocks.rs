//! Hosts whose clocks are wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Queue;
use config::{Config, Role};
use domain::clock::Clock;
use domain::ids::MessageId;
use domain::vocabulary::{Channel, Reason, Status};
use fake_twilio::Fake;
use service::connections::Connections;
use service::health::Health;
use service::start;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{TEXT, job, settings, statuses_in};
use testkit::engines::Engines as Servers;
use testkit::http::new_phone;

const HOUR_MS: i64 = 60 * 60 * 1000;
const ARRIVES: Duration = testkit::PATIENCE;

/// Publishes a text for sms-worker that is valid for this long, by the true time.
async fn publish(engines: &Connections, phone: &str, secs: i64) -> MessageId {
    let job = job(&engines.keys, &Clock::system(), None, Channel::Sms, phone, TEXT, secs);
    engines.bus.publish(&job).await.unwrap();
    job.data.message_id
}

async fn worker_off_by(off_ms: i64) {
    start::install_crypto();
    let fake = Fake::start().await.unwrap();
    let mut variables: BTreeMap<String, String> = settings(&fake, &fake.url())
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    variables.extend(Servers::shared().fresh().await.env());
    variables.insert("LATCHKEY_ENV".into(), "development".into());
    variables.insert("LATCHKEY_SECRET".into(), "kv7tq2m9xw4r8ys3bn6c1zd5hj0plaeg".into());
    let config = Arc::new(Config::from_map(Role::SmsWorker, &variables).unwrap());
    let (clock, stop) = (Clock::wrong_by(off_ms), CancellationToken::new());
    let engines = Connections::connect(&config, "sms-worker", clock, Health::default(), &stop);
    let engines = engines.await.unwrap();
    engines.sql.migrate(accounts::FUNCTIONS).await.unwrap();
    let mut statuses = engines.bus.consume(Queue::OtpWorker, 10).await.unwrap();
    let service = tokio::spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));

    let (fresh_phone, stale_phone) = (new_phone(), new_phone());
    let stale = publish(&engines, &stale_phone, -60).await;
    let fresh = publish(&engines, &fresh_phone, 300).await;
    let mut ends = BTreeMap::new();
    while ends.len() < 2 {
        let told = timeout(ARRIVES, statuses.next()).await.unwrap().unwrap();
        for status in statuses_in(&told) {
            if status.status != Status::Sending {
                ends.insert(status.message_id, (status.status, status.reason));
            }
        }
    }
    assert_eq!(ends[&fresh], (Status::Sent, None), "{off_ms} ms");
    assert_eq!(ends[&stale], (Status::Failed, Some(Reason::Expired)), "{off_ms} ms");
    assert!(fake.calls_to(&stale_phone).is_empty());
    let calls = fake.calls_to(&fresh_phone);
    let validity: i64 = calls[0].form["ValidityPeriod"].parse().unwrap();
    assert!((270..=300).contains(&validity), "{off_ms} ms: {validity}");
    stop.cancel();
    service.await.unwrap().unwrap();
}

mod on_the_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p7_a_worker_whose_clock_is_an_hour_off_sends_fresh_texts_and_drops_stale_ones() {
        for off_ms in [HOUR_MS, -HOUR_MS] {
            worker_off_by(off_ms).await;
        }
    }
}
