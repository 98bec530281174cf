//! otp-worker: owns the life cycle of code requests. It takes code requests, stores codes in Redis, passes texts to
//! sms-worker, tracks what becomes of the texts, and closes requests that stay open.

mod issue;
mod sweep;
mod track_status;
mod voice_fallback;

use std::sync::Arc;

use accounts::Directory;

use anyhow::Context as _;
use bus::consumer::{Failure, Handler, Options};
use bus::{Delivery, Queue, consumer as worker};
use config::{Config, Served};
use domain::event::{
    Event as _, ListedStatus, OtpRequested, OtpTexted, SmsStatus, SmsStatuses, UserSignedUp,
};
use service::blocklist::Blocklist;
use service::connections::{Connections, StoredCrashCounts};
use service::load_report;
use store::{Codes, Load, Statuses};
use texts::Texts;
use tokio_util::sync::CancellationToken;

/// Messages handled at once. Each waits for Redis and the broker, hardly ever for the processor.
const CONCURRENCY: usize = 32;

/// What every handler of this service uses.
pub(crate) struct OtpWorker {
    config: Arc<Config>,
    engines: Connections,
    codes: Codes,
    statuses: Statuses,
    directory: Directory,
    texts: Texts,
    blocks: Blocklist,
    phones: Served,
}

/// Runs until `stop`: finishes the messages in hand and hands back the rest.
///
/// # Errors
/// Fails if the texts are unusable, or if a part cannot continue; the process should end.
pub async fn run(
    config: Arc<Config>,
    engines: Connections,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let texts = Texts::load(&config.texts, config.otp.length).context("load the texts")?;
    let report = engines.health.reporter("consumer.otp-worker");
    engines.wait_for_schema(&stop).await?;
    let blocks = Blocklist::load(&engines, &stop).await.context("read the blocks")?;
    let worker = Arc::new(OtpWorker {
        codes: engines.store.codes(),
        statuses: engines.store.statuses(),
        directory: Directory::new(&engines.sql),
        phones: Served::of(&config),
        config,
        engines: engines.clone(),
        texts,
        blocks: blocks.clone(),
    });

    let mut options = Options::new(CONCURRENCY, engines.clock.clone());
    // A text that waits for its follow-up call is no backlog.
    options.waits_by_design = &[OtpTexted::TYPE];
    options.paced = &[OtpRequested::TYPE, UserSignedUp::TYPE];
    let load = load_report::run(
        engines.store.loads(),
        Load::OtpWorker,
        options.state.clone(),
        engines.clock.clone(),
        stop.clone(),
    );
    engines.presence.tell_queue(Queue::OtpWorker, options.state.clone());
    options.crashes = Some(Arc::new(StoredCrashCounts(engines.store.crash_counts())));
    // The parts are boxed, so that the stack of the main thread holds none of them.
    let consume = Box::pin(worker::run(
        engines.bus.clone(),
        Queue::OtpWorker,
        worker.clone(),
        options,
        report,
        stop.clone(),
    ));
    // With fallback calls, this process admits requests too, so it reports the pumping guard's findings.
    let guard = worker.config.sms.voice_fallback_secs > 0;
    let guard = guard.then(|| {
        let mode = worker.config.pumping_guard;
        service::guard_report::run(engines.clone(), mode, "otp-worker", stop.clone())
    });
    let beside = Box::pin(async {
        tokio::join!(
            blocks.follow(engines.clone(), stop.clone()),
            sweep::run(worker, stop.clone()),
            load,
            futures::future::OptionFuture::from(guard),
        );
        Ok(())
    });
    // A consumer that cannot continue ends the service at once, whatever runs beside it.
    tokio::try_join!(consume, beside).map(|_| ())
}

impl Handler for OtpWorker {
    async fn handle(&self, message: &Delivery) -> Result<(), Failure> {
        if let Some(event) = message.event::<OtpRequested>()? {
            return self.issue(event).await;
        }
        if let Some(event) = message.event::<UserSignedUp>()? {
            return self.issue(event).await;
        }
        if let Some(event) = message.event::<OtpTexted>()? {
            return self.fall_back(&event).await;
        }
        // Before its successor, which is of the same family.
        if message.kind == SmsStatus::TYPE
            && let Some(event) = message.event::<SmsStatus>()?
        {
            return self.track([ListedStatus::Read(event.data)]).await;
        }
        if let Some(event) = message.event::<SmsStatuses>()? {
            return self.track(event.data.statuses).await;
        }
        Err(Failure::unknown_type(message))
    }

    async fn probe(&self) -> anyhow::Result<()> {
        self.engines.store.ready().await?;
        self.engines.sql.ready().await?;
        Ok(())
    }
}
