//! A delivery service built around scripted providers.

mod away;
mod delivery;
mod run;
mod upkeep;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::consumer::Failure;
use bus::{Consumer, Delay, Queue};
use config::{ProviderName, TwilioAccount, UnknownOutcome};
use domain::clock::Clock;
use domain::event::{Envelope, SmsReceipt, SmsRequested, SmsStatus};
use domain::ids::{AttemptId, RequestId};
use domain::keys::Keys;
use domain::phone::E164;
use domain::vocabulary::{Channel, Reason, Status};
use fake_twilio::{Received, Reply, ScriptedProvider};
use futures::FutureExt as _;
use ledger::{Ledger, NewMessage};
use secrecy::SecretString;
use service::blocklist::Blocklist;
use service::connections::Connections;
use sms_worker::{
    Announcer, FollowUps, Http, Provider, RoutedProvider, Routes, SendSms, TakeReceipt, Twilio,
    client,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{TEXT, embedded_engines, statuses_in};
use testkit::folder::Folder;
use testkit::{PATIENCE, eventually};

pub const PHONE: &str = "+989123456789";
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// Delivery with its own ledger.
pub struct Delivery {
    pub send: Arc<SendSms>,
    pub receipts: TakeReceipt,
    pub follow_ups: FollowUps,
    pub routes: Arc<Routes>,
    pub ledger: Ledger,
    pub clock: Clock,
    keys: Arc<Keys>,
    /// Where otp-worker would take the statuses from, and those that it would have taken.
    published: Mutex<(Consumer, Vec<SmsStatus>)>,
    _folder: Folder,
}

async fn scripted(script: impl IntoIterator<Item = Reply>) -> ScriptedProvider {
    ScriptedProvider::start(script).await.unwrap()
}

/// Waits for the first call.
async fn called(provider: &ScriptedProvider) -> Received {
    eventually("a call", PATIENCE, async || provider.calls().first().cloned()).await
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

impl Delivery {
    pub async fn new(
        providers: impl IntoIterator<Item = Provider>,
        unknown_outcome: UnknownOutcome,
    ) -> Self {
        Self::on(embedded_engines().await, providers, unknown_outcome).await
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
        let announcer = Announcer::of(&delivery);
        let statuses = engines.bus.consume(Queue::OtpWorker, u16::MAX).await.unwrap();
        Self {
            send: Arc::new(SendSms::new(
                &delivery,
                announcer.clone(),
                Arc::clone(&routes),
                blocks,
                unknown_outcome,
                public_url,
            )),
            receipts: TakeReceipt::new(&delivery, announcer.clone()),
            follow_ups: FollowUps::new(&delivery, announcer, Arc::clone(&routes)),
            routes,
            ledger: Ledger::new(&engines.sql),
            clock,
            keys: engines.keys,
            published: Mutex::new((statuses, Vec::new())),
            _folder: folder,
        }
    }

    /// All statuses that were published so far.
    pub fn published(&self) -> Vec<SmsStatus> {
        let mut published = self.published.lock().unwrap();
        while let Some(Some(message)) = published.0.next().now_or_never() {
            published.1.extend(statuses_in(&message));
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
        let request = Some(RequestId::new(&self.clock));
        super::job(&self.keys, &self.clock, request, channel, phone, text, secs)
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
            .filter(|s| s.message_id == job.data.message_id && s.status != Status::Sending)
            .map(|s| (s.status, s.reason))
            .collect()
    }

    /// Handles every follow-up that is due.
    pub async fn follow_up(&self) {
        self.follow_ups.all_due(&CancellationToken::new()).await.unwrap();
    }

    pub async fn receipt(&self, call: &Received, fields: &[(&str, &str)]) {
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

/// The message of a text to [`PHONE`], as the ledger keeps it.
fn message_of<'a>(job: &'a Envelope<SmsRequested>, phone: &'a E164) -> NewMessage<'a> {
    NewMessage {
        message_id: job.data.message_id,
        request_id: job.data.request_id,
        phone_number: phone,
        of_deleted: false,
        country: "IR",
        channel: Channel::Sms,
        not_after: job.data.not_after,
    }
}
