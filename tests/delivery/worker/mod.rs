//! A scripted provider, and a delivery service built around it.

mod away;
mod delivery;
mod run;
mod upkeep;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::consumer::Failure;
use bus::{Bus, Consumer, Delay, Queue};
use config::{ProviderName, TwilioAccount, UnknownOutcome};
use domain::clock::Clock;
use domain::event::{Envelope, SmsReceipt, SmsRequested, SmsStatus, Text};
use domain::ids::{AttemptId, EventId, MessageId, RequestId};
use domain::keys::Keys;
use domain::rng;
use domain::vocabulary::{Channel, Reason, Status};
use futures::FutureExt as _;
use ledger::Ledger;
use secrecy::SecretString;
use service::blocklist::Blocklist;
use service::connections::Connections;
use service::health::Health;
use sms_worker::{
    FollowUps, Http, Provider, RoutedProvider, Routes, SendSms, TakeReceipt, Twilio, client,
};
use sql::Pool;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use url::Url;

pub const PHONE: &str = "+989123456789";
pub const TEXT: &str = "Your code is 481516.";
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// One scripted answer.
#[derive(Clone)]
pub enum Act {
    /// Takes the text and confirms it.
    Take,
    /// Like [`Act::Take`], after a delay.
    TakeSlowly(Duration),
    /// Status, extra headers, body; the text is not taken.
    Say(u16, &'static str, String),
    /// Like [`Act::Say`], but the text was taken.
    TakeAndSay(u16, &'static str, String),
    TakeAndCut,
    /// Reads and never answers.
    Hang,
}

/// One recorded call.
#[derive(Clone, Debug)]
pub struct Call {
    pub head: String,
    pub body: String,
    pub taken: bool,
}

impl Call {
    pub fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// An HTTP server that answers from a script; the last act repeats.
#[derive(Clone)]
pub struct Fake {
    pub url: Url,
    calls: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<VecDeque<Act>>>,
}

impl Fake {
    pub async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let fake = Self {
            url,
            calls: Arc::default(),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
        };
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        fake
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn taken(&self) -> usize {
        self.calls().iter().filter(|call| call.taken).count()
    }

    pub fn script(&self, script: impl IntoIterator<Item = Act>) {
        *self.script.lock().unwrap() = script.into_iter().collect();
    }

    /// Waits for the first call.
    pub async fn called(&self) -> Call {
        loop {
            if let Some(call) = self.calls().first() {
                return call.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn next(&self) -> Act {
        let mut script = self.script.lock().unwrap();
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }.unwrap()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            let mut chunk = [0; 4096];
            let Ok(n @ 1..) = stream.read(&mut chunk).await else { return };
            bytes.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some(end) = text.find("\r\n\r\n") else { continue };
            let head = text[..end].to_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            bytes.drain(..end + 4);
            break (head, length);
        };
        while bytes.len() < length {
            let mut chunk = [0; 4096];
            let Ok(n @ 1..) = stream.read(&mut chunk).await else { return };
            bytes.extend_from_slice(&chunk[..n]);
        }
        let act = self.next();
        let taken =
            matches!(act, Act::Take | Act::TakeSlowly(_) | Act::TakeAndSay(..) | Act::TakeAndCut);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Call { head, body, taken });
            calls.len()
        };
        let queued = format!(
            r#"{{"sid":"SM{number:032x}","status":"queued","num_segments":"1","price":null,"price_unit":null}}"#
        );
        let (status, headers, body) = match act {
            Act::Take => (201, "", queued),
            Act::TakeSlowly(wait) => {
                tokio::time::sleep(wait).await;
                (201, "", queued)
            }
            Act::Say(status, headers, body) | Act::TakeAndSay(status, headers, body) => {
                (status, headers, body)
            }
            Act::TakeAndCut => return,
            Act::Hang => return std::future::pending().await,
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.write_all(body.as_bytes()).await);
    }
}

/// An error answer in Twilio's form.
pub fn error(status: u16, code: u32) -> Act {
    Act::Say(status, "", format!(r#"{{"code":{code},"message":"x","status":{status}}}"#))
}

/// A folder that is removed after the test.
pub struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Delivery with its own ledger.
pub struct Delivery {
    pub send: Arc<SendSms>,
    pub receipts: TakeReceipt,
    pub follow_ups: FollowUps,
    pub routes: Arc<Routes>,
    pub ledger: Ledger,
    pub clock: Clock,
    /// Where otp-worker would take the statuses from, and those that it would have taken.
    published: Mutex<(Consumer, Vec<Envelope<SmsStatus>>)>,
    _folder: Folder,
}

/// How long a provider has for its answer. Only a test of a silent one waits as long.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

pub fn twilio(url: &Url) -> Provider {
    twilio_within(CALL_LIMIT, url)
}

pub fn twilio_within(limit: Duration, url: &Url) -> Provider {
    let settings = TwilioAccount {
        account_sid: ACCOUNT.to_owned(),
        auth_token: SecretString::from("the account's own token"),
        api_key: None,
        from: Some("+15005550006".to_owned()),
        messaging_service_sid: None,
        base_url: url.clone(),
    };
    let client = client::client(limit).unwrap();
    Provider::Twilio(Twilio::new(&settings, client).unwrap())
}

/// An account with an API key and a messaging service.
pub fn twilio_with_key(url: &Url) -> Provider {
    twilio_with_service(url, None)
}

/// Like [`twilio_with_key`], plus a number.
pub fn twilio_with_both(url: &Url) -> Provider {
    twilio_with_service(url, Some("+15005550006".to_owned()))
}

fn twilio_with_service(url: &Url, from: Option<String>) -> Provider {
    let settings = TwilioAccount {
        account_sid: ACCOUNT.to_owned(),
        auth_token: SecretString::from("the account's own token"),
        api_key: Some(("SK1".to_owned(), SecretString::from("key's secret"))),
        from,
        messaging_service_sid: Some("MG1".to_owned()),
        base_url: url.clone(),
    };
    let client = client::client(CALL_LIMIT).unwrap();
    Provider::Twilio(Twilio::new(&settings, client).unwrap())
}

pub fn http(url: &Url) -> Provider {
    let client = client::client(CALL_LIMIT).unwrap();
    Provider::Http(Http::new(url.clone(), &SecretString::from("shared"), client, Clock::system()))
}

/// The embedded engines, on a manual clock.
pub async fn engines() -> (Connections, Folder) {
    let name = format!("latchkey-delivery-{:016x}", u64::from_be_bytes(rng::bytes()));
    let folder = Folder(std::env::temp_dir().join(name));
    let (sql, clock) = (Pool::sqlite(&folder.0).await.unwrap(), Clock::manual());
    sql.migrate(accounts::FUNCTIONS).await.unwrap();
    let engines = Connections {
        bus: Bus::memory(clock.clone()),
        store: Store::memory(clock.clone()),
        sql,
        keys: Arc::new(keys()),
        clock,
        health: Health::default(),
    };
    (engines, folder)
}

impl Delivery {
    pub async fn new(
        providers: impl IntoIterator<Item = Provider>,
        unknown_outcome: UnknownOutcome,
    ) -> Self {
        Self::on(engines().await, providers, unknown_outcome).await
    }

    pub async fn on(
        (engines, folder): (Connections, Folder),
        providers: impl IntoIterator<Item = Provider>,
        unknown_outcome: UnknownOutcome,
    ) -> Self {
        let clock = engines.clock.clone();
        let providers: Vec<RoutedProvider> =
            providers.into_iter().map(|provider| RoutedProvider::new(provider, &clock)).collect();
        let name_of = |provider: &RoutedProvider| {
            ProviderName::ALL.into_iter().find(|n| n.as_str() == provider.name())
        };
        let default = providers.iter().filter_map(name_of).collect();
        let named = config::Routes { default, by_prefix: Vec::new() };
        let routes = Arc::new(Routes::new(providers, named).unwrap());
        let blocks = Blocklist::load(&engines, &CancellationToken::new()).await.unwrap();
        let public_url = Some("https://auth.example.test/base/".parse().unwrap());
        let delivery = engines.for_delivery();
        let statuses = engines.bus.consume(Queue::OtpWorker, u16::MAX).await.unwrap();
        Self {
            send: Arc::new(SendSms::new(
                &delivery,
                Arc::clone(&routes),
                blocks,
                unknown_outcome,
                public_url,
            )),
            receipts: TakeReceipt::new(&delivery),
            follow_ups: FollowUps::new(&delivery, Arc::clone(&routes)),
            routes,
            ledger: Ledger::new(engines.sql),
            clock,
            published: Mutex::new((statuses, Vec::new())),
            _folder: folder,
        }
    }

    /// All statuses that were published so far.
    pub fn published(&self) -> Vec<Envelope<SmsStatus>> {
        let mut published = self.published.lock().unwrap();
        while let Some(Some(message)) = published.0.next().now_or_never() {
            published.1.push(message.event().unwrap().unwrap());
        }
        published.1.clone()
    }

    /// A text that is valid for five minutes.
    pub fn job(&self) -> Envelope<SmsRequested> {
        self.job_for(PHONE, Channel::Sms, 300)
    }

    pub fn job_for(&self, phone: &str, channel: Channel, secs: i64) -> Envelope<SmsRequested> {
        self.job_of(phone, channel, secs, TEXT)
    }

    pub fn job_of(
        &self,
        phone: &str,
        channel: Channel,
        secs: i64,
        text: &str,
    ) -> Envelope<SmsRequested> {
        let request = RequestId::new(&self.clock);
        let (event, message) = (EventId::new(&self.clock), MessageId::of_request(request));
        let now = self.clock.now();
        let not_after = now.plus_secs(secs);
        let text = Text { phone_number: phone.parse().unwrap(), text: text.to_owned() };
        let sealed =
            SmsRequested::seal(&keys().event, event, message, Some(request), not_after, &text)
                .unwrap();
        let data = SmsRequested {
            message_id: message,
            request_id: Some(request),
            channel,
            country: "IR".to_owned(),
            not_after,
            requested_at: Some(now),
            sealed,
        };
        Envelope::with_id(event, now, "otp-worker", None, data)
    }

    /// Handles a job as the broker would: a delayed job comes back after its delay, on the manual clock.
    pub async fn to_its_end(&self, job: &Envelope<SmsRequested>) {
        for _ in 0..1_000 {
            match self.send.handle(job).await {
                Ok(()) => return,
                Err(Failure::Later(wait)) => {
                    let wait = Delay::about(wait).ms().unsigned_abs();
                    self.clock.advance(Duration::from_millis(wait));
                }
                Err(failure) => panic!("{failure:?}"),
            }
        }
        panic!("the job does not end");
    }

    pub async fn end_of(&self, job: &Envelope<SmsRequested>) -> (Status, Option<Reason>) {
        let message_state = self.ledger.message_state(job.data.message_id).await.unwrap().unwrap();
        (message_state.status, message_state.reason)
    }

    /// The published statuses of the message, except `sending`.
    pub fn told(&self, job: &Envelope<SmsRequested>) -> Vec<(Status, Option<Reason>)> {
        self.published()
            .into_iter()
            .map(|event| event.data)
            .filter(|s| s.message_id == job.data.message_id && s.status != Status::Sending)
            .map(|s| (s.status, s.reason))
            .collect()
    }

    /// Handles every follow-up that is due.
    pub async fn follow_up(&self) {
        self.follow_ups.all_due(&CancellationToken::new()).await.unwrap();
    }

    pub async fn receipt(&self, call: &Call, fields: &[(&str, &str)]) {
        let callback = call.field("StatusCallback").unwrap();
        let attempt = callback.rsplit('/').next().unwrap().split('#').next().unwrap();
        self.receipt_of(attempt.parse().unwrap(), fields).await;
    }

    pub async fn receipt_of(&self, attempt_id: AttemptId, fields: &[(&str, &str)]) {
        let fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let receipt = SmsReceipt { provider: "twilio".to_owned(), attempt_id, fields };
        self.receipts.handle(&receipt, None, false).await.unwrap();
    }
}

fn keys() -> Keys {
    Keys::from_secret(&[7; 32], None)
}
