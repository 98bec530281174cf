//! The whole service on the embedded engines: an event comes in, a text is kept and its status is published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use std::time::Duration;

use bus::Queue;
use config::{Config, Role};
use domain::clock::Clock;
use domain::event::{Envelope, SmsReceipt, SmsRequested};
use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Status};
use ledger::{AttemptState, Finish, Ledger, Risk};
use store::inbox::KeptMessage;
use tokio_util::sync::CancellationToken;

use super::{PHONE, message_of};
use crate::delivery::{embedded_engines, job, statuses_in};

#[tokio::test(flavor = "multi_thread")]
async fn p12_the_service_sends_each_text_once_and_stops_on_request() -> anyhow::Result<()> {
    let (engines, folder) = embedded_engines().await;
    let data_dir = folder.path().display().to_string();
    let settings = BTreeMap::from([("LATCHKEY_DATA_DIR".to_owned(), data_dir)]);
    let config = Arc::new(Config::from_map(Role::AllInOne, &settings)?);
    let stop = CancellationToken::new();
    let mut statuses = engines.bus.consume(Queue::OtpWorker, 10).await?;
    let service = tokio::spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));

    let text = "Your number was changed.";
    let job = job(&engines.keys, &engines.clock, None, Channel::Sms, PHONE, text, 300);
    let message = job.data.message_id;
    // Published twice, as after a lost confirm.
    for _ in 0..2 {
        engines.bus.publish(&job).await?;
    }
    let told = tokio::time::timeout(testkit::PATIENCE, statuses.next()).await?.unwrap();
    let status = statuses_in(&told).remove(0);
    assert_eq!((status.message_id, status.status), (message, Status::Sent));
    assert_eq!(status.provider, "inbox");
    let key = engines.keys.phone_key(&PHONE.parse()?);
    let kept = engines.store.inbox().texts(&key).await?;
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].contains("changed"), "the kept text is not sealed");
    assert_eq!(KeptMessage::open(&engines.keys, &key, kept[0].clone())?.text, text);

    // A receipt reaches the same consumer. For an unknown attempt it is kept, and neither retried nor dead-lettered.
    let fields = BTreeMap::from([("MessageStatus".to_owned(), "delivered".to_owned())]);
    let attempt_id = AttemptId::new(&engines.clock);
    let receipt = SmsReceipt { provider: "twilio".to_owned(), attempt_id, fields };
    engines.bus.publish(&Envelope::new(&engines.clock, "gateway", None, receipt)).await?;

    stop.cancel();
    tokio::time::timeout(testkit::system::STOP_LIMIT, service).await???;
    assert!(engines.bus.dead_list(Queue::SmsWorker, 10).await?.is_empty());
    let ledger = Ledger::new(&engines.sql);
    assert_eq!(ledger.attempts(message).await?.len(), 1, "one call for two deliveries");
    Ok(())
}

/// So many of either kind are more than the worker's places.
const IN_DOUBT: usize = 50;
/// Their calls begin so far ahead, so that none is over before the others are sent, however slow the machine is.
const AHEAD_MS: i64 = 100_000;
/// The clock moves on when nothing was told for so long.
const QUIET: Duration = Duration::from_millis(250);

/// Writes down a first call that another worker has begun. Its outcome is unknown, or not there.
async fn begun_elsewhere(
    ledger: &Ledger,
    clock: &Clock,
    job: &Envelope<SmsRequested>,
    now: Timestamp,
    ended: bool,
) {
    let phone = PHONE.parse().unwrap();
    let message = message_of(job, &phone);
    let attempt = AttemptId::new(clock);
    let risk = Risk { most: 2, doubtful: &[], unsettled_since: now };
    ledger.begin(&message, attempt, "inbox", risk, now).await.unwrap();
    if ended {
        ledger.finish(attempt, &Finish::of(AttemptState::Unknown), now).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_texts_in_doubt_keep_no_place_from_another() -> anyhow::Result<()> {
    let (engines, folder) = embedded_engines().await;
    let data_dir = folder.path().display().to_string();
    let settings = BTreeMap::from([("LATCHKEY_DATA_DIR".to_owned(), data_dir)]);
    let config = Arc::new(Config::from_map(Role::AllInOne, &settings)?);
    let (clock, ledger, stop) =
        (engines.clock.clone(), Ledger::new(&engines.sql), CancellationToken::new());
    let new_job = || job(&engines.keys, &clock, None, Channel::Sms, PHONE, "Changed.", 300);
    // For each, the time before which nobody may call again: a receipt may still come for a call that ended, and for 10 s
    // more its worker may still be calling.
    let mut not_before = BTreeMap::new();
    for n in 0..2 * IN_DOUBT {
        let (job, ended) = (new_job(), n % 2 == 0);
        let began = clock.now().plus_ms(AHEAD_MS);
        let wait_ms = if ended { 3_000 } else { 13_000 };
        not_before.insert(job.data.message_id, began.ms() + wait_ms);
        begun_elsewhere(&ledger, &clock, &job, began, ended).await;
        engines.bus.publish(&job).await?;
    }
    let good = new_job();
    engines.bus.publish(&good).await?;
    let mut statuses = engines.bus.consume(Queue::OtpWorker, u16::MAX).await?;
    let service = tokio::spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));

    // None in doubt is over.
    let told = tokio::time::timeout(testkit::PATIENCE, statuses.next()).await?.unwrap();
    let told = statuses_in(&told);
    let [status] = &told[..] else { panic!("{told:?}") };
    assert_eq!((status.message_id, status.status), (good.data.message_id, Status::Sent));

    let (began_ms, mut sent) = (clock.now_ms(), BTreeSet::new());
    clock.advance(Duration::from_millis(AHEAD_MS.unsigned_abs()));
    while sent.len() < 2 * IN_DOUBT {
        // Texts live for 300 s. On a slow machine the clock moves on while they are being sent.
        assert!(clock.now_ms() - began_ms < 240_000, "P1: only {} are sent", sent.len());
        clock.advance(Duration::from_secs(1));
        while let Ok(Some(told)) = tokio::time::timeout(QUIET, statuses.next()).await {
            for status in statuses_in(&told) {
                assert_eq!(status.status, Status::Sent);
                if status.message_id == good.data.message_id {
                    // A status that was slow to be written down is told again.
                    continue;
                }
                assert!(not_before[&status.message_id] <= clock.now_ms(), "{status:?} is early");
                sent.insert(status.message_id);
            }
        }
    }
    stop.cancel();
    tokio::time::timeout(testkit::system::STOP_LIMIT, service).await???;
    assert!(engines.bus.dead_list(Queue::SmsWorker, 10).await?.is_empty());
    Ok(())
}
