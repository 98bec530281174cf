//! What follows a send, and what a send must never reveal.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{
    ACCOUNT, Delivery, PHONE, http, scripted, twilio, twilio_with_both, twilio_with_key,
    twilio_within,
};
use crate::delivery::{TEXT, embedded_engines};
use bus::consumer::Failure;
use config::UnknownOutcome::Resend;
use domain::vocabulary::{Channel, Reason, Status};
use fake_twilio::Reply;
use service::connections::Connections;
use sms_worker::{Console, Inbox, Provider};
use store::Store;
use store::inbox::KeptMessage;
use testkit::PATIENCE;
use testkit::launch::Keeps;
use testkit::proxy::{Fault, Proxy};
use testkit::redis::Redis;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_account_can_use_an_api_key_and_a_messaging_service() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio_with_key(&fake.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    let call = &fake.calls()[0];
    assert!(call.head.contains(&format!("/Accounts/{ACCOUNT}/Messages.json ")), "{}", call.head);
    // base64 of `SK1:key's secret`.
    assert!(call.head.contains("Basic U0sxOmtleSdzIHNlY3JldA=="), "{}", call.head);
    assert_eq!(call.field("MessagingServiceSid").as_deref(), Some("MG1"));
    assert_eq!(call.field("From"), None);
    // This account cannot call, and a call fails at once.
    let call = delivery.job_for(PHONE, Channel::Voice, 300);
    delivery.to_its_end(&call).await;
    assert_eq!(delivery.told(&call), [(Status::Failed, Some(Reason::ProviderUnavailable))]);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn with_a_messaging_service_and_a_number_the_service_sends_and_the_number_calls() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio_with_both(&fake.url)], Resend).await;
    for channel in [Channel::Sms, Channel::Voice] {
        delivery.to_its_end(&delivery.job_for(PHONE, channel, 300)).await;
    }
    let calls = fake.calls();
    assert_eq!(calls[0].field("MessagingServiceSid").as_deref(), Some("MG1"));
    assert_eq!(calls[0].field("From"), None);
    assert!(calls[1].head.contains("/Calls.json "), "{}", calls[1].head);
    assert_eq!(calls[1].field("From").as_deref(), Some("+15005550006"));
    assert_eq!(calls[1].field("MessagingServiceSid"), None);
}

#[tokio::test]
async fn a_missing_final_state_is_queried_and_then_the_text_is_redacted() {
    let fake = scripted([Reply::Take]).await;
    let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
    let job = delivery.job();
    delivery.to_its_end(&job).await;
    delivery.follow_up().await;
    assert_eq!(fake.calls().len(), 1, "not before two minutes");

    let found = |status: &str| {
        Reply::Say(
            200,
            "",
            format!(r#"{{"sid":"x","status":"{status}","price":"-0.0075","price_unit":"USD"}}"#),
        )
    };
    fake.script([found("sent")]);
    delivery.clock.advance(Duration::from_secs(121));
    delivery.follow_up().await;
    let sid = format!("SM{:032x}", 1);
    let asked = &fake.calls()[1];
    assert!(
        asked.head.starts_with(&format!("GET /2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json ")),
        "{}",
        asked.head
    );
    assert_eq!(delivery.end_of(&job).await, (Status::Sent, None));

    fake.script([Reply::error(500, 20500), found("delivered")]);
    for _ in 0..3 {
        delivery.clock.advance(Duration::from_mins(10));
        delivery.follow_up().await;
    }
    assert_eq!(delivery.told(&job), [(Status::Sent, None), (Status::Delivered, None)]);
    let calls = fake.calls();
    let last = calls.last().unwrap();
    assert!(
        last.head.starts_with(&format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json ")),
        "{}",
        last.head
    );
    assert_eq!(last.body, "Body=");
    let attempts = delivery.ledger.attempts(job.data.message_id).await.unwrap();
    assert_eq!(attempts[0].price.as_deref(), Some("-0.0075 USD"));

    delivery.clock.advance(Duration::from_hours(24));
    delivery.follow_up().await;
    assert_eq!(fake.calls().len(), calls.len(), "no queries after the end");
}

#[tokio::test]
async fn the_price_of_a_text_or_call_is_queried_until_known_but_not_forever() {
    let found = |status: &str, price: &str| {
        let body =
            format!(r#"{{"sid":"x","status":"{status}","price":{price},"price_unit":"USD"}}"#);
        Reply::Say(200, "", body)
    };
    for (channel, end) in [
        (Channel::Sms, [("MessageSid", "SM1"), ("MessageStatus", "delivered")]),
        (Channel::Voice, [("CallSid", "CA1"), ("CallStatus", "completed")]),
    ] {
        for told in [true, false] {
            let fake = scripted([Reply::Take]).await;
            let delivery = Delivery::new([twilio(&fake.url)], Resend).await;
            let job = delivery.job_for(PHONE, channel, 300);
            delivery.to_its_end(&job).await;
            delivery.receipt(&fake.calls()[0], &end).await;
            let price = if told { r#""-0.0130""# } else { "null" };
            fake.script([found(end[1].1, "null"), found(end[1].1, price)]);
            for _ in 0..100 {
                delivery.clock.advance(Duration::from_mins(30));
                delivery.follow_up().await;
            }
            let attempts = delivery.ledger.attempts(job.data.message_id).await.unwrap();
            let wanted = told.then_some("-0.0130 USD");
            assert_eq!(attempts[0].price.as_deref(), wanted, "{channel:?}");
            let asked = fake.calls().len() - 1;
            assert_eq!(asked, if told { 2 } else { 5 }, "{channel:?}");
        }
    }
}

#[tokio::test]
async fn p12_a_provider_that_does_not_answer_queries_delays_neither_a_stop_nor_the_sweep() {
    let fake = scripted([Reply::Take]).await;
    // Longer than the test's own limit: whatever waits for an answer is late.
    let provider = twilio_within(2 * PATIENCE, &fake.url);
    let delivery = Arc::new(Delivery::new([provider], Resend).await);
    for _ in 0..19 {
        delivery.to_its_end(&delivery.job()).await;
    }
    let last = delivery.job();
    delivery.to_its_end(&last).await;
    let sent = fake.calls().len();
    fake.script([Reply::Hang]);
    delivery.clock.advance(Duration::from_hours(31 * 24));
    let stop = CancellationToken::new();
    let (running, stopping) = (Arc::clone(&delivery), stop.clone());
    let run = tokio::spawn(async move { running.follow_ups.run(stopping).await });
    let at_work = async {
        while delivery.ledger.message_state(last.data.message_id).await.unwrap().is_some()
            || fake.calls().len() < sent + 8
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        run.await.unwrap();
    };
    tokio::time::timeout(PATIENCE, at_work).await.expect("stop in time");
}

#[tokio::test]
async fn the_inbox_keeps_each_text_once_and_retries_while_its_store_is_away_on_the_engines() {
    let redis = Redis::start(Keeps::Nothing).await;
    let (mut proxy, url) = Proxy::before_url(&redis.url(0)).await;
    let (engines, folder) = embedded_engines().await;
    let (keys, clock) = (Arc::clone(&engines.keys), engines.clock.clone());
    let store = Store::connect_redis(&url.into(), clock).await.unwrap();
    let inbox = Inbox::of(&Connections { store: store.clone(), ..engines.clone() }.for_delivery());
    let delivery = Delivery::on((engines, folder), [Provider::Inbox(inbox)], Resend).await;
    let job = delivery.job();
    proxy.set(Fault::Refuse).await;
    let waits = delivery.send.handle(&job).await;
    assert!(matches!(waits, Err(Failure::Later(_))), "{waits:?}");
    proxy.set(Fault::None).await;
    for _ in 0..3 {
        delivery.to_its_end(&job).await;
    }
    let key = keys.phone_key(&PHONE.parse().unwrap());
    let kept = store.inbox().texts(&key).await.unwrap();
    assert_eq!(kept.len(), 1);
    let kept = KeptMessage::open(&keys, &key, kept[0].clone()).unwrap();
    assert_eq!((kept.phone_number.expose(), kept.text.as_str()), (PHONE, TEXT));
    assert_eq!(kept.request_id, job.data.request_id);
    let told = delivery.told(&job);
    assert!(told.iter().all(|status| *status == (Status::Sent, None)), "{told:?}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn p10_no_log_event_or_error_holds_a_text_number_or_credential() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Global, because the client's own threads log too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut seen = String::new();
    runtime.block_on(async {
        for script in [
            vec![Reply::Take],
            vec![Reply::error(400, 21211)],
            vec![Reply::error(401, 20003)],
            vec![Reply::TakeAndCut, Reply::Take],
            // A provider that echoes its input.
            vec![Reply::Say(400, "", format!(r#"{{"code":"{TEXT}","message":"{PHONE} {TEXT}"}}"#))],
            vec![Reply::Say(500, "", format!("{PHONE} {TEXT}"))],
        ] {
            let (fake, other) = (scripted(script).await, scripted([Reply::error(400, 1)]).await);
            let providers = [twilio(&fake.url), http(&other.url), Provider::Console(Console)];
            let delivery = Delivery::new(providers, Resend).await;
            for channel in [Channel::Sms, Channel::Voice] {
                let job = delivery.job_for(PHONE, channel, 300);
                delivery.to_its_end(&job).await;
                for call in fake.calls() {
                    if call.taken {
                        let fields = [("MessageStatus", "undelivered"), ("ErrorCode", "30003")];
                        delivery.receipt(&call, &fields).await;
                    }
                }
                write!(seen, "{job:?}").unwrap();
            }
            let mut forged = delivery.job();
            forged.data.country = "XX".to_owned();
            forged.data.not_after = forged.data.not_after.plus_secs(1);
            write!(seen, "{:?}", delivery.send.handle(&forged).await).unwrap();
            write!(seen, "{:?}", delivery.published()).unwrap();
        }
    });
    seen += &String::from_utf8_lossy(&log.0.lock().unwrap());
    assert!(seen.contains("no clear") || seen.contains("outcome of a text"), "the log was empty");
    // The national number, digits, the code, and the credentials, in plain and as encoded in the header.
    for secret in ["9123456789", "481516", "4, 8, 1", "own token", "shared", "QUMwMDAw"] {
        let at = seen.find(secret);
        let context = at.map(|at| seen.get(at.saturating_sub(200)..at).unwrap_or_default());
        assert!(at.is_none(), "{secret} after {context:?}");
    }
}
