//! Measures how throughput grows with the number of workers: 1, 2 and 4 of each kind drain the same amount of jobs.
//!
//! Jobs are real ones: code requests, made over HTTP while no worker runs, and the texts that otp-workers made of them.
//! `bench/scaling` builds and starts it; `bench/README.md` explains the figures.

mod drain;
mod figures;
mod queues;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bench::machine::Machine;
use bench::provider::{Fails, Provider};
use bench::ring;
use clap::Parser;
use testkit::process::Binary;

use crate::drain::Arena;
use crate::figures::Figures;

/// A provider that waits: workers then wait as well, and one processor is enough for several of them.
const SLOW: Duration = Duration::from_millis(500);

/// Measures the throughput of 1, 2 and 4 workers of each kind. The table is Markdown on stdout, progress is on stderr.
#[derive(Parser)]
struct Arguments {
    /// Jobs that wait when the workers start.
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// Jobs for each worker with the slow provider, so that each run takes as long; 0 leaves these runs out.
    #[arg(long, default_value_t = 6_000)]
    slow_jobs: usize,
    /// How many workers of a kind.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    workers: Vec<usize>,
    /// The folder of the programs to measure. [default: those built with this one]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Keeps the figures in bench/scaling.jsonl, in the place of those of the same kind and number, and draws
    /// bench/scaling.svg.
    #[arg(long)]
    record: bool,
    /// Measures nothing: prints and draws what is recorded.
    #[arg(long)]
    draw: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    tokio::select! {
        finished = Box::pin(run(&arguments)) => finished.map(|()| ExitCode::SUCCESS),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("wait for Ctrl-C")?;
            eprintln!("interrupted");
            Ok(ExitCode::from(130))
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let record = bench.join("scaling.jsonl");
    let recorded = figures::read(&record)?;
    if arguments.draw {
        println!("{}", figures::table(&recorded));
        return figures::draw(&recorded, &bench.join("scaling.svg"));
    }
    let machine = Machine::look(None);
    eprint!("{machine}");
    let mut measured = Vec::new();
    for workers in &arguments.workers {
        let at_once = fast(arguments, *workers).await?;
        measured.extend(at_once.map(|figures| figures.on(&machine)));
        if arguments.slow_jobs > 0 {
            measured.push(slow(arguments, *workers).await?.on(&machine));
        }
    }
    println!("{machine}\n{}", figures::table(&measured));
    if arguments.record {
        let all = figures::renewed(recorded, measured);
        figures::write(&record, &all)?;
        figures::draw(&all, &bench.join("scaling.svg"))?;
    }
    Ok(())
}

/// One feed for both kinds: the texts that the otp-workers made are the jobs of the sms-workers.
async fn fast(arguments: &Arguments, workers: usize) -> anyhow::Result<[Figures; 2]> {
    let (engines, provider) = (ring::engines().await, Provider::start().await?);
    let mut arena =
        Arena::start(&engines, &provider, ring::programs(arguments.programs.as_deref())?).await?;
    arena.feed(arguments.jobs).await?;
    let otp = arena.drain(Binary::OtpWorker, workers, arguments.jobs).await?;
    let sms = arena.drain(Binary::SmsWorker, workers, arguments.jobs).await?;
    arena.stop().await;
    Ok([otp, sms])
}

async fn slow(arguments: &Arguments, workers: usize) -> anyhow::Result<Figures> {
    let (engines, provider) = (ring::engines().await, Provider::start().await?);
    let mut arena =
        Arena::start(&engines, &provider, ring::programs(arguments.programs.as_deref())?).await?;
    let jobs = arguments.slow_jobs * workers;
    arena.feed(jobs).await?;
    arena.drain(Binary::OtpWorker, 1, jobs).await?;
    provider.behave(SLOW, Fails::Never);
    let figures = arena.drain(Binary::SmsWorker, workers, jobs).await?;
    arena.stop().await;
    Ok(figures.of_provider(SLOW))
}
