//! Simulates how KEDA scales the sms-workers: the rule of the `HorizontalPodAutoscaler` with the settings of our `ScaledObject`,
//! over a load that rises tenfold in a minute, with workers as fast as `bench/scaling` measured them.
//!
//! `bench/scaler` builds and starts it; `bench/README.md` has its tables, `docs/kubernetes.md` what follows from them.

mod rule;
mod shipped;
mod simulation;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bench::recorded::slow_worker_rate;
use bench::svg::{self, Line, Panel};
use bench::table::{self, number};
use clap::Parser;

use crate::rule::{Policy, Settings};
use crate::simulation::{CLUSTER, Cluster, LATE_SECS, Outcome, Scenario, simulate};
use crate::workers::Worker;

/// What is compared: a name and its triggers.
type Candidate = (&'static str, Settings);

/// Simulates the scaling of the sms-workers. The tables are Markdown on stdout; the picture is bench/scaler.svg.
#[derive(Parser)]
struct Arguments {
    /// Texts a second before the rush.
    #[arg(long, default_value_t = 100.0)]
    load: f64,
    /// A load of your own instead: a file of lines `SECONDS TEXTS_A_SECOND`, joined by straight lines.
    #[arg(long, value_name = "FILE", conflicts_with = "load")]
    recorded: Option<PathBuf>,
    /// Seconds from the decision until a new pod is ready.
    #[arg(long, default_value_t = CLUSTER.pod_start_secs)]
    pod_start_secs: f64,
    /// Texts a second of one warm worker. [default: as bench/scaling.jsonl has it]
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds that the provider takes for a call.
    #[arg(long, default_value_t = 0.5)]
    call_secs: f64,
    /// Draws bench/scaler.svg.
    #[arg(long)]
    draw: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rate = match arguments.rate {
        Some(rate) => rate,
        None => slow_worker_rate().context("find the measured rate of a worker")?,
    };
    let worker = Worker {
        rate,
        call_secs: arguments.call_secs,
        first_calls: shipped::FIRST_CALLS,
        prefetch: shipped::PREFETCH,
    };
    let cluster = Cluster { pod_start_secs: arguments.pod_start_secs, ..CLUSTER };
    let scenarios = scenarios(&arguments)?;
    println!(
        "A warm worker: {rate:.0} texts a second, {} s a call. A pod starts in {} s. Late: after {LATE_SECS} s.\n",
        worker.call_secs, cluster.pod_start_secs
    );
    for (name, scenario) in &scenarios {
        println!("{name}\n\n{}", compared(scenario, worker, cluster));
    }
    if arguments.draw {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("scaler.svg");
        let (_, scenario) = scenarios.first().context("there is a scenario")?;
        let drawn = drawn(scenario, worker, cluster);
        fs::write(&target, drawn).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}

fn scenarios(arguments: &Arguments) -> anyhow::Result<Vec<(String, Scenario)>> {
    if let Some(path) = &arguments.recorded {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        return Ok(vec![(path.display().to_string(), recorded(&text)?)]);
    }
    let load = arguments.load;
    let rush = Scenario::rush(load);
    let circuit = Scenario { circuit_open: Some((600.0, 720.0)), ..Scenario::steady(load * 1.5) };
    Ok(vec![
        (format!("{load} a second, ten times as many within a minute, for half an hour"), rush),
        (format!("{} a second all the time", load * 5.0), Scenario::steady(load * 5.0)),
        (format!("{} a second, every circuit open for two minutes", load * 1.5), circuit),
    ])
}

fn recorded(text: &str) -> anyhow::Result<Scenario> {
    let point = |line: &str| -> anyhow::Result<(f64, f64)> {
        let (secs, rate) = line.trim().split_once(' ').context("SECONDS TEXTS_A_SECOND")?;
        Ok((secs.parse()?, rate.trim().parse()?))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let load = lines.map(|line| point(line).with_context(|| format!("read {line:?}")));
    let load = load.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(load.windows(2).all(|pair| pair[0].0 < pair[1].0), "the seconds must grow");
    Ok(Scenario { load, circuit_open: None })
}

/// From each signal alone to what is shipped. The third is what was shipped until it was simulated.
fn candidates() -> [Candidate; 5] {
    let shipped = shipped::settings();
    let doubled = Policy { value: 100.0, ..shipped.up };
    let none = Settings { oldest_secs: None, length: None, in_hand: None, ..shipped.clone() };
    let slowly = Settings { up: doubled, ..none };
    let (oldest_secs, length, in_hand) = (shipped.oldest_secs, shipped.length, shipped.in_hand);
    [
        ("age", Settings { oldest_secs, ..slowly.clone() }),
        ("queue", Settings { length, ..slowly.clone() }),
        ("age and queue", Settings { oldest_secs, length, ..slowly.clone() }),
        ("age, queue, in hand", Settings { oldest_secs, length, in_hand, ..slowly }),
        ("the same, faster up", shipped),
    ]
}

fn compared(scenario: &Scenario, worker: Worker, cluster: Cluster) -> String {
    let head = [
        "signal",
        "pods at most",
        "changes of direction",
        "oldest, s",
        "late texts",
        "of all, %",
        "seconds with a late text",
        "pod hours",
    ];
    let row = |(name, settings): &Candidate| {
        let outcome = simulate(scenario, worker, cluster, settings);
        let share = outcome.late / outcome.done * 100.0;
        vec![
            (*name).to_owned(),
            outcome.most_pods().to_string(),
            outcome.turns(0.0, f64::INFINITY).to_string(),
            number(Some(outcome.oldest_secs()), 1),
            number(Some(outcome.late), 0),
            number(Some(share), 2),
            outcome.late_secs.to_string(),
            number(Some(outcome.pod_hours()), 1),
        ]
    };
    let rows: Vec<_> = candidates().iter().map(row).collect();
    table::markdown(&head.map(str::to_owned), &rows)
}

/// Pods and the age of the oldest text over time.
fn drawn(scenario: &Scenario, worker: Worker, cluster: Cluster) -> String {
    /// A point for so many seconds.
    const EVERY: usize = 10;
    let all = candidates().map(|(name, settings)| {
        let Outcome { moments, .. } = simulate(scenario, worker, cluster, &settings);
        (name, moments.into_iter().step_by(EVERY).collect::<Vec<_>>())
    });
    let panel = |title: &str, of: &dyn Fn(&simulation::Moment) -> f64| Panel {
        title: title.to_owned(),
        bound: None,
        lines: all
            .iter()
            .map(|(name, moments)| Line {
                name: (*name).to_owned(),
                values: moments.iter().map(|moment| Some(of(moment))).collect(),
            })
            .collect(),
    };
    let mut panels = vec![
        panel("Pods", &|moment| f64::from(moment.pods)),
        panel("Seconds that the oldest text waits", &|moment| moment.oldest_secs),
        panel("Texts a second", &|moment| moment.load),
    ];
    // The load is the same for all.
    panels[2].lines.truncate(1);
    "load".clone_into(&mut panels[2].lines[0].name);
    let name = |moment: &simulation::Moment| match moment.secs % 300.0 {
        0.0 => format!("{:.0} min", moment.secs / 60.0),
        _ => String::new(),
    };
    let names: Vec<_> = all[0].1.iter().map(name).collect();
    svg::draw(&names, &panels)
}
