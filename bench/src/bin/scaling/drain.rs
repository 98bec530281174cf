//! A system without workers whose queues are filled, and the drain of one queue by workers of one kind.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bench::load::{Pace, run};
use bench::provider::Provider;
use bench::ring::Servers;
use testkit::http::new_phone;
use testkit::process::{Binary, Programs};
use testkit::system::{Apart, STOP_LIMIT, System};
use tokio::time::sleep;

use crate::figures::Figures;
use crate::queues::Queues;

/// How often the jobs that are done are counted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A drain that takes longer is a mistake of the measurement: codes live for ten minutes here.
const PATIENCE: Duration = Duration::from_mins(9);
/// As many code requests at once as in `bench/run`.
const AT_ONCE: usize = 64;

/// A gateway, engines of its own, and a provider.
pub struct Arena<'a> {
    engines: &'a Servers,
    provider: &'a Provider,
    system: System,
    queues: Queues,
}

/// CPU seconds by process.
pub type Spent = Vec<(&'static str, f64)>;

/// What happened from half of the jobs to nine tenths: by then workers and connections are warm, and a worker has found
/// how many calls its provider takes at once (contract, section 8).
pub struct Steady {
    /// Jobs a second.
    pub rate: f64,
    /// Cores that all processes together kept busy, the provider's included.
    pub cores_busy: f64,
    /// Cores that the workers alone kept busy.
    pub workers_busy: f64,
}

type Look = (Instant, usize, Spent);

impl Steady {
    /// Not a number if so few jobs were done that one look saw both ends.
    #[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
    fn of((from, first, before): &Look, (to, last, after): &Look) -> Self {
        let secs = (*to - *from).as_secs_f64();
        let spent = between(before, after);
        let all: f64 = spent.iter().map(|(_, cpu)| cpu).sum();
        let workers = spent.first().map_or(f64::NAN, |(_, cpu)| *cpu);
        Self {
            rate: (last - first) as f64 / secs,
            cores_busy: all / secs,
            workers_busy: workers / secs,
        }
    }
}

fn between(before: &Spent, after: &Spent) -> Spent {
    after.iter().zip(before).map(|((name, b), (_, a))| (*name, b - a)).collect()
}

impl<'a> Arena<'a> {
    pub async fn start(
        engines: &'a Servers,
        provider: &'a Provider,
        programs: Programs,
    ) -> anyhow::Result<Self> {
        let places = engines.places().await;
        let amqp_url = places.amqp_url.clone();
        let mut settings = vec![("RUST_LOG", "warn"), ("LATCHKEY_OTP_TTL_SECS", "600")];
        settings.extend(provider.settings());
        let counts = Apart { gateways: 1, otp_workers: 0, sms_workers: 0 };
        let system = System::apart_of(programs, places, counts, &settings).await;
        Ok(Self { engines, provider, system, queues: Queues::of(&amqp_url).await? })
    }

    /// Requests this many codes, each for a phone of its own. They wait: no worker runs.
    pub async fn feed(&self, jobs: usize) -> anyhow::Result<()> {
        eprintln!("{jobs} code requests");
        let api = self.system.api();
        let (statuses, _) = run(Pace::AtOnce(AT_ONCE), 0..jobs, move |_| {
            let api = api.clone();
            async move { api.otp(&new_phone()).await.status }
        })
        .await;
        let refused = statuses.iter().filter(|status| **status != 202).count();
        ensure!(refused == 0, "{refused} of {jobs} code requests were refused");
        let waiting = self.queues.ready("otp-worker").await?;
        ensure!(waiting == jobs, "{waiting} of {jobs} code requests wait");
        Ok(())
    }

    /// Starts this many workers of a kind, waits until they have done all jobs, and stops them.
    pub async fn drain(
        &mut self,
        kind: Binary,
        workers: usize,
        jobs: usize,
    ) -> anyhow::Result<Figures> {
        eprintln!("{workers} × {}, {jobs} jobs", kind.name());
        let (before, start) = (self.spent(), Instant::now());
        self.system.add_all(&vec![(kind, BTreeMap::new()); workers]).await;
        let steady = self.watch(kind, start, jobs).await?;
        let secs = start.elapsed().as_secs_f64();
        let spent = between(&before, &self.spent());
        let figures = Figures::of(kind.name(), workers, jobs, secs, &spent, &steady);
        for _ in 0..workers {
            let mut worker = self.system.processes.pop().context("a worker runs")?;
            let status = worker.server.terminate(STOP_LIMIT).await;
            ensure!(status.success(), "{}: {status}", kind.name());
        }
        Ok(figures)
    }

    /// Counts the jobs that are done until all are: texts that wait for an sms-worker, or phones that have their text.
    async fn watch(&self, kind: Binary, start: Instant, jobs: usize) -> anyhow::Result<Steady> {
        let (mut half, mut nine_tenths) = (None, None);
        loop {
            let done = match kind {
                Binary::OtpWorker => self.queues.ready("sms-worker").await?,
                _ => self.provider.reached(),
            };
            let now = || (Instant::now(), done, self.spent());
            if done >= jobs / 2 && half.is_none() {
                half = Some(now());
            }
            if done >= jobs * 9 / 10 && nine_tenths.is_none() {
                nine_tenths = Some(now());
            }
            if done >= jobs {
                let (Some(from), Some(to)) = (half, nine_tenths) else {
                    unreachable!("both are less")
                };
                return Ok(Steady::of(&from, &to));
            }
            if start.elapsed() > PATIENCE {
                bail!("{done} of {jobs} jobs are done after {} s", PATIENCE.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    pub async fn stop(self) {
        self.system.stop().await;
    }

    /// The CPU seconds so far of the workers, of the engines, and of the provider, which is this program.
    fn spent(&self) -> Spent {
        let ours = self.system.processes.iter();
        let workers = ours.filter(|process| process.binary != Binary::Gateway);
        let workers = workers.map(|process| process.server.cpu_secs()).sum();
        let engines = self.engines.parts().map(|(name, server)| (name, server.cpu_secs()));
        let mut all = vec![("workers", workers)];
        all.extend(engines);
        all.push(("provider", own_cpu_secs()));
        all
    }
}

/// The processor time of this program in seconds: fields 14 and 15 of `/proc/self/stat`, in hundredths.
fn own_cpu_secs() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    f64::from(ticks) / 100.0
}
