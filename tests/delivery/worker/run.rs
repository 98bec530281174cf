//! The whole service on the embedded engines: an event comes in, a text is kept and its status is published.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::{Bus, Queue};
use config::{Config, Role};
use domain::clock::Clock;
use domain::event::{Envelope, SmsReceipt, SmsRequested, SmsStatus, Text};
use domain::ids::{AttemptId, EventId, MessageId, RequestId};
use domain::keys::Keys;
use domain::phone::Phone;
use domain::rng;
use domain::vocabulary::{Channel, Status};
use ledger::Ledger;
use service::connections::Connections;
use service::health::Health;
use sql::Pool;
use store::Store;
use store::inbox::KeptMessage;
use tokio_util::sync::CancellationToken;

const PHONE: &str = "+989123456789";

#[tokio::test(flavor = "multi_thread")]
async fn p12_the_service_sends_each_text_once_and_stops_on_request() -> anyhow::Result<()> {
    let name = format!("latchkey-sms-worker-{:016x}", u64::from_be_bytes(rng::bytes()));
    let folder = std::env::temp_dir().join(name);
    let settings = BTreeMap::from([("LATCHKEY_DATA_DIR".to_owned(), folder.display().to_string())]);
    let config = Arc::new(Config::from_map(Role::AllInOne, &settings)?);
    let clock = Clock::system();
    let db = Pool::sqlite(&folder).await?;
    db.migrate(accounts::FUNCTIONS).await?;
    let engines = Connections {
        bus: Bus::memory(clock.clone()),
        store: Store::memory(clock.clone()),
        sql: db.clone(),
        keys: Arc::new(Keys::from_secret(&[7; 32], None)),
        clock: clock.clone(),
        health: Health::default(),
    };
    let stop = CancellationToken::new();
    let mut statuses = engines.bus.consume(Queue::OtpWorker, 10).await?;
    let service = tokio::spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));

    // No request: a notice, which is always wanted.
    let (event, message) = (EventId::new(&clock), MessageId::of_request(RequestId::new(&clock)));
    let not_after = clock.now().plus_secs(300);
    let text = Text { phone_number: PHONE.parse()?, text: "Your number was changed.".to_owned() };
    let sealed = SmsRequested::seal(&engines.keys.event, event, message, None, not_after, &text)?;
    let job = SmsRequested {
        message_id: message,
        request_id: None,
        channel: Channel::Sms,
        country: "IR".to_owned(),
        not_after,
        requested_at: None,
        sealed,
    };
    let job = Envelope::with_id(event, clock.now(), "gateway", None, job);
    // Published twice, as after a lost confirm.
    for _ in 0..2 {
        engines.bus.publish(&job).await?;
    }
    let told = tokio::time::timeout(testkit::PATIENCE, statuses.next()).await?.unwrap();
    let status = Envelope::<SmsStatus>::decode(&told.bytes)?.data;
    assert_eq!((status.message_id, status.status), (message, Status::Sent));
    assert_eq!(status.provider, "inbox");
    let key = engines.keys.phone_key(&Phone::trusted(PHONE)?);
    let kept = engines.store.inbox().texts(&key).await?;
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].contains("changed"), "the kept text is not sealed");
    assert_eq!(KeptMessage::open(&engines.keys, &key, kept[0].clone())?.text, text.text);

    // A receipt reaches the same consumer. For an unknown attempt it is kept, and neither retried nor dead-lettered.
    let fields = BTreeMap::from([("MessageStatus".to_owned(), "delivered".to_owned())]);
    let attempt_id = AttemptId::new(&clock);
    let receipt = SmsReceipt { provider: "twilio".to_owned(), attempt_id, fields };
    engines.bus.publish(&Envelope::new(&clock, "gateway", None, receipt)).await?;

    stop.cancel();
    tokio::time::timeout(testkit::system::STOP_LIMIT, service).await???;
    assert!(engines.bus.dead_list(Queue::SmsWorker, 10).await?.is_empty());
    let ledger = Ledger::new(db);
    assert_eq!(ledger.attempts(message).await?.len(), 1, "one call for two deliveries");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
