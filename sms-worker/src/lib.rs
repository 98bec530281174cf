//! sms-worker: delivery. Sends texts through any working provider and keeps the ledger of what was sent. It does not
//! know about codes: it sends a text.

// The future of a text holds those of the ledger, the store and the broker, each with its span.
#![recursion_limit = "256"]

mod announce;
mod deliver;
mod follow_up;
mod providers;
mod receipts;
mod routing;

pub use announce::Announcer;
pub use deliver::SendSms;
pub use follow_up::FollowUps;
pub use providers::Provider;
pub use providers::client;
pub use providers::console::Console;
pub use providers::http::Http;
pub use providers::inbox::Inbox;
pub use providers::twilio::Twilio;
pub use receipts::TakeReceipt;
pub use routing::concurrency::ConcurrencyPermit;
pub use routing::routes::{RoutedProvider, Routes};

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::consumer::{Failure, Handler, Options};
use bus::{Delivery, Queue, consumer as worker};
use config::{Config, ProviderName};
use domain::event::{Event as _, SmsReceipt, SmsRequested};
use service::blocklist::Blocklist;
use service::connections::StoredCrashCounts;
use service::delivery::{Connections, Load, clock_sync as store_time};
use service::load_report;
use tokio_util::sync::CancellationToken;

/// Messages handled at once. Most of a send is waiting for a provider, and each provider's limiter bounds its
/// concurrent calls.
const CONCURRENCY: usize = 64;
/// Limit for one message: it tries providers one after another, then waits for an answer. It exceeds the sum, because a
/// send that is cancelled in mid-call has an unknown outcome.
const TIMEOUT: Duration = Duration::from_secs(45);

struct SmsWorker {
    engines: Connections,
    send: SendSms,
    receipts: TakeReceipt,
    routes: Arc<Routes>,
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
    engines.wait_for_schema(&stop).await?;
    store_time::first(&engines.store, &host, &engines.clock, &stop).await;
    let blocks = Blocklist::load(&engines, &stop).await.context("read the blocks")?;
    let announcer = Announcer::of(&engines);
    let worker = SmsWorker {
        send: SendSms::new(
            &engines,
            announcer.clone(),
            Arc::clone(&routes),
            blocks.clone(),
            config.sms.unknown_outcome,
            config.public_url.clone(),
        ),
        receipts: TakeReceipt::new(&engines, announcer.clone()),
        routes: Arc::clone(&routes),
        engines: engines.clone(),
    };
    routing::report::tell(&engines.presence, &config, &routes);
    let follow_ups = FollowUps::new(&engines, announcer, routes);

    let mut options = Options::new(CONCURRENCY, engines.clock.clone());
    options.timeout = TIMEOUT;
    options.paced = &[SmsRequested::TYPE];
    let load = load_report::run(
        engines.store.loads(),
        Load::SmsWorker,
        options.state.clone(),
        engines.clock.clone(),
        stop.clone(),
    );
    engines.presence.tell_queue(Queue::SmsWorker, options.state.clone());
    options.crashes = Some(Arc::new(StoredCrashCounts(engines.store.crash_counts())));
    // The parts are boxed, so that the stack of the main thread holds none of them.
    let consume = Box::pin(worker::run(
        engines.bus.clone(),
        Queue::SmsWorker,
        Arc::new(worker),
        options,
        report,
        stop.clone(),
    ));
    let beside = Box::pin(async {
        let (store, clock) = (engines.store.clone(), engines.clock.clone());
        tokio::join!(
            store_time::follow(&store, &host, &clock, &stop),
            blocks.follow(engines, stop.clone()),
            follow_ups.run(stop.clone()),
            load,
        );
        Ok(())
    });
    // A consumer that cannot continue ends the service at once, whatever runs beside it.
    tokio::try_join!(consume, beside).map(|_| ())
}

/// Builds the configured routes, each provider with its own breaker and limiter.
fn routes(config: &Config, engines: &Connections) -> anyhow::Result<Routes> {
    let named = &config.sms.routes;
    let client = client::client(client::LIMIT)?;
    let mut providers = Vec::new();
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
            ProviderName::Inbox => Provider::Inbox(Inbox::of(engines)),
        };
        providers.push(RoutedProvider::new(provider, &engines.clock));
    }
    Routes::new(providers, named.clone())
}

impl Handler for SmsWorker {
    async fn handle(&self, message: &Delivery) -> Result<(), Failure> {
        if let Some(job) = message.event::<SmsRequested>()? {
            return self.send.handle(&job).await;
        }
        if let Some(receipt) = message.event::<SmsReceipt>()? {
            let again = message.suspect || message.attempts > 0;
            let trace = receipt.traceparent.as_deref();
            return self.receipts.handle(&receipt.data, trace, again).await;
        }
        Err(Failure::unknown_type(message))
    }

    fn is_held_back(&self) -> bool {
        self.routes.hold_back()
    }

    async fn probe(&self) -> anyhow::Result<()> {
        self.engines.sql.ready().await?;
        self.engines.store.ready().await?;
        self.engines.bus.ready().await?;
        Ok(())
    }
}
