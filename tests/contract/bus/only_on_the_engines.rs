//! Failures that only a real broker can cause.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bus::{Bus, Delay, PUBLISH_TIMEOUT, PublishError, Settlement};
use domain::engine_error::EngineError;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use secrecy::{ExposeSecret as _, SecretString};

use testkit::engines::Engines;
use testkit::eventually;
use testkit::launch::{Keeps, Restart as _};
use testkit::proxy::{Fault, Proxy};
use testkit::rabbit::Rabbit;

use super::{KIND, QUEUE, confirm_rounds, take, within};

const ROUNDS: u32 = 3;
const SLOW_ROUNDS: u32 = 20;
/// Bytes of a message that the broker takes at most (contract, section 5).
const BROKERS_BOUND: usize = 65_536;
/// Half of the limit of a publish: an answer within it was not waited for.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a publish may take, if one without a fault took `usual`: the limit, and what a busy machine adds.
fn allowed(usual: Duration) -> Duration {
    PUBLISH_TIMEOUT + Duration::from_millis(300) + 3 * usual
}

async fn vhost() -> SecretString {
    Engines::one_by_one().vhost().await.into()
}

async fn open(url: &SecretString) -> (Connection, Channel) {
    let connection =
        Connection::connect(url.expose_secret(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn note_the_longer(longest: &Mutex<Duration>, took: Duration) {
    let mut longest = longest.lock().unwrap();
    *longest = took.max(*longest);
}

async fn publish(bus: &Bus, id: &str) -> Result<(), PublishError> {
    bus.publish_raw(KIND, id, "{}".into(), true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_no_confirm_lies_when_good_unroutable_and_refused_publishes_are_mixed() {
    mixed_rounds(ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about 2 minutes: tests/run --slow"]
async fn p1_no_confirm_lies_in_twenty_rounds() {
    mixed_rounds(SLOW_ROUNDS).await;
}

async fn mixed_rounds(rounds: u32) {
    for round in 0..rounds {
        let tally = confirm_rounds::round(&vhost().await).await;
        println!("{tally:?}");
        assert_eq!(tally.wrong, Vec::<String>::new(), "round {round}");
        assert!(tally.confirmed > 1_000 && tally.unroutable > 500, "{tally:?}");
        assert!(tally.refused > 100 && tally.cancelled > 50, "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_declared_with_other_arguments_is_an_error_that_names_it() {
    let url = vhost().await;
    let (_connection, channel) = open(&url).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let other = "sms-worker.retry.5000";
    channel.queue_declare(other.into(), durable, FieldTable::default()).await.unwrap();
    let error = Bus::connect_rabbit(&url, "test").await.unwrap_err();
    assert!(matches!(error, EngineError::Broken { .. }), "{error}");
    assert!(error.to_string().contains(other), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_are_an_error_at_start() {
    let url = Engines::one_by_one().vhost().await.replace("guest:guest", "guest:wrong-password");
    let error = Bus::connect_rabbit(&url.into(), "test").await.unwrap_err();
    assert!(matches!(error, EngineError::Broken { .. }), "{error}");
    assert!(!error.to_string().contains("wrong-password"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_unavailable_at_start_is_retried_and_publishing_fails_at_once() {
    let url = "amqp://guest:guest@127.0.0.1:1/%2f".into();
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let began = Instant::now();
    let answer = publish(&bus, "e1").await;
    assert!(matches!(answer, Err(PublishError::Away(_))), "{answer:?}");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(bus.ready().await.is_err_and(|error| error.is_away()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_deleted_queue_is_declared_and_consumed_again() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let mut consumer = bus.consume(QUEUE, 10).await.unwrap();
    let mut attached = consumer.attached();
    let (_connection, channel) = open(&url).await;
    channel.queue_delete(QUEUE.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    within(attached.wait_for(Result::is_err)).await.unwrap();
    within(attached.wait_for(Result::is_ok)).await.unwrap();
    publish(&bus, "after").await.unwrap();
    assert_eq!(take(&mut consumer).await.id, "after");
}

/// The broker may take a consumer so late that the worker has given up on it, after its nodes lost their majority for one.
/// What it was sent must come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_an_attachment_that_was_given_up_holds_no_message() {
    let url = vhost().await;
    let (mut proxy, through) = Proxy::before_url(url.expose_secret()).await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    for number in 0..10 {
        publish(&bus, &format!("e{number}")).await.unwrap();
    }
    let behind = Bus::connect_rabbit(&through.into(), "test").await.unwrap();
    proxy.set(Fault::SwallowConsumers).await;
    let mut consumer = behind.consume(QUEUE, 10).await.unwrap();
    assert!(consumer.attached().borrow().is_err());
    let (_connection, channel) = open(&url).await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    eventually("a consumer that holds them all", testkit::PATIENCE, async || {
        let name = QUEUE.as_str().into();
        let queue = channel.queue_declare(name, passive, FieldTable::default()).await.unwrap();
        (queue.consumer_count() > 0 && queue.message_count() == 0).then_some(())
    })
    .await;
    proxy.set(Fault::None).await;
    let mut taken = BTreeSet::new();
    while taken.len() < 10 {
        taken.insert(take(&mut consumer).await.id);
    }
}

/// Where the broker's definitions are those of the former release, nobody may declare the newest waiting queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_message_whose_waiting_queue_is_not_there_waits_in_the_next_one() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    publish(&bus, "put off").await.unwrap();
    let mut consumer = bus.consume(QUEUE, 10).await.unwrap();
    let (_connection, channel) = open(&url).await;
    let newest = QUEUE.waiting(Delay::ThreeSeconds);
    channel.queue_delete(newest.into(), QueueDeleteOptions::default()).await.unwrap();
    let message = take(&mut consumer).await;
    let retry = Settlement::Retry { delay: Delay::ThreeSeconds, attempts: 1 };
    message.settle(retry).await.unwrap();
    let again = take(&mut consumer).await;
    assert_eq!((again.id.as_str(), again.attempts), ("put off", 1));
}

/// An operator's login reaches the queue itself where nobody has declared the exchange for replays yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_dead_letter_is_replayed_without_the_exchange_for_replays() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    for id in ["one", "other"] {
        publish(&bus, id).await.unwrap();
    }
    let mut consumer = bus.consume(QUEUE, 10).await.unwrap();
    for _ in 0..2 {
        let message = take(&mut consumer).await;
        message.settle(Settlement::DeadLetter { reason: "failed", attempts: 5 }).await.unwrap();
    }
    let (_connection, channel) = open(&url).await;
    let unused = ExchangeDeleteOptions { if_unused: false, nowait: false };
    channel.exchange_delete(bus::REPLAY_EXCHANGE.into(), unused).await.unwrap();
    let go_on = |_: &bus::DeadLetter| std::ops::ControlFlow::Continue(());
    assert_eq!(bus.dead_replay(QUEUE, &bus::Selection::All, &go_on).await.unwrap(), 2);
    for _ in 0..2 {
        let back = take(&mut consumer).await;
        assert_eq!(back.attempts, 0);
        back.settle(Settlement::Ack).await.unwrap();
    }
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    assert!(within(bus.dead_list(QUEUE, 10)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_message_with_large_headers_or_an_overlong_type_does_not_block_its_neighbours() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let (_connection, channel) = open(&url).await;
    let send = async |id: &str, headers: FieldTable, body: &str| {
        let properties =
            BasicProperties::default().with_message_id(id.into()).with_headers(headers);
        let options = BasicPublishOptions::default();
        let queue = QUEUE.as_str().into();
        let sent = channel.basic_publish("".into(), queue, options, body.as_bytes(), properties);
        sent.await.unwrap();
    };
    let mut large = FieldTable::default();
    large.insert("x-large".into(), AMQPValue::LongString("x".repeat(100_000).into()));
    send("large", large, "{}").await;
    let endless = format!(r#"{{"type":"{}"}}"#, "x".repeat(2_000));
    send("endless", FieldTable::default(), &endless).await;
    publish(&bus, "neighbour").await.unwrap();
    let mut consumer = bus.consume(QUEUE, 10).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let message = take(&mut consumer).await;
        let settle = match message.id.as_str() {
            "neighbour" => Settlement::Ack,
            _ => Settlement::DeadLetter { reason: "unreadable", attempts: 1 },
        };
        // Messages of a lost attachment are no longer ours.
        if message.settle(settle).await.is_ok() {
            seen.insert(message.id.clone());
        }
    }
    let dead = within(bus.dead_list(QUEUE, 10)).await.unwrap();
    let dead: BTreeSet<_> = dead.iter().map(|letter| letter.id.as_str()).collect();
    assert_eq!(dead, BTreeSet::from(["endless", "large"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_message_above_the_brokers_bound_is_refused_and_its_neighbours_are_not() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let (connection, _) = open(&url).await;
    let send = async |bytes: usize| {
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let (options, body) = (BasicPublishOptions::default(), "x".repeat(bytes));
        let properties = BasicProperties::default().with_message_id("filler".into());
        let exchange = "latchkey".into();
        let sent =
            channel.basic_publish(exchange, KIND.into(), options, body.as_bytes(), properties);
        sent.await.unwrap().await
    };
    // What is far above an event's own 4 KiB, and still small beside a worker's memory.
    send(BROKERS_BOUND).await.unwrap();
    let refused = send(BROKERS_BOUND + 1).await;
    assert!(refused.as_ref().is_err_and(|e| e.to_string().contains("size")), "{refused:?}");
    within(async {
        while publish(&bus, "neighbour").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let mut consumer = bus.consume(QUEUE, 10).await.unwrap();
    for id in ["filler", "neighbour"] {
        let message = take(&mut consumer).await;
        assert_eq!(message.id, id);
        message.settle(Settlement::Ack).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_deleted_binding_is_declared_again_by_a_publisher() {
    let url = vhost().await;
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let (_connection, channel) = open(&url).await;
    channel.queue_delete(QUEUE.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let answer = publish(&bus, "lost").await;
    assert!(matches!(answer, Err(PublishError::Unroutable)), "{answer:?}");
    within(async {
        while publish(&bus, "found").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_after_a_broker_is_killed_work_resumes_and_no_confirmed_message_is_lost() {
    let mut node = Rabbit::start(Keeps::Everything).await;
    let url = node.url("%2f").into();
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let (confirmed, seen) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let stop = tokio_util::sync::CancellationToken::new();
    let (slowest, usual) = (Mutex::new(Duration::ZERO), Mutex::new(Duration::ZERO));
    let confirmed_since = async |before: usize| {
        within(async {
            while confirmed.lock().unwrap().len() < before + 100 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };

    let publishing = async |task: usize| {
        let mut number = 0;
        while !stop.is_cancelled() {
            let id = format!("{task}-{number}");
            let began = Instant::now();
            let answer = publish(&bus, &id).await;
            let took = began.elapsed();
            note_the_longer(&slowest, took);
            match answer {
                Ok(()) => {
                    confirmed.lock().unwrap().insert(id);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            number += 1;
        }
    };
    let consuming = async {
        let mut consumer = bus.consume(QUEUE, 50).await.unwrap();
        loop {
            let message = take(&mut consumer).await;
            // A message that is no longer ours is redelivered and seen again.
            drop(message.settle(Settlement::Ack).await);
            seen.lock().unwrap().insert(message.id.clone());
        }
    };
    let killing = async {
        confirmed_since(0).await;
        *usual.lock().unwrap() = *slowest.lock().unwrap();
        node.server.kill9().await;
        let before = confirmed.lock().unwrap().len();
        node.start_again().await;
        let port_opened = Instant::now();
        confirmed_since(before).await;
        println!("published again within {:?} after the port opened", port_opened.elapsed());
        stop.cancel();
    };
    let publishers = futures::future::join_all((0..16).map(publishing));
    let work = async {
        tokio::join!(publishers, killing);
        within(async {
            while !confirmed.lock().unwrap().is_subset(&seen.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    };
    tokio::select! { () = work => {}, () = consuming => {} }
    let (slowest, allowed) = (slowest.into_inner().unwrap(), allowed(usual.into_inner().unwrap()));
    let confirmed = confirmed.into_inner().unwrap().len();
    println!("{confirmed} confirmed, none lost; the slowest answer took {slowest:?}");
    assert!(slowest < allowed, "{slowest:?}, {allowed:?} allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_memory_alarm_refuses_in_time_and_publishing_resumes_after_it() {
    let node = Rabbit::start(Keeps::Nothing).await;
    let url = node.url("%2f").into();
    let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
    let watermark = async |part: &str| {
        node.ctl(&["set_vm_memory_high_watermark", part]).await;
    };
    let began = Instant::now();
    publish(&bus, "before").await.unwrap();
    let allowed = allowed(began.elapsed());
    watermark("0.000001").await;
    let mut answers = Vec::new();
    within(async {
        // It takes the broker a moment to raise the alarm.
        while answers.last().is_none_or(Result::is_ok) || answers.len() < 4 {
            let began = Instant::now();
            let answer = publish(&bus, "during").await;
            assert!(began.elapsed() < allowed, "{:?}, {allowed:?} allowed", began.elapsed());
            answers.push(answer);
        }
    })
    .await;
    let began = Instant::now();
    let known = publish(&bus, "during").await;
    assert!(matches!(known, Err(PublishError::Away(_))), "{known:?}");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(bus.ready().await.is_err());
    watermark("0.8").await;
    within(async {
        while publish(&bus, "after").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    bus.ready().await.unwrap();
}
