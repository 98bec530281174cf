//! sms-worker: delivery. Sends texts through any working provider and keeps the ledger of what was sent. It does not
//! know about codes: it sends a text.

pub mod announce;
pub mod deliver;
pub mod follow_up;
pub mod ports;
pub mod providers;
pub mod receipts;
pub mod routing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bus::consumer::{Failure, Handler, Options};
use bus::{Delivery, Queue, consumer as worker};
use config::{Config, ProviderName};
use domain::event::{Envelope, SmsReceipt, SmsRequested};
use ledger::Ledger;
use service::blocklist::Blocklist;
use service::connections::StoredCrashCounts;
use service::delivery::{Connections, clock_sync as store_time};
use tokio_util::sync::CancellationToken;

use crate::deliver::{PendingFinishes, SendSms};
use crate::follow_up::FollowUps;
use crate::providers::console::Console;
use crate::providers::http::Http;
use crate::providers::inbox::Inbox;
use crate::providers::twilio::Twilio;
use crate::providers::{Provider, client};
use crate::receipts::TakeReceipt;
use crate::routing::routes::{RoutedProvider, Routes};

/// Messages handled at once. Most of a send is waiting for a provider, and each provider's limiter bounds its
/// concurrent calls.
const CONCURRENCY: usize = 64;
/// Limit for one message: it tries providers one after another, then waits for an answer and a receipt. It exceeds the
/// sum, because a send that is cancelled in mid-call has an unknown outcome.
const TIMEOUT: Duration = Duration::from_secs(45);

struct SmsWorker {
    engines: Connections,
    send: SendSms,
    receipts: TakeReceipt,
}

/// Runs until `stop`: finishes the messages in hand and hands back the rest.
///
/// # Errors
/// Fails if a route names a provider that cannot be set up, or if a part cannot continue; the process should end.
pub async fn run(
    config: Arc<Config>,
    mut engines: Connections,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Provider pauses use this process's own clock, so that a step of another host's clock cannot prolong them.
    let routes = Arc::new(routes(&config, &engines)?);
    // Texts expire by the code store's time, so everything else here follows it.
    let host = engines.clock.clone();
    engines.clock = host.following();
    let report = engines.health.reporter("consumer.sms-worker");
    // Load now; otherwise the first text after a start would wait.
    domain::phone::load_plans();
    engines.wait_for_schema(&stop).await?;
    store_time::first(&engines.store, &host, &engines.clock, &stop).await;
    let blocks = Blocklist::load(&engines, &stop).await.context("read the blocks")?;
    let ledger = Ledger::new(engines.sql.clone());
    let publish = ports::publish_on(&engines);
    let worker = SmsWorker {
        send: SendSms {
            keys: Arc::clone(&engines.keys),
            ledger: ledger.clone(),
            routes: Arc::clone(&routes),
            publish: Arc::clone(&publish),
            wanted: ports::wanted_by(&engines, &blocks),
            clock: engines.clock.clone(),
            unknown_outcome: config.sms.unknown_outcome,
            public_url: config.public_url.clone(),
            pending_finishes: PendingFinishes::default(),
        },
        receipts: TakeReceipt::new(ledger.clone(), Arc::clone(&publish), engines.clock.clone()),
        engines: engines.clone(),
    };
    let follow_ups = FollowUps { ledger, routes, publish, clock: engines.clock.clone() };

    let mut options = Options::new(CONCURRENCY, engines.clock.clone());
    options.timeout = TIMEOUT;
    options.crashes = Some(Arc::new(StoredCrashCounts(engines.store.crash_counts())));
    let consume = worker::run(
        engines.bus.clone(),
        Queue::SmsWorker,
        Arc::new(worker),
        options,
        report,
        stop.clone(),
    );
    let beside = async {
        let (store, clock) = (engines.store.clone(), engines.clock.clone());
        tokio::join!(
            store_time::follow(&store, &host, &clock, &stop),
            blocks.follow(engines, stop.clone()),
            follow_ups.run(stop.clone()),
        );
        Ok(())
    };
    // A consumer that cannot continue ends the service at once, whatever runs beside it.
    tokio::try_join!(consume, beside).map(|_| ())
}

/// Builds the configured routes, each with its own client, breaker and limiter.
///
/// # Errors
/// Fails if a route names a provider whose settings are missing or unusable.
pub fn routes(config: &Config, engines: &Connections) -> anyhow::Result<Routes> {
    let named = &config.sms.routes;
    let client = client::client(client::LIMIT)?;
    let mut lines = Vec::new();
    for name in ProviderName::ALL.into_iter().filter(|name| named.names(*name)) {
        let provider = match name {
            ProviderName::Twilio => {
                let account = config.sms.twilio.as_ref().context("Twilio is not configured")?;
                Provider::Twilio(Twilio::new(account, client.clone())?)
            }
            ProviderName::Http => {
                let http =
                    config.sms.http.as_ref().context("the HTTP provider is not configured")?;
                let clock = engines.clock.clone();
                Provider::Http(Http::new(http.url.clone(), &http.secret, client.clone(), clock))
            }
            ProviderName::Console => Provider::Console(Console),
            ProviderName::Inbox => Provider::Inbox(Inbox::new(ports::keep_in(engines))),
        };
        lines.push(RoutedProvider::new(provider, &engines.clock));
    }
    Routes::new(lines, named.clone())
}

impl Handler for SmsWorker {
    async fn handle(&self, message: &Delivery) -> Result<(), Failure> {
        match message.family() {
            "sms.requested" => {
                let job = Envelope::<SmsRequested>::decode(&message.bytes)?;
                self.send.handle(&job).await
            }
            "sms.receipt" => {
                let receipt = Envelope::<SmsReceipt>::decode(&message.bytes)?;
                let again = message.suspect || message.attempts > 0;
                self.receipts.handle(&receipt.data, receipt.traceparent.as_deref(), again).await
            }
            other => Err(Failure::Permanent("unknown_type", anyhow!("no handler for {other}"))),
        }
    }

    async fn probe(&self) -> anyhow::Result<()> {
        self.engines.sql.ready().await?;
        self.engines.store.ready().await?;
        self.engines.bus.ready().await?;
        Ok(())
    }
}
