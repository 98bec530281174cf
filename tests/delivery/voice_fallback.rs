//! A text without confirmed delivery is followed by a call: the service on the in-memory bus and a manual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Consumer, Queue, Settlement};
use config::{Config, Role};
use domain::event::{
    CodeRequest, Envelope, OtpRequested, OtpTexted, Recipient, SmsRequested, Text,
};
use domain::ids::{CodeId, EventId, MessageId, RequestId};
use domain::phone::Phone;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, Purpose, Reason, Status};
use guard::Destination;
use service::connections::Connections;
use store::{Admission, Admit, Admitted, Closing, Scope};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::embedded_engines;
use testkit::folder::Folder;
use testkit::{PATIENCE, eventually};

/// How far the clock moves per step. It moves only after this long without a job, so that it does not outrun the
/// service: only a service that stood still for half a minute would find a code expired.
const STEP: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(250);
pub(super) const TTL_MS: i64 = 300_000;

/// A running otp-worker; the test plays the gateway before it and sms-worker behind it.
pub(super) struct RunningOtpWorker {
    pub engines: Connections,
    config: Arc<Config>,
    pub jobs: Consumer,
    stop: CancellationToken,
    service: JoinHandle<anyhow::Result<()>>,
    _folder: Folder,
}

/// A job that sms-worker received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    phone: String,
    channel: Channel,
    digits: String,
    message: MessageId,
}

/// A code request as the gateway admitted it.
#[derive(Clone)]
pub(super) struct Requested {
    pub code_request: CodeRequest,
    recipient: Recipient,
}

impl RunningOtpWorker {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::on(embedded_engines().await, settings).await
    }

    pub async fn on((engines, folder): (Connections, Folder), settings: &[(&str, &str)]) -> Self {
        let mut given: BTreeMap<_, _> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        given.insert("LATCHKEY_DATA_DIR".into(), folder.path().display().to_string());
        given.insert("LATCHKEY_RESEND_COOLDOWN_SECS".into(), "0".into());
        let config = Arc::new(Config::from_map(Role::AllInOne, &given).unwrap());
        let stop = CancellationToken::new();
        let jobs = engines.bus.consume(Queue::SmsWorker, 1000).await.unwrap();
        let service =
            tokio::spawn(otp_worker::run(Arc::clone(&config), engines.clone(), stop.clone()));
        Self { engines, config, jobs, stop, service, _folder: folder }
    }

    pub async fn admit(
        &self,
        phone: &str,
        channel: Channel,
        ttl_ms: i64,
    ) -> Result<Requested, Limit> {
        let (clock, parsed) = (&self.engines.clock, Phone::trusted(phone).unwrap());
        let request_id = RequestId::new(clock);
        let admit = Admit {
            request_id,
            new_code_id: CodeId::new(clock),
            only_code: None,
            phone: &self.engines.keys.phone_key(parsed.e164()),
            scope: Scope::Login,
            ttl_ms,
            attempts: 5,
            route: "otp",
            idempotency: None,
            addresses: &[],
            country: parsed.region(),
            operator_prefix: parsed.e164().operator_prefix(),
            channel,
            locale: None,
            limits: &self.config.limits,
            guard: self.config.pumping_guard,
            asker: "",
            known_device: None,
            device: None,
            proven_passes: true,
        };
        match self.engines.store.codes().admit(&admit).await.unwrap() {
            Admission::Admitted(Admitted { code_id, now, expires_at, .. }) => {
                let recipient = Recipient {
                    phone_number: phone.parse().unwrap(),
                    user_id: None,
                    profile: None,
                };
                let code_request = CodeRequest {
                    request_id,
                    code_id,
                    purpose: Purpose::Login,
                    channel,
                    locale: None,
                    country: parsed.region().to_owned(),
                    requested_at: now,
                    expires_at,
                    sealed: Sealed::none(),
                };
                Ok(Requested { code_request, recipient })
            }
            Admission::Limited { limit, .. } => Err(limit),
            other => panic!("{other:?}"),
        }
    }

    /// Publishes an event about the request, built by `of`.
    pub async fn publish<E: domain::event::CarriesCodeRequest>(&self, asked: &Requested) {
        let (keys, clock) = (&self.engines.keys, &self.engines.clock);
        let Requested { code_request, recipient } = asked;
        let request = code_request.clone();
        let envelope =
            Envelope::<E>::sealing(keys, clock, "test", None, request, recipient).unwrap();
        self.engines.bus.publish(&envelope).await.unwrap();
    }

    /// Requests a code, and takes the text that follows.
    pub async fn texted(&mut self, phone: &str) -> (Requested, Job) {
        let asked = self.admit(phone, Channel::Sms, TTL_MS).await.unwrap();
        self.publish::<OtpRequested>(&asked).await;
        let job = self.job().await;
        assert_eq!((job.phone.as_str(), job.channel), (phone, Channel::Sms));
        (asked, job)
    }

    async fn job(&mut self) -> Job {
        let next = tokio::time::timeout(PATIENCE, self.jobs.next()).await.expect("no job in time");
        let message = next.unwrap();
        let envelope = Envelope::<SmsRequested>::decode(&message.bytes).unwrap();
        let Text { phone_number, text, .. } = envelope.text(&self.engines.keys).unwrap();
        message.settle(Settlement::Ack).await.unwrap();
        let digits: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
        let data = envelope.data;
        let phone = phone_number.expose().to_owned();
        Job { phone, channel: data.channel, digits, message: data.message_id }
    }

    /// Advances the clock until every one of these phones has a call, in any order; returns all jobs until then.
    pub async fn until_called(&mut self, phones: &[&str]) -> Vec<Job> {
        let mut jobs = Vec::new();
        for _ in 0..140 {
            self.engines.clock.advance(STEP);
            while let Ok(job) = tokio::time::timeout(QUIET, self.job()).await {
                jobs.push(job);
                let done = called(&jobs);
                if phones.iter().all(|phone| done.contains(phone)) {
                    return jobs;
                }
            }
        }
        panic!("not all of {phones:?} were called: {jobs:?}");
    }

    /// Ends the service, including the work in hand; returns the remaining jobs.
    async fn end(mut self) -> Vec<Job> {
        self.stop.cancel();
        self.service.await.unwrap().unwrap();
        let mut left = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(QUIET, self.jobs.next()).await {
            let envelope = Envelope::<SmsRequested>::decode(&message.bytes).unwrap();
            let text = envelope.text(&self.engines.keys).unwrap();
            let (channel, message) = (envelope.data.channel, envelope.data.message_id);
            let phone = text.phone_number.expose().to_owned();
            left.push(Job { phone, channel, digits: String::new(), message });
        }
        left
    }
}

fn called(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().filter(|job| job.channel == Channel::Voice).map(|job| job.phone.as_str()).collect()
}

pub(super) const ON: (&str, &str) = ("LATCHKEY_VOICE_FALLBACK_SECS", "20");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_only_an_unconfirmed_text_is_followed_by_a_call_and_only_by_one() {
    let mut worker = RunningOtpWorker::start(&[ON]).await;
    let store = worker.engines.store.clone();
    let advance_status = async |asked: &Requested, status, reason| {
        store
            .statuses()
            .advance(asked.code_request.request_id, status, reason, asked.code_request.expires_at)
            .await
            .unwrap();
    };
    let began_ms = worker.engines.clock.now_ms();
    let (_, silent) = worker.texted("+989120000001").await;
    let (blocked, _) = worker.texted("+989120000002").await;
    advance_status(&blocked, Status::Undelivered, Some(Reason::CarrierBlocked)).await;
    let (delivered, _) = worker.texted("+989120000003").await;
    advance_status(&delivered, Status::Delivered, None).await;
    let (stopped, _) = worker.texted("+989120000004").await;
    advance_status(&stopped, Status::Failed, Some(Reason::RecipientOptedOut)).await;
    let (used, _) = worker.texted("+989120000005").await;
    let key = worker.engines.keys.phone_key(&"+989120000005".parse().unwrap());
    let destination = Destination { country: "IR", operator_prefix: "989120" };
    store
        .codes()
        .close(&key, Scope::Login, used.code_request.code_id, Closing::Used(None), destination)
        .await
        .unwrap();
    // The client requested a call: that is the one call.
    let by_voice = worker.admit("+989120000006", Channel::Voice, TTL_MS).await.unwrap();
    worker.publish::<OtpRequested>(&by_voice).await;
    assert_eq!(worker.job().await.channel, Channel::Voice);
    // Less than 10 s are left when the call is due.
    let late = worker.admit("+989120000007", Channel::Sms, 29_000).await.unwrap();
    worker.publish::<OtpRequested>(&late).await;
    worker.job().await;
    // Two requests share a code, and the first one's event comes twice.
    let (twice, _) = worker.texted("+989120000008").await;
    worker.texted("+989120000008").await;
    worker.publish::<OtpTexted>(&twice).await;

    let mut jobs = worker.until_called(&["+989120000001", "+989120000002", "+989120000008"]).await;
    let waited_ms = worker.engines.clock.now_ms() - began_ms;
    assert!(waited_ms >= 20_000, "called after {waited_ms} ms");
    // Requested when the others were due, and called 20 s later: every other call was made by then.
    let last = worker.admit("+989120000009", Channel::Sms, TTL_MS).await.unwrap();
    worker.publish::<OtpRequested>(&last).await;
    jobs.extend(worker.until_called(&["+989120000009"]).await);
    let ids: Vec<_> = jobs.iter().filter(|job| job.phone.ends_with('8')).collect();
    assert!(ids.iter().all(|job| job.message == ids[0].message), "one call, from any request");
    let call = jobs.iter().find(|job| job.phone == silent.phone).unwrap();
    assert_eq!(call.digits, silent.digits, "the same code");
    assert_ne!(call.message, silent.message);
    let mut phones = called(&jobs);
    phones.dedup();
    phones.sort_unstable();
    phones.dedup();
    let wanted = ["+989120000001", "+989120000002", "+989120000008", "+989120000009"];
    assert_eq!(phones, wanted);
    let left = worker.end().await;
    assert!(called(&left).iter().all(|phone| wanted.contains(phone)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_call_counts_against_the_budgets_and_is_skipped_when_they_are_exhausted() {
    let budget = ("LATCHKEY_SENDS_PER_PHONE_HOUR", "2");
    let mut worker = RunningOtpWorker::start(&[ON, budget]).await;
    let spent = "+989120000011";
    worker.texted(spent).await;
    worker.texted(spent).await;
    let (asked, _) = worker.texted("+989120000012").await;
    let jobs = worker.until_called(&["+989120000012"]).await;
    assert_eq!(called(&jobs), ["+989120000012"]);
    // A text and a call make two. The call has its own record: the requester's status is unaffected by it.
    let refused = worker.admit("+989120000012", Channel::Sms, TTL_MS).await;
    assert_eq!(refused.err(), Some(Limit::PhoneHour));
    let status =
        worker.engines.store.statuses().get(asked.code_request.request_id).await.unwrap().unwrap();
    assert_eq!((status.status, status.channel), (Status::Issued, Channel::Sms));
    assert!(called(&worker.end().await).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_the_time_of_an_event_neither_hastens_a_call_nor_keeps_a_forged_event_alive() {
    let mut worker = RunningOtpWorker::start(&[ON]).await;
    let (bus, clock) = (worker.engines.bus.clone(), worker.engines.clock.clone());
    let began_ms = clock.now_ms();
    let (asked, _) = worker.texted("+989120000013").await;
    // The seal covers all but the time.
    let (keys, request) = (&worker.engines.keys, asked.code_request.clone());
    let recipient = &asked.recipient;
    let mut hastened =
        Envelope::<OtpTexted>::sealing(keys, &clock, "test", None, request, recipient).unwrap();
    hastened.time = clock.now().plus_secs(-60);
    bus.publish(&hastened).await.unwrap();
    let forged =
        CodeRequest { sealed: Sealed::from_text("x.AAAA".to_owned()), ..asked.code_request };
    let never = Timestamp::parse("9999-12-31T23:59:59Z").unwrap();
    let id = EventId::new(&clock);
    let forged = Envelope::with_id(id, never, "test", None, OtpTexted(forged));
    bus.publish(&forged).await.unwrap();
    let dead = eventually("the dead letter", PATIENCE, async || {
        bus.dead_list(Queue::OtpWorker, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!((dead.id, dead.reason.as_str()), (id.to_string(), "forged"));
    worker.until_called(&["+989120000013"]).await;
    let waited_ms = clock.now_ms() - began_ms;
    assert!(waited_ms >= 20_000, "called after {waited_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_no_fallback_call_is_scheduled() {
    let mut worker = RunningOtpWorker::start(&[]).await;
    let bus = worker.engines.bus.clone();
    worker.texted("+989120000021").await;
    worker.end().await;
    let mut left = bus.consume(Queue::OtpWorker, 10).await.unwrap();
    let next = tokio::time::timeout(QUIET, left.next()).await;
    assert!(next.is_err(), "{next:?}");
}
