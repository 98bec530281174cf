//! Measures what ten times the load does: how many sign in meanwhile, whether a right code is refused, how late the latest
//! answer comes, and how soon all is as before. Exits with 1 if a bound is missed.
//!
//! `bench/overload` builds and starts it, with the system on all cores but one and the load on the last: a load that takes
//! its time from the system would be measured as well.

mod client;
mod users;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::load::percentile;
use bench::provider::Provider;
use bench::ring::{self, Ring};
use bench::table;
use clap::Parser;

use users::{Call, Noted, People, Step, per_second};

/// After the load, all is as before within this time.
const NORMAL_WITHIN: Duration = Duration::from_secs(10);
/// An answer is never later (contract, P12).
const ANSWER_WITHIN: Duration = Duration::from_millis(2500);
/// Of what was signed in before.
const LEAST_GOODPUT: f64 = 0.8;
/// Right codes that may be refused: one in a hundred.
const MOST_REFUSED: f64 = 0.01;

/// Measures what many times the load does. The report is Markdown on stdout, progress is on stderr.
#[derive(Parser)]
struct Arguments {
    /// How many times the load that the system can do arrives.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// For how many seconds it arrives.
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// How many users at once show what the system can do.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// The folder of the programs to measure. [default: those built with this one]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The processor of the load, once the system has started on the others.
    #[arg(long, value_name = "CPU")]
    own_cpu: Option<u32>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    tokio::select! {
        finished = Box::pin(measure(&arguments)) => finished,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("wait for Ctrl-C")?;
            eprintln!("interrupted");
            Ok(ExitCode::from(130))
        }
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    testkit::server::start_in_own_sessions();
    let engines = ring::engines().await;
    let provider = Arc::new(Provider::start().await?);
    let programs = ring::programs(arguments.programs.as_deref())?;
    let settings: Vec<_> = provider.settings().to_vec();
    let ring = Ring::start_of(&programs, &engines, &settings).await;
    if let Some(cpu) = arguments.own_cpu {
        move_to(cpu)?;
    }
    let gateway = ring.api().url.trim_start_matches("http://").parse().context("its address")?;
    let people = People::new(gateway, provider);
    let phases = phases(arguments, &people).await?;
    ring.stop().await;
    let verdicts = report(arguments, &phases);
    Ok(if verdicts.iter().all(|verdict| *verdict) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Moves all threads of this process to one processor; what it has started stays where it is.
fn move_to(cpu: u32) -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-acp", &cpu.to_string(), &pid]).output();
    ensure!(moved.context("run taskset")?.status.success(), "cannot move to processor {cpu}");
    Ok(())
}

struct Phase {
    name: String,
    began: Instant,
    length: Duration,
    /// `None`: as many as were done.
    came: Option<usize>,
    noted: Noted,
}

impl Phase {
    /// Sign-ins of a second, while the load lasted.
    fn rate(&self) -> f64 {
        let end = self.began + self.length;
        per_second(self.noted.signed_in.iter().filter(|at| **at <= end).count(), self.length)
    }

    fn calls(&self, step: Step) -> impl Iterator<Item = &Call> {
        self.noted.calls.iter().filter(move |call| call.step == step)
    }

    fn refused(&self, step: Step) -> usize {
        self.calls(step).filter(|call| call.status >= 300 || call.status == 0).count()
    }

    fn slowest(&self) -> Duration {
        self.noted.calls.iter().map(|call| call.took).max().unwrap_or_default()
    }
}

/// Saturation, half of it, many times of it, half of it again.
async fn phases(arguments: &Arguments, people: &People) -> anyhow::Result<Vec<Phase>> {
    eprintln!("warming up");
    people.at_once(arguments.at_once, Duration::from_secs(5)).await;
    people.take();
    eprintln!("what it can do, {} at once", arguments.at_once);
    let (began, length) = (Instant::now(), Duration::from_secs(15));
    let can_do = people.at_once(arguments.at_once, length).await;
    let noted = people.take();
    ensure!(can_do >= 1.0, "nobody could sign in: {}", noted.summary());
    let name = format!("{} at once", arguments.at_once);
    let mut phases = vec![Phase { name, began, length, came: None, noted }];
    let long = Duration::from_secs(arguments.secs);
    for (times, length) in
        [(0.5, Duration::from_secs(15)), (arguments.times, long), (0.5, NORMAL_WITHIN * 3)]
    {
        eprintln!("{times} times {can_do:.0} a second for {} s", length.as_secs());
        let began = Instant::now();
        let (came, busy) = people.arrive(can_do * times, length).await;
        let name = format!("{times} times");
        if times > 1.0 {
            // Those who wait for a text or an answer go on beside what follows, and are noted there.
            tokio::spawn(busy.join_all());
        } else {
            busy.join_all().await;
        }
        phases.push(Phase { name, began, length, came: Some(came), noted: people.take() });
    }
    Ok(phases)
}

/// Prints the tables; returns whether each bound is kept.
fn report(arguments: &Arguments, phases: &[Phase]) -> Vec<bool> {
    let head = [
        "load",
        "came a second",
        "signed in a second",
        "requests refused, %",
        "right codes refused, %",
        "refreshes refused, %",
        "request p50, p99 ms",
        "login p50, p99 ms",
        "slowest ms",
        "text p50, p99 ms",
        "no text",
        "no answer",
    ];
    let rows: Vec<_> = phases.iter().map(row).collect();
    println!("{}", table::markdown(&head.map(str::to_owned), &rows));
    for phase in phases {
        println!("{}: {}", phase.name, phase.noted.summary());
    }
    let verdicts = judge(arguments, phases);
    let rows: Vec<_> = verdicts.iter().map(Verdict::row).collect();
    println!("{}", table::markdown(&["figure", "measured", "bound", ""].map(str::to_owned), &rows));
    verdicts.iter().map(|verdict| verdict.is_kept).collect()
}

struct Verdict {
    what: String,
    measured: String,
    bound: String,
    is_kept: bool,
}

impl Verdict {
    fn row(&self) -> Vec<String> {
        let kept = if self.is_kept { "ok" } else { "missed" };
        vec![self.what.clone(), self.measured.clone(), self.bound.clone(), kept.to_owned()]
    }
}

fn judge(arguments: &Arguments, phases: &[Phase]) -> Vec<Verdict> {
    let [saturated, _, during, after] = phases else { unreachable!("four phases are run") };
    let goodput = during.rate() / saturated.rate();
    let refused = share(during.refused(Step::Login), during.calls(Step::Login).count());
    let slowest = phases.iter().map(Phase::slowest).max().unwrap_or_default();
    let normal = time_to_normal(after);
    vec![
        Verdict {
            what: format!("goodput at {} times the load", arguments.times),
            measured: format!("{goodput:.2} of what it can do"),
            bound: format!("≥ {LEAST_GOODPUT}"),
            is_kept: goodput >= LEAST_GOODPUT,
        },
        Verdict {
            what: "right codes refused".to_owned(),
            measured: format!("{:.2} %", refused * 100.0),
            bound: format!("< {} %", MOST_REFUSED * 100.0),
            is_kept: refused < MOST_REFUSED,
        },
        Verdict {
            what: "slowest answer".to_owned(),
            measured: format!("{} ms", slowest.as_millis()),
            bound: format!("≤ {} ms", ANSWER_WITHIN.as_millis()),
            is_kept: slowest <= ANSWER_WITHIN,
        },
        Verdict {
            what: "as before again".to_owned(),
            measured: format!("after {:.0} s", normal.as_secs_f64()),
            bound: format!("≤ {} s", NORMAL_WITHIN.as_secs()),
            is_kept: normal <= NORMAL_WITHIN,
        },
    ]
}

fn row(phase: &Phase) -> Vec<String> {
    let two = |times: &[Duration]| match times {
        [] => "–".to_owned(),
        times => format!("{:.0}, {:.0}", percentile(times, 50), percentile(times, 99)),
    };
    let percent = |step| {
        let refused = share(phase.refused(step), phase.calls(step).count());
        format!("{:.2}", refused * 100.0)
    };
    let answered = |step| {
        phase.calls(step).filter(|call| call.status > 0).map(|call| call.took).collect::<Vec<_>>()
    };
    let texts: Vec<_> = phase.noted.texts.iter().map(|(_, took)| *took).collect();
    vec![
        phase.name.clone(),
        phase
            .came
            .map_or("–".to_owned(), |came| format!("{:.0}", per_second(came, phase.length))),
        format!("{:.0}", phase.rate()),
        percent(Step::Request),
        percent(Step::Login),
        percent(Step::Refresh),
        two(&answered(Step::Request)),
        two(&answered(Step::Login)),
        phase.slowest().as_millis().to_string(),
        two(&texts),
        phase.noted.textless.to_string(),
        phase.noted.calls.iter().filter(|call| call.status == 0).count().to_string(),
    ]
}

/// From the end of the load until no call was refused or slow, and no text late, any more.
fn time_to_normal(after: &Phase) -> Duration {
    const SLOW: Duration = Duration::from_secs(1);
    let bad = |call: &&Call| call.status >= 300 || call.status == 0 || call.took > SLOW;
    let calls = after.noted.calls.iter().filter(bad).map(|call| call.at);
    let texts = after.noted.texts.iter().filter(|(_, took)| *took > SLOW * 5).map(|(at, _)| *at);
    let last = calls.chain(texts).max();
    last.map_or(Duration::ZERO, |last| last.saturating_duration_since(after.began))
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { ratio(part, whole) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
