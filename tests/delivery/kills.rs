//! `kill -9` of sms-worker at each of its eight critical points, and of otp-worker between a status and its ack.

use std::time::Duration;

use domain::ids::{MessageId, RequestId};
use domain::vocabulary::Status;
use fake_twilio::{Act, Fake, Script};
use futures::future::join_all;
use ledger::{AttemptState, Ledger};
use secrecy::SecretString;
use sql::Pool;

use super::{borrowed, code, settings, status};
use testkit::engines::{EngineSet, Engines};
use testkit::eventually;
use testkit::http::{Api, new_phone};
use testkit::process::Binary;
use testkit::proxy::{Fault, Proxy};
use testkit::system::{Apart, System};

/// Kills per point in the suite; `twenty_rounds` does twenty.
const ROUNDS: usize = 2;
/// Texts in hand at each kill.
const IN_HAND: usize = 3;
/// P1: a final status within this time of the end of the last fault.
const SETTLES: Duration = Duration::from_mins(1);
const ARRIVES: Duration = testkit::PATIENCE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    BeforeTheSendingRow,
    AfterTheSendingRow,
    AcceptedAndAnswerSwallowed,
    AnswerReadAndIdNotCommitted,
    UnknownAndNotPutOff,
    CommittedAndNotTold,
    ToldAndNotConfirmed,
    ToldAndNotAcked,
}

impl Point {
    const ALL: [Self; 8] = [
        Self::BeforeTheSendingRow,
        Self::AfterTheSendingRow,
        Self::AcceptedAndAnswerSwallowed,
        Self::AnswerReadAndIdNotCommitted,
        Self::UnknownAndNotPutOff,
        Self::CommittedAndNotTold,
        Self::ToldAndNotConfirmed,
        Self::ToldAndNotAcked,
    ];

    /// What the provider does with the first call for a text.
    fn act(self) -> Act {
        match self {
            Self::BeforeTheSendingRow | Self::ToldAndNotAcked => Act::Take,
            Self::AfterTheSendingRow => Act::Hang,
            Self::UnknownAndNotPutOff => Act::Cut,
            _ => Act::TakeAndHold,
        }
    }

    /// The number of texts that the provider takes in total. Two only in W1: it took one, but its answer was lost.
    fn texts(self) -> usize {
        match self {
            Self::AcceptedAndAnswerSwallowed | Self::AnswerReadAndIdNotCommitted => 2,
            _ => 1,
        }
    }
}

/// A Latchkey whose sms-worker reaches its database and its broker through proxies.
struct WorkerBehindProxies {
    system: System,
    api: Api,
    fake: Fake,
    ledger: Ledger,
    database: Proxy,
    broker: Proxy,
    worker: usize,
    vhost: String,
}

impl WorkerBehindProxies {
    async fn start() -> Self {
        let engines = Engines::shared().fresh().await;
        let fake = Fake::start().await.unwrap();
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 0 };
        let settings = settings(&fake, &fake.url());
        let mut system = System::apart(engines.clone(), counts, &borrowed(&settings)).await;
        let EngineSet { database_url, amqp_url, .. } = &engines;
        let (database, through_database) = Proxy::before_url(database_url).await;
        let (broker, through_broker) = Proxy::before_url(amqp_url).await;
        let through = [("DATABASE_URL", &*through_database), ("AMQP_URL", &*through_broker)];
        let worker = system.add(Binary::SmsWorker, &through).await;
        let db = Pool::postgres(&SecretString::from(database_url.clone())).await.unwrap();
        let vhost = amqp_url.rsplit('/').next().unwrap().to_owned();
        let (api, ledger) = (system.api(), Ledger::new(&db));
        Self { system, api, fake, ledger, database, broker, worker, vhost }
    }

    /// Counts the messages of the worker's queue: ready, and in hand.
    async fn queue(&self) -> Option<(u32, u32)> {
        counts_of("sms-worker", &self.vhost).await
    }

    async fn empty_queue(&self) {
        empty("sms-worker", &self.vhost).await;
    }

    /// Requests codes, kills the worker at the point, restarts it and waits for the final statuses. Returns a line on
    /// each.
    async fn round(&mut self, point: Point) -> Vec<String> {
        let phones: Vec<String> = (0..IN_HAND).map(|_| new_phone()).collect();
        for phone in &phones {
            self.fake.script(phone, Script::of([point.act(), Act::Take]));
        }
        match point {
            Point::BeforeTheSendingRow => self.database.set(Fault::SwallowRequests).await,
            Point::ToldAndNotAcked => {
                // Messages of the previous round are acked only now, after their redelivery.
                self.empty_queue().await;
                self.broker.set(Fault::SwallowAcks).await;
            }
            Point::UnknownAndNotPutOff => self.broker.set(Fault::SwallowPublishes).await,
            _ => {}
        }
        let mut requests = Vec::new();
        for phone in &phones {
            let request = self.api.otp(phone).await.expect(202).text("request_id");
            requests.push((phone.clone(), request));
        }
        self.reach(point, &requests).await;
        let worker = &mut self.system.processes[self.worker].server;
        worker.kill9().await;
        self.database.set(Fault::None).await;
        self.broker.set(Fault::None).await;
        // Nothing waits for held answers any more.
        self.fake.release();
        let process = &mut self.system.processes[self.worker];
        process.server.spawn();
        process.ready().await;
        let mut lines = Vec::new();
        for (phone, request) in &requests {
            lines.push(self.agree(point, phone, request).await);
        }
        lines
    }

    async fn reach(&mut self, point: Point, requests: &[(String, String)]) {
        let all = requests.len();
        let fake = self.fake.clone();
        let seen = |taken: bool, answered: bool| {
            let calls = requests.iter().flat_map(|(phone, _)| fake.calls_to(phone));
            calls.filter(|call| call.taken == taken && call.answered == answered).count() == all
        };
        let held = |taken: bool| {
            let seen = &seen;
            async move || seen(taken, false).then_some(())
        };
        match point {
            Point::BeforeTheSendingRow => {
                eventually("all jobs in hand", ARRIVES, async || {
                    self.queue().await.filter(|(_, in_hand)| *in_hand as usize == all)
                })
                .await;
                for (phone, request) in requests {
                    assert!(fake.calls_to(phone).is_empty());
                    let message_state = self.ledger.message_state(message(request)).await.unwrap();
                    assert!(message_state.is_none(), "its row already exists");
                }
            }
            Point::AfterTheSendingRow => {
                eventually("untaken calls", ARRIVES, held(false)).await;
            }
            Point::AcceptedAndAnswerSwallowed => {
                eventually("taken texts", ARRIVES, held(true)).await;
            }
            Point::AnswerReadAndIdNotCommitted => {
                eventually("taken texts", ARRIVES, held(true)).await;
                self.database.set(Fault::SwallowRequests).await;
                self.fake.release();
                eventually("answers", ARRIVES, async || seen(true, true).then_some(())).await;
                for (_, request) in requests {
                    let attempts = self.ledger.attempts(message(request)).await.unwrap();
                    assert_eq!(attempts[0].state, Some(AttemptState::Begun));
                }
            }
            // The copy that waits for 3 s does not reach the broker, which may hand the text out again: its first
            // attempt stays unknown.
            Point::UnknownAndNotPutOff => {
                for (_, request) in requests {
                    eventually("an unknown outcome", ARRIVES, async || {
                        let attempts = self.ledger.attempts(message(request)).await.unwrap();
                        let first = attempts.first()?.state;
                        (first == Some(AttemptState::Unknown)).then_some(())
                    })
                    .await;
                }
            }
            Point::CommittedAndNotTold => {
                eventually("taken texts", ARRIVES, held(true)).await;
                self.broker.set(Fault::SwallowPublishes).await;
                self.fake.release();
                for (_, request) in requests {
                    self.committed(request).await;
                    assert_ne!(status(&self.api, request).await, "sent");
                }
            }
            Point::ToldAndNotConfirmed => {
                eventually("taken texts", ARRIVES, held(true)).await;
                self.broker.set(Fault::SwallowConfirms).await;
                self.fake.release();
                self.told_and_in_hand(requests).await;
            }
            Point::ToldAndNotAcked => self.told_and_in_hand(requests).await,
        }
    }

    /// The clients have their statuses, and the broker has no ack of a job.
    async fn told_and_in_hand(&self, requests: &[(String, String)]) {
        for (_, request) in requests {
            self.committed(request).await;
            told(&self.api, request).await;
        }
        eventually("the jobs still in hand", ARRIVES, async || {
            self.queue().await.filter(|(_, in_hand)| *in_hand as usize == requests.len())
        })
        .await;
    }

    async fn committed(&self, request: &str) {
        eventually("the commit", ARRIVES, async || {
            let message_state = self.ledger.message_state(message(request)).await.unwrap()?;
            (message_state.status == Status::Sent).then_some(())
        })
        .await;
    }

    /// Checks that ledger, provider and client agree on one request.
    async fn agree(&self, point: Point, phone: &str, request: &str) -> String {
        eventually("`sent`", SETTLES, async || {
            (status(&self.api, request).await == "sent").then_some(())
        })
        .await;
        let calls = self.fake.calls_to(phone);
        let taken: Vec<_> = calls.iter().filter(|call| call.taken).collect();
        assert_eq!(taken.len(), point.texts(), "{point:?}: texts that were taken");
        assert!(calls.iter().all(|call| code(call) == code(taken[0])), "one code");

        let message_state = self.ledger.message_state(message(request)).await.unwrap().unwrap();
        let attempts = self.ledger.attempts(message(request)).await.unwrap();
        assert_eq!(message_state.status, Status::Sent);
        assert_eq!(attempts.len(), calls.len(), "an attempt for each call");
        for (attempt, call) in attempts.iter().zip(&calls) {
            let callback = call.callback().unwrap();
            assert!(callback.ends_with(&attempt.attempt_id.to_string()), "{callback}");
        }
        let last = attempts.last().unwrap();
        assert_eq!(last.state, Some(AttemptState::Accepted));
        assert_eq!(last.provider_message_id.as_ref(), Some(&calls.last().unwrap().sid));
        assert_eq!(message_state.provider_message_id, last.provider_message_id);

        self.api.login(phone, &code(taken[0])).await.expect(200);
        format!(
            "calls {}  texts {}  ledger {:?}  client sent",
            calls.len(),
            taken.len(),
            message_state.status
        )
    }
}

/// Counts the messages of a queue: ready, and in hand; `None` before it is declared.
async fn counts_of(queue: &str, vhost: &str) -> Option<(u32, u32)> {
    Engines::shared().rabbit_node().await.counts_of(queue, vhost).await
}

async fn empty(queue: &str, vhost: &str) {
    eventually("an empty queue", SETTLES, async || {
        counts_of(queue, vhost).await.filter(|counts| *counts == (0, 0))
    })
    .await;
}

/// Waits until the client sees that its text was sent.
async fn told(api: &Api, request: &str) {
    let told = async || (status(api, request).await == "sent").then_some(());
    eventually("the status at the client", ARRIVES, told).await;
}

fn message(request: &str) -> MessageId {
    MessageId::of_request(request.parse::<RequestId>().unwrap())
}

async fn kills(point: Point, rounds: usize) {
    let mut fixture = WorkerBehindProxies::start().await;
    for round in 1..=rounds {
        let mut lines = fixture.round(point).await;
        lines.dedup();
        for line in lines {
            println!("{:28} round {round:2}  {line}", format!("{point:?}"));
        }
    }
    fixture.empty_queue().await;
    let dead = fixture.system.run(&["dead", "list", "sms-worker", "--json"]);
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&dead).unwrap().len(), 0, "{dead}");
}

/// Each with `kill -9` of sms-worker; P2 except at the two points of W1.
mod on_the_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_crash_before_the_sending_row_costs_nothing() {
        kills(Point::BeforeTheSendingRow, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_crash_after_the_sending_row_costs_nothing() {
        kills(Point::AfterTheSendingRow, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn w1_a_crash_before_the_answer_arrives_leads_to_two_texts_with_one_code() {
        kills(Point::AcceptedAndAnswerSwallowed, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn w1_a_crash_before_the_id_is_committed_leads_to_two_texts_with_one_code() {
        kills(Point::AnswerReadAndIdNotCommitted, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_crash_before_a_text_in_doubt_is_put_off_costs_nothing() {
        kills(Point::UnknownAndNotPutOff, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_crash_before_the_status_is_published_costs_nothing() {
        kills(Point::CommittedAndNotTold, ROUNDS).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_a_crash_before_the_statuses_are_confirmed_costs_nothing() {
        kills(Point::ToldAndNotConfirmed, ROUNDS).await;
    }

    /// Each request is in its end state already, and its events come once more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_a_crash_of_otp_worker_between_the_statuses_and_their_ack_costs_nothing() {
        let engines = Engines::shared().fresh().await;
        let fake = Fake::start().await.unwrap();
        let counts = Apart { gateways: 1, otp_workers: 0, sms_workers: 1 };
        let settings = settings(&fake, &fake.url());
        let mut system = System::apart(engines.clone(), counts, &borrowed(&settings)).await;
        let (mut broker, through_broker) = Proxy::before_url(&engines.amqp_url).await;
        let worker = system.add(Binary::OtpWorker, &[("AMQP_URL", &*through_broker)]).await;
        let (api, vhost) = (system.api(), engines.amqp_url.rsplit('/').next().unwrap());
        for _ in 0..ROUNDS {
            broker.set(Fault::SwallowAcks).await;
            let mut requests = Vec::new();
            for _ in 0..IN_HAND {
                let phone = new_phone();
                let request = api.otp(&phone).await.expect(202).text("request_id");
                requests.push((phone, request));
            }
            for (_, request) in &requests {
                told(&api, request).await;
            }
            // The requests, and at least one event with their statuses.
            eventually("the events still in hand", ARRIVES, async || {
                let counts = counts_of("otp-worker", vhost).await;
                counts.filter(|(_, in_hand)| *in_hand as usize > IN_HAND)
            })
            .await;
            system.processes[worker].server.kill9().await;
            broker.set(Fault::None).await;
            system.processes[worker].server.spawn();
            system.processes[worker].ready().await;
            empty("otp-worker", vhost).await;
            empty("sms-worker", vhost).await;
            for (phone, request) in &requests {
                assert_eq!(status(&api, request).await, "sent");
                let calls = fake.calls_to(phone);
                assert_eq!(calls.len(), 1, "a text that was requested twice");
                api.login(phone, &code(&calls[0])).await.expect(200);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p2_a_crash_after_the_status_is_published_costs_nothing() {
        kills(Point::ToldAndNotAcked, ROUNDS).await;
    }

    /// All points at once, each with its own system, and two systems for those whose rounds mostly wait until a call
    /// without a result is given up.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes about 5 minutes: tests/run --slow"]
    async fn p2_twenty_rounds_at_each_point() {
        let systems = Point::ALL.into_iter().flat_map(|point| match point {
            Point::AfterTheSendingRow
            | Point::AcceptedAndAnswerSwallowed
            | Point::AnswerReadAndIdNotCommitted => vec![kills(point, 10), kills(point, 10)],
            _ => vec![kills(point, 20)],
        });
        join_all(systems).await;
    }
}
