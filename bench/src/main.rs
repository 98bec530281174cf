//! Measures what a sign-in costs: private engines, three separate services, a load over HTTP, and a report. `bench/run`
//! builds everything and starts this program; `bench/README.md` has the figures and explains them.

mod arguments;
mod bounds;
mod cost;
mod parts;
mod report;
mod sample;
mod stages;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bench::machine::Machine;
use clap::Parser;
use testkit::process::Programs;

use crate::arguments::Arguments;
use crate::parts::{Amounts, Part, Shared};
use crate::report::Measured;
use crate::sample::{CPU, Rounds, Sample};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    tokio::select! {
        finished = Box::pin(run(&arguments)) => finished,
        // Ends what was started, as the run is dropped; if this program is killed instead, the watchdog does.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("wait for Ctrl-C")?;
            eprintln!("interrupted");
            Ok(ExitCode::from(130))
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let amounts = arguments.amounts();
    ensure!(amounts.sign_ins > 0 && amounts.at_once > 0 && amounts.rate > 0, "nothing to measure");
    ensure!(arguments.rounds != Some(0), "nothing to measure");
    let sides = Sides {
        ours: folder(arguments.programs.as_deref())?,
        theirs: arguments.against.as_deref().map(|other| folder(Some(other))).transpose()?,
        amounts,
        shared: Shared::default(),
        start: Instant::now(),
    };
    let elsewhere = arguments.programs.as_ref();
    let name = elsewhere.map(|_| arguments.commit.as_deref().unwrap_or("programs from elsewhere"));
    let machine = Machine::look(name);
    let mut measured = Vec::new();
    for part in arguments.parts() {
        measured.push(sides.measure(part, arguments.rounds(part)).await?);
    }
    finish(arguments, &measured, &sides.amounts, &machine)
}

/// What is measured, and beside what.
struct Sides {
    ours: Programs,
    theirs: Option<Programs>,
    amounts: Amounts,
    shared: Shared,
    start: Instant,
}

impl Sides {
    async fn measure(&self, part: Part, rounds: usize) -> anyhow::Result<Measured> {
        let theirs = self.theirs.as_ref().map(|_| Rounds::default());
        let mut measured = Measured { part, ours: Rounds::default(), theirs };
        for round in 0..rounds {
            let mut sides = vec![(&self.ours, &mut measured.ours, "")];
            if let (Some(programs), Some(samples)) = (&self.theirs, &mut measured.theirs) {
                sides.push((programs, samples, ", before"));
            }
            if round % 2 == 1 {
                // Whoever comes second may find a warmer machine.
                sides.reverse();
            }
            for (programs, samples, whose) in sides {
                let (at, name) = (self.start.elapsed().as_secs(), part.name());
                eprint!("[{at:>4} s] {name}, round {} of {rounds}{whose}: … ", round + 1);
                let sample = part.measure(programs, &self.amounts, &self.shared).await?;
                eprintln!("{}", in_a_line(&sample));
                samples.0.push(sample);
            }
        }
        Ok(measured)
    }
}

fn finish(
    arguments: &Arguments,
    measured: &[Measured],
    amounts: &Amounts,
    machine: &Machine,
) -> anyhow::Result<ExitCode> {
    let json = report::json(measured, amounts, machine);
    if arguments.json {
        println!("{json:#}");
    } else {
        print!("{}", report::text(measured, amounts, machine));
    }
    if arguments.record {
        record(&json).context("append to the history")?;
    }
    let fails = arguments.check && !report::all_kept(measured);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Each service's own program, in this folder or in that of this program.
fn folder(named: Option<&Path>) -> anyhow::Result<Programs> {
    let own = std::env::current_exe().context("find this program")?;
    let folder = named.or(own.parent()).context("a program is in a folder")?;
    let folder = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    for program in ["latchkey", "gateway", "otp-worker", "sms-worker"] {
        ensure!(folder.join(program).is_file(), "{} has no {program}", folder.display());
    }
    Ok(Programs::Own(folder))
}

/// The totals of a round, while the others run.
fn in_a_line(sample: &Sample) -> String {
    let totals = ["request", "login", "refresh", "whole"]
        .iter()
        .filter_map(|column| Some(format!("{column} {:.2}", sample.get(CPU, "total", column)?)));
    let totals: Vec<_> = totals.collect();
    if totals.is_empty() { "done".to_owned() } else { totals.join(", ") }
}

fn record(report: &serde_json::Value) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("history.jsonl");
    let mut history = std::fs::File::options().create(true).append(true).open(path)?;
    writeln!(history, "{report}")?;
    Ok(())
}
