//! The whole service on the embedded engines: an event comes in, a text is kept and its status is published.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::Queue;
use config::{Config, Role};
use domain::event::{Envelope, SmsReceipt};
use domain::ids::AttemptId;
use domain::phone::Phone;
use domain::vocabulary::{Channel, Status};
use ledger::Ledger;
use store::inbox::KeptMessage;
use tokio_util::sync::CancellationToken;

use super::PHONE;
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
    let key = engines.keys.phone_key(&Phone::trusted(PHONE)?);
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
