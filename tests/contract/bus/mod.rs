//! The contract of the bus and the consume loop: each test runs on the memory bus and on a real RabbitMQ.

mod confirm_rounds;
mod only_on_the_engines;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::consumer::{Crashes, Failure, Handler, Options, Report};
use bus::{
    Bus, Consumer, DeadLetter, Delay, Delivery, PublishError, Queue, QueueCounts, Selection,
    Settlement, consumer as worker,
};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::{Envelope, SmsStatus};
use futures::future::BoxFuture;
use testkit::engines::Engines;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const KIND: &str = "otp.requested.v1";
const QUEUE: Queue = Queue::OtpWorker;
const LONG: Duration = testkit::PATIENCE;

/// One of the two buses, with the clock of its delays.
struct BusFixture {
    bus: Bus,
    clock: Clock,
    _time: Option<DropGuard>,
}

impl BusFixture {
    /// Its clock runs at forty times the normal speed, since nothing else moves it.
    fn memory() -> Self {
        let clock = Clock::manual();
        let stop = CancellationToken::new();
        let (driven, ended) = (clock.clone(), stop.clone());
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            loop {
                tick.tick().await;
                driven.advance(Duration::from_millis(195));
            }
        }));
        Self { bus: Bus::memory(clock.clone()), clock, _time: Some(stop.drop_guard()) }
    }

    async fn rabbit() -> Self {
        let url = Engines::one_by_one().vhost().await.into();
        let bus = Bus::connect_rabbit(&url, "contract").await.unwrap();
        Self { bus, clock: Clock::system(), _time: None }
    }

    async fn publish(&self, id: &str) {
        let body = format!(r#"{{"id":"{id}","type":"{KIND}"}}"#);
        self.bus.publish_raw(KIND, id, body.into(), true).await.unwrap();
    }

    async fn consumer(&self) -> Consumer {
        let consumer = self.bus.consume(QUEUE, 20).await.unwrap();
        consumer.attached().wait_for(Result::is_ok).await.unwrap();
        consumer
    }

    async fn dead(&self) -> BTreeMap<String, DeadLetter> {
        let list = async || self.bus.dead_list(QUEUE, 100).await.ok();
        let letters = testkit::eventually("an answer of a busy broker", LONG, list).await;
        letters.into_iter().map(|letter| (letter.id.clone(), letter)).collect()
    }

    /// Waits until there are that many dead letters.
    async fn dead_once(&self, count: usize) -> BTreeMap<String, DeadLetter> {
        testkit::eventually("the dead letters", LONG, async || {
            Some(self.dead().await).filter(|dead| dead.len() >= count)
        })
        .await
    }
}

async fn within<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, done).await.expect("within a minute")
}

async fn take(consumer: &mut Consumer) -> Delivery {
    within(consumer.next()).await.expect("the consumer is still running")
}

async fn nothing_comes(consumer: &mut Consumer) {
    let next = tokio::time::timeout(Duration::from_millis(400), consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::BusFixture::memory()).await;
            })*
        }
        mod rabbit_on_the_engines {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                testkit::stalls::steady(async || super::$name(super::BusFixture::rabbit().await).await).await;
            })*
        }
    };
}

contract!(
    p1_a_confirmed_event_is_in_its_queue,
    an_addressed_event_without_a_queue_is_an_error,
    a_retry_arrives_no_sooner_than_its_delay_and_carries_its_attempt_count,
    messages_of_a_lost_consumer_are_redelivered_as_suspects,
    p1_acks_that_are_sent_together_leave_out_what_is_in_hand,
    a_postponed_message_waits_and_counts_no_attempt,
    p11_poison_among_a_thousand_good_messages_harms_only_itself,
    p11_a_message_that_crashes_its_process_is_dead_lettered_and_its_neighbours_are_not,
    p1_messages_of_a_killed_worker_are_handled_in_parallel,
    p11_messages_that_may_have_crashed_a_worker_are_handled_one_at_a_time,
    p11_good_messages_that_are_redelivered_often_are_not_dead_lettered,
    p12_an_unavailable_dependency_pauses_the_worker_and_counts_no_attempt,
    p12_a_stop_finishes_messages_in_hand_and_returns_the_rest,
    an_event_of_an_unknown_version_is_dead_lettered_as_unknown_version,
    the_messages_of_a_queue_are_counted_where_they_are,
    dead_letters_are_listed_shown_replayed_and_dropped,
    an_act_on_dead_letters_ends_when_it_is_told_to,
);

async fn p1_a_confirmed_event_is_in_its_queue(fixture: BusFixture) {
    for number in 0..100 {
        fixture.publish(&format!("e{number}")).await;
    }
    fixture.bus.ready().await.unwrap();
    let mut consumer = fixture.consumer().await;
    for number in 0..100 {
        let message = take(&mut consumer).await;
        assert_eq!(message.id, format!("e{number}"));
        assert_eq!((message.kind.as_str(), message.attempts, message.suspect), (KIND, 0, false));
        assert!(message.bytes.ends_with(br#""type":"otp.requested.v1"}"#));
        message.settle(Settlement::Ack).await.unwrap();
    }
    nothing_comes(&mut consumer).await;
}

async fn an_addressed_event_without_a_queue_is_an_error(fixture: BusFixture) {
    let addressed = fixture.bus.publish_raw("nobody.listens.v1", "e1", "{}".into(), true).await;
    assert!(matches!(addressed, Err(PublishError::Unroutable)), "{addressed:?}");
    fixture.bus.publish_raw("user.created.v1", "e2", "{}".into(), false).await.unwrap();
    fixture.publish("the bus still works").await;
}

async fn a_retry_arrives_no_sooner_than_its_delay_and_carries_its_attempt_count(
    fixture: BusFixture,
) {
    let mut consumer = fixture.consumer().await;
    let mut put_off = HashMap::new();
    for (id, delay, attempts) in [("long", Delay::FiveSeconds, 2), ("short", Delay::Second, 1)] {
        fixture.publish(id).await;
        let message = take(&mut consumer).await;
        let before_ms = fixture.clock.now_ms();
        message.settle(Settlement::Retry { delay, attempts }).await.unwrap();
        put_off.insert(id, (delay, attempts, message.first_at, before_ms, fixture.clock.now_ms()));
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let message = take(&mut consumer).await;
        let (delay, attempts, first_at, before_ms, _) = put_off[message.id.as_str()];
        let waited_ms = fixture.clock.now_ms() - before_ms;
        assert_eq!((message.attempts, message.first_at), (attempts, first_at));
        assert_eq!(message.kind, KIND);
        assert!(!message.suspect, "a retry is not a suspect");
        assert!(waited_ms >= delay.ms() - 100, "{} waited {waited_ms} ms", message.id);
        message.settle(Settlement::Ack).await.unwrap();
        order.push(message.id.clone());
    }
    // The short one is not held up behind the long one. A slow machine may put it off too late to tell.
    let (.., short_ms) = put_off["short"];
    let (_, _, _, long_ms, _) = put_off["long"];
    if short_ms + Delay::Second.ms() + 1_000 < long_ms + Delay::FiveSeconds.ms() {
        assert_eq!(order, ["short", "long"]);
    }
}

async fn messages_of_a_lost_consumer_are_redelivered_as_suspects(fixture: BusFixture) {
    for id in ["done", "held-1", "held-2"] {
        fixture.publish(id).await;
    }
    let mut lost = fixture.consumer().await;
    take(&mut lost).await.settle(Settlement::Ack).await.unwrap();
    let held = take(&mut lost).await;
    assert!(!held.is_stale());
    drop(lost);
    let mut consumer = fixture.consumer().await;
    let mut again = BTreeMap::new();
    for _ in 0..2 {
        let message = take(&mut consumer).await;
        again.insert(message.id.clone(), message);
    }
    assert!(again["held-1"].suspect);
    within(async {
        while !held.is_stale() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(held.settle(Settlement::Ack).await.is_err(), "another consumer has it now");
    for message in again.values() {
        message.settle(Settlement::Ack).await.unwrap();
    }
    nothing_comes(&mut consumer).await;
}

/// Fails as the message id says, and records what it did.
#[derive(Default)]
struct Script {
    handled: Mutex<BTreeMap<String, u32>>,
    begun: Mutex<BTreeSet<String>>,
    away: AtomicBool,
    probes_while_away: AtomicU32,
    attempts_while_away: Mutex<u32>,
    /// Permits for handlers that wait to be released.
    gate: Option<Arc<tokio::sync::Semaphore>>,
}

impl Script {
    fn handled(&self) -> BTreeMap<String, u32> {
        self.handled.lock().unwrap().clone()
    }

    fn begun(&self) -> BTreeSet<String> {
        self.begun.lock().unwrap().clone()
    }

    async fn handled_once(&self, count: usize) {
        within(async {
            while self.handled().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

impl Handler for Script {
    async fn handle(&self, message: &Delivery) -> Result<(), Failure> {
        self.begun.lock().unwrap().insert(message.id.clone());
        if self.away.load(Ordering::SeqCst) {
            *self.attempts_while_away.lock().unwrap() += 1;
            return Err(Failure::Away(anyhow::anyhow!("the other side is unavailable")));
        }
        match message.id.as_str() {
            "errs" => return Err(Failure::Retry(anyhow::anyhow!("it never succeeds"))),
            "told" if self.handled().is_empty() => {
                self.handled.lock().unwrap().insert("sent away".to_owned(), 1);
                return Err(Failure::Later(Duration::from_secs(1)));
            }
            "told" => assert_eq!(message.attempts, 0, "no attempt is counted"),
            "panics" => panic!("as the test requires"),
            "hangs" | "kills" => std::future::pending().await,
            "hopeless" => return Err(Failure::Permanent("no_use", anyhow::anyhow!("hopeless"))),
            _ => {}
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        *self.handled.lock().unwrap().entry(message.id.clone()).or_default() += 1;
        Ok(())
    }

    async fn probe(&self) -> anyhow::Result<()> {
        if self.away.load(Ordering::SeqCst) {
            self.probes_while_away.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("still unavailable");
        }
        Ok(())
    }
}

fn options(fixture: &BusFixture, concurrency: usize) -> Options {
    Options {
        timeout: Duration::from_millis(300),
        backoff: [Delay::Second; 4],
        ..Options::new(concurrency, fixture.clock.clone())
    }
}

struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    reports: Arc<Mutex<Vec<Result<(), String>>>>,
}

impl Running {
    fn start(fixture: &BusFixture, script: &Arc<Script>, options: Options) -> Self {
        let (stop, reports) = (CancellationToken::new(), Arc::<Mutex<Vec<_>>>::default());
        let told = reports.clone();
        let report: Report = Box::new(move |attached| told.lock().unwrap().push(attached));
        let run =
            worker::run(fixture.bus.clone(), QUEUE, script.clone(), options, report, stop.clone());
        Self { task: tokio::spawn(run), stop, reports }
    }

    async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

async fn p11_poison_among_a_thousand_good_messages_harms_only_itself(fixture: BusFixture) {
    let poison = [("errs", 100), ("panics", 300), ("hangs", 500), ("hopeless", 700)];
    for number in 0..1_000 {
        fixture.publish(&format!("good-{number}")).await;
        if let Some((id, _)) = poison.iter().find(|(_, place)| *place == number) {
            fixture.publish(id).await;
        }
    }
    let script = Arc::new(Script::default());
    let worker = Running::start(&fixture, &script, options(&fixture, 16));
    script.handled_once(1_000).await;
    let dead = fixture.dead_once(4).await;
    worker.stop().await;
    let fates = dead.values().map(|d| (d.id.as_str(), d.reason.as_str(), d.attempts));
    let told = [
        ("errs", "failed", 5),
        ("hangs", "timed_out", 5),
        ("hopeless", "no_use", 0),
        ("panics", "panicked", 5),
    ];
    assert_eq!(fates.collect::<Vec<_>>(), told);
    assert!(dead.values().all(|d| d.kind == KIND && d.first_at.is_some() && d.dead_at.is_some()));
    assert!(
        script.handled().values().all(|times| *times == 1),
        "each good message was handled once"
    );
}

async fn p1_acks_that_are_sent_together_leave_out_what_is_in_hand(fixture: BusFixture) {
    let ids: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
    for id in &ids {
        fixture.publish(id).await;
    }
    let mut lost = fixture.consumer().await;
    let mut in_hand = Vec::new();
    for _ in &ids {
        in_hand.push(take(&mut lost).await);
    }
    for message in in_hand.iter().rev() {
        if !["e5", "e9"].contains(&message.id.as_str()) {
            message.settle(Settlement::Ack).await.unwrap();
            assert!(message.settle(Settlement::Ack).await.is_err(), "only once");
        }
    }
    drop(lost);
    let mut consumer = fixture.consumer().await;
    let mut again = Vec::new();
    for _ in 0..2 {
        let message = take(&mut consumer).await;
        message.settle(Settlement::Ack).await.unwrap();
        again.push(message.id.clone());
    }
    again.sort();
    assert_eq!(again, ["e5", "e9"]);
    nothing_comes(&mut consumer).await;
}

async fn a_postponed_message_waits_and_counts_no_attempt(fixture: BusFixture) {
    fixture.publish("told").await;
    let began_ms = fixture.clock.now_ms();
    let script = Arc::new(Script::default());
    let worker = Running::start(&fixture, &script, options(&fixture, 2));
    script.handled_once(2).await;
    assert!(fixture.clock.now_ms() - began_ms >= 900);
    worker.stop().await;
    assert_eq!(script.handled()["told"], 1);
    assert!(fixture.dead().await.is_empty());
}

/// Start counts that the "processes" of a test share.
#[derive(Default)]
struct Counted(Mutex<HashMap<String, u32>>);

impl Crashes for Counted {
    fn unsurvived<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().get(id).copied().unwrap_or(0)) })
    }

    fn started<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u32, EngineError>> {
        Box::pin(async move {
            let mut counts = self.0.lock().unwrap();
            let count = counts.entry(id.to_owned()).or_default();
            *count += 1;
            Ok(*count)
        })
    }

    fn ended<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            self.0.lock().unwrap().remove(id);
            Ok(())
        })
    }
}

async fn p11_a_message_that_crashes_its_process_is_dead_lettered_and_its_neighbours_are_not(
    fixture: BusFixture,
) {
    for id in ["good-1", "kills", "good-2", "good-3"] {
        fixture.publish(id).await;
    }
    let crashes = Arc::new(Counted::default());
    let options = Options { crashes: Some(crashes.clone()), timeout: LONG, ..options(&fixture, 2) };
    let starts = || crashes.0.lock().unwrap().get("kills").copied().unwrap_or(0);
    // The first start is not counted: the message is not a suspect yet. Neighbours in hand become suspects too.
    for counted in 0..=4 {
        let script = Arc::new(Script::default());
        let process = Running::start(&fixture, &script, options.clone());
        within(async {
            while !script.begun().contains("kills") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(starts(), counted);
        process.task.abort();
        assert!(process.task.await.unwrap_err().is_cancelled());
    }
    let script = Arc::new(Script::default());
    let process = Running::start(&fixture, &script, options);
    let dead = fixture.dead_once(1).await;
    assert_eq!(dead["kills"].reason, "crash_loop");
    process.stop().await;
    assert_eq!(fixture.dead().await.len(), 1, "no neighbour was dead-lettered");
    let mut left = fixture.consumer().await;
    nothing_comes(&mut left).await;
}

/// Starts a worker whose handlers wait for permits, on messages that a lost consumer held.
async fn of_a_lost_consumer(
    fixture: &BusFixture,
    ids: &[String],
    crashes: &Arc<Counted>,
) -> (Arc<Script>, Arc<tokio::sync::Semaphore>, Running) {
    let mut consumer = fixture.consumer().await;
    for id in ids {
        fixture.publish(id).await;
        take(&mut consumer).await;
    }
    drop(consumer);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let script = Arc::new(Script { gate: Some(gate.clone()), ..Script::default() });
    let crashes: Arc<dyn Crashes> = crashes.clone();
    let options = Options { crashes: Some(crashes), timeout: LONG, ..options(fixture, 16) };
    let worker = Running::start(fixture, &script, options);
    (script, gate, worker)
}

async fn begun(script: &Script, count: usize) {
    within(async {
        while script.begun().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Handled one after the other, they would take longer than the minute of P1 at a slow provider.
async fn p1_messages_of_a_killed_worker_are_handled_in_parallel(fixture: BusFixture) {
    let ids: Vec<_> = (0..12).map(|number| format!("held-{number}")).collect();
    let crashes = Arc::default();
    let (script, gate, worker) = of_a_lost_consumer(&fixture, &ids, &crashes).await;
    begun(&script, 12).await; // none has finished
    assert!(script.handled().is_empty());
    gate.add_permits(12);
    script.handled_once(12).await;
    worker.stop().await;
    assert!(crashes.0.lock().unwrap().is_empty(), "their start counts are reset");
    assert!(script.handled().values().all(|times| *times == 1));
}

async fn p11_messages_that_may_have_crashed_a_worker_are_handled_one_at_a_time(
    fixture: BusFixture,
) {
    let ids: Vec<_> = (0..4).map(|number| format!("held-{number}")).collect();
    let crashes = Arc::new(Counted(Mutex::new(ids.iter().map(|id| (id.clone(), 1)).collect())));
    let (script, gate, worker) = of_a_lost_consumer(&fixture, &ids, &crashes).await;
    begun(&script, 1).await;
    fixture.publish("fresh").await;
    // The fresh one passes; of the others only the first has started.
    begun(&script, 2).await;
    assert!(script.begun().contains("fresh"));
    for ended in 1..=4 {
        gate.add_permits(1 + usize::from(ended == 1));
        script.handled_once(ended + 1).await;
        begun(&script, (ended + 2).min(5)).await;
        assert_eq!(script.begun().len(), (ended + 2).min(5), "one more");
    }
    worker.stop().await;
    assert!(crashes.0.lock().unwrap().is_empty(), "their start counts are reset");
    assert!(fixture.dead().await.is_empty());
}

async fn p11_good_messages_that_are_redelivered_often_are_not_dead_lettered(fixture: BusFixture) {
    fixture.publish("good").await;
    for round in 0..7 {
        let mut consumer = fixture.consumer().await;
        assert_eq!(take(&mut consumer).await.suspect, round > 0);
    }
    let (script, crashes) = (Arc::new(Script::default()), Arc::new(Counted::default()));
    let options = Options { crashes: Some(crashes.clone()), ..options(&fixture, 2) };
    let worker = Running::start(&fixture, &script, options);
    script.handled_once(1).await;
    worker.stop().await;
    assert!(fixture.dead().await.is_empty());
    assert!(crashes.0.lock().unwrap().is_empty(), "its start count is reset");
}

async fn p12_an_unavailable_dependency_pauses_the_worker_and_counts_no_attempt(
    fixture: BusFixture,
) {
    let script = Arc::new(Script { away: true.into(), ..Script::default() });
    for number in 0..50 {
        fixture.publish(&format!("e{number}")).await;
    }
    let worker = Running::start(&fixture, &script, options(&fixture, 4));
    let paused = |report: &Result<(), String>| {
        report.as_ref().is_err_and(|reason| reason.contains("paused"))
    };
    within(async {
        while !worker.reports.lock().unwrap().iter().any(paused) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Probes run, and no handler starts.
    within(async {
        while script.probes_while_away.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(*script.attempts_while_away.lock().unwrap() <= 4, "only messages that were in hand");
    script.away.store(false, Ordering::SeqCst);
    script.handled_once(50).await;
    assert_eq!(*worker.reports.lock().unwrap().last().unwrap(), Ok(()));
    worker.stop().await;
    assert!(fixture.dead().await.is_empty());
    assert!(script.handled().values().all(|times| *times == 1));
}

async fn p12_a_stop_finishes_messages_in_hand_and_returns_the_rest(fixture: BusFixture) {
    for number in 0..10 {
        fixture.publish(&format!("e{number}")).await;
    }
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let script = Arc::new(Script { gate: Some(gate.clone()), ..Script::default() });
    let options = Options { prefetch: 6, timeout: LONG, ..options(&fixture, 2) };
    let worker = Running::start(&fixture, &script, options);
    within(async {
        while script.begun().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    worker.stop.cancel();
    gate.add_permits(2);
    within(worker.task).await.unwrap().unwrap();
    assert_eq!(worker.reports.lock().unwrap().last().unwrap(), &Err("stopping".to_owned()));
    let in_hand: Vec<_> = script.handled().into_keys().collect();
    assert_eq!(in_hand, ["e0", "e1"], "messages in hand were finished, and no other was started");
    let mut consumer = fixture.consumer().await;
    let mut rest = Vec::new();
    for _ in 0..8 {
        let message = take(&mut consumer).await;
        message.settle(Settlement::Ack).await.unwrap();
        rest.push(message.id);
    }
    rest.sort();
    assert_eq!(rest, ["e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"]);
    nothing_comes(&mut consumer).await;
}

struct Reads;

impl Handler for Reads {
    async fn handle(&self, message: &Delivery) -> Result<(), Failure> {
        Envelope::<SmsStatus>::decode(&message.bytes)?;
        Ok(())
    }

    async fn probe(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

async fn an_event_of_an_unknown_version_is_dead_lettered_as_unknown_version(fixture: BusFixture) {
    let newer = r#"{"specversion":"1.0","id":"e9","type":"sms.status.v9","data":{"new":1}}"#;
    fixture.bus.publish_raw("sms.status.v9", "e9", newer.into(), true).await.unwrap();
    fixture.bus.publish_raw("sms.status.v1", "torn", "{\"spec".into(), true).await.unwrap();
    let stop = CancellationToken::new();
    let report: Report = Box::new(|_| {});
    let run = worker::run(
        fixture.bus.clone(),
        QUEUE,
        Arc::new(Reads),
        options(&fixture, 2),
        report,
        stop.clone(),
    );
    let task = tokio::spawn(run);
    let dead = fixture.dead_once(2).await;
    stop.cancel();
    within(task).await.unwrap().unwrap();
    assert_eq!((dead["e9"].reason.as_str(), dead["e9"].attempts), ("unknown_version", 0));
    assert_eq!(dead["e9"].kind, "sms.status.v9");
    assert_eq!(dead["torn"].reason, "unreadable");
}

async fn the_messages_of_a_queue_are_counted_where_they_are(fixture: BusFixture) {
    let counted = async |wanted: fn(&QueueCounts) -> bool| {
        within(async {
            loop {
                let counts = fixture.bus.counts(QUEUE).await.unwrap();
                if wanted(&counts) {
                    return counts;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    };
    for id in ["a", "b", "c"] {
        fixture.publish(id).await;
    }
    let counts = counted(|counts| counts.ready == Some(3)).await;
    let delays: Vec<_> = counts.waiting.iter().map(|it| (it.delay_ms, it.messages)).collect();
    assert_eq!(delays, [(1_000, 0), (3_000, 0), (5_000, 0), (30_000, 0)]);
    assert_eq!(counts.dead, Some(0));
    let mut consumer = fixture.consumer().await;
    let message = take(&mut consumer).await;
    message.settle(Settlement::Retry { delay: Delay::HalfMinute, attempts: 1 }).await.unwrap();
    counted(|counts| counts.waiting[3].messages == 1).await;
    let message = take(&mut consumer).await;
    message.settle(Settlement::DeadLetter { reason: "failed", attempts: 5 }).await.unwrap();
    counted(|counts| counts.dead == Some(1)).await;
    let held = take(&mut consumer).await;
    let counts = counted(|counts| counts.ready == Some(0)).await;
    // RabbitMQ tells no client what others hold.
    assert!(counts.in_hand.is_none_or(|held| held == 1), "{counts:?}");
    held.settle(Settlement::Ack).await.unwrap();
}

const CONTINUE: std::ops::ControlFlow<()> = std::ops::ControlFlow::Continue(());

async fn dead_letters_are_listed_shown_replayed_and_dropped(fixture: BusFixture) {
    let body = r#"{"type":"otp.requested.v1","data":{"country":"IR","sealed":"k1.CIPHERTEXT"}}"#;
    for id in ["a", "b", "c", "d"] {
        fixture.bus.publish_raw(KIND, id, body.into(), true).await.unwrap();
    }
    let mut consumer = fixture.consumer().await;
    for _ in 0..4 {
        let message = take(&mut consumer).await;
        message.settle(Settlement::DeadLetter { reason: "failed", attempts: 5 }).await.unwrap();
    }
    // Listing changes nothing, however often.
    for _ in 0..3 {
        let ids: Vec<_> = fixture.dead().await.into_keys().collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
    }
    assert_eq!(fixture.bus.dead_list(QUEUE, 2).await.unwrap().len(), 2);
    let shown = fixture.bus.dead_show(QUEUE, "c").await.unwrap().unwrap();
    assert_eq!((shown.letter.reason.as_str(), shown.letter.attempts), ("failed", 5));
    assert_eq!(shown.body["data"]["country"], "IR");
    assert_eq!(shown.headers["x-latchkey-reason"], "failed");
    assert!(!serde_json::to_string(&shown).unwrap().contains("CIPHERTEXT"));
    assert!(fixture.bus.dead_show(QUEUE, "nobody").await.unwrap().is_none());

    let one = |id: &str| Selection::One(id.to_owned());
    assert_eq!(fixture.bus.dead_drop(QUEUE, &one("a"), &|_| CONTINUE).await.unwrap(), 1);
    assert_eq!(fixture.bus.dead_drop(QUEUE, &one("a"), &|_| CONTINUE).await.unwrap(), 0);
    assert_eq!(fixture.bus.dead_replay(QUEUE, &one("b"), &|_| CONTINUE).await.unwrap(), 1);
    let back = take(&mut consumer).await;
    assert_eq!((back.id.as_str(), back.kind.as_str(), back.attempts), ("b", KIND, 0));
    assert_eq!(back.bytes, body.as_bytes());
    back.settle(Settlement::Ack).await.unwrap();
    assert_eq!(fixture.bus.dead_replay(QUEUE, &Selection::All, &|_| CONTINUE).await.unwrap(), 2);
    for _ in 0..2 {
        let message = take(&mut consumer).await;
        message.settle(Settlement::DeadLetter { reason: "failed", attempts: 5 }).await.unwrap();
    }
    let told = AtomicU64::new(0);
    let tell = |_: &DeadLetter| {
        told.fetch_add(1, Ordering::Relaxed);
        CONTINUE
    };
    assert_eq!(fixture.bus.dead_drop(QUEUE, &Selection::All, &tell).await.unwrap(), 2);
    assert_eq!(told.load(Ordering::Relaxed), 2);
    assert!(fixture.dead().await.is_empty());
    nothing_comes(&mut consumer).await;
}

async fn an_act_on_dead_letters_ends_when_it_is_told_to(fixture: BusFixture) {
    for id in ["a", "b", "c"] {
        fixture.publish(id).await;
    }
    let mut consumer = fixture.consumer().await;
    for reason in ["odd", "failed", "failed"] {
        let message = take(&mut consumer).await;
        message.settle(Settlement::DeadLetter { reason, attempts: 5 }).await.unwrap();
    }
    fixture.dead_once(3).await;
    let stop = |_: &DeadLetter| std::ops::ControlFlow::Break(());
    let failed = Selection::Reason("failed".to_owned());
    assert_eq!(fixture.bus.dead_drop(QUEUE, &failed, &stop).await.unwrap(), 1);
    assert_eq!(fixture.bus.dead_replay(QUEUE, &failed, &stop).await.unwrap(), 1);
    take(&mut consumer).await.settle(Settlement::Ack).await.unwrap();
    assert_eq!(fixture.bus.dead_replay(QUEUE, &failed, &stop).await.unwrap(), 0);
    let left = fixture.dead_once(1).await;
    assert_eq!(left.values().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(), ["odd"]);
    assert_eq!(fixture.bus.dead_details(QUEUE, 10).await.unwrap()[0].body["type"], KIND);
}
