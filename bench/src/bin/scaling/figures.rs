//! What a drain costs and how fast it is; recorded, as a table, and drawn.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bench::machine::Machine;
use bench::svg::{self, Line, Panel};
use bench::table::{self, number};
use serde_json::{Map, Value, json};

use crate::drain::{Spent, Steady};

/// Above this share of all cores, they are the limit.
const BUSY: f64 = 0.9;

pub struct Figures(Map<String, Value>);

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
    pub fn of(
        kind: &str,
        workers: usize,
        jobs: usize,
        secs: f64,
        spent: &Spent,
        steady: &Steady,
    ) -> Self {
        let per_thousand = |cpu: f64| short(cpu * 1_000.0 / jobs as f64);
        let cpu: Map<_, _> = spent
            .iter()
            .map(|(name, cpu)| ((*name).to_owned(), json!(per_thousand(*cpu))))
            .collect();
        let figures = json!({
            "kind": kind, "workers": workers, "jobs": jobs, "provider_ms": 0, "secs": short(secs),
            "rate": short(steady.rate), "cores_busy": short(steady.cores_busy),
            "workers_busy": short(steady.workers_busy), "cpu": cpu,
        });
        let Value::Object(figures) = figures else { unreachable!("an object was written") };
        Self(figures)
    }

    pub fn of_provider(mut self, delay: Duration) -> Self {
        self.0.insert("provider_ms".to_owned(), json!(delay.as_millis()));
        self
    }

    pub fn on(mut self, machine: &Machine) -> Self {
        let Machine { date, commit, profile, cores, model, .. } = machine;
        let about = json!({ "date": date, "commit": commit, "profile": profile, "cores": cores, "model": model });
        let Value::Object(about) = about else { unreachable!("an object was written") };
        self.0.extend(about);
        self
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(f64::NAN)
    }

    fn cpu(&self, name: &str) -> f64 {
        self.0["cpu"][name].as_f64().unwrap_or(f64::NAN)
    }

    /// What it was measured of: another run of the same takes its place.
    fn key(&self) -> (String, u64, u64) {
        let whole = |name: &str| self.0[name].as_u64().unwrap_or_default();
        (self.text("kind").to_owned(), whole("provider_ms"), whole("workers"))
    }

    /// What a worker waits for.
    fn limit(&self) -> &'static str {
        match () {
            () if self.number("cores_busy") >= BUSY * self.number("cores") => "cores",
            () if self.number("workers_busy") >= BUSY * self.number("workers") => {
                "the workers' own thread"
            }
            () if self.number("provider_ms") > 0.0 => "the provider",
            () => "the engines' answers",
        }
    }
}

/// As they are recorded, one in a line; none if there is no file yet.
pub fn read(path: &Path) -> anyhow::Result<Vec<Figures>> {
    let text = if path.exists() {
        fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
    } else {
        String::new()
    };
    let lines = text.lines().map(serde_json::from_str::<Map<String, Value>>);
    let figures = lines.collect::<Result<Vec<_>, _>>().context("read a recorded figure")?;
    Ok(figures.into_iter().map(Figures).collect())
}

pub fn write(path: &Path, all: &[Figures]) -> anyhow::Result<()> {
    let lines: Vec<String> = all.iter().map(|one| json!(one.0).to_string()).collect();
    fs::write(path, lines.join("\n") + "\n").with_context(|| format!("write {}", path.display()))
}

/// What is measured takes the place of what was recorded of the same.
pub fn renewed(recorded: Vec<Figures>, measured: Vec<Figures>) -> Vec<Figures> {
    let keys: Vec<_> = measured.iter().map(Figures::key).collect();
    let kept = recorded.into_iter().filter(|one| !keys.contains(&one.key()));
    let mut all: Vec<_> = kept.chain(measured).collect();
    all.sort_by_key(Figures::key);
    all
}

pub fn table(all: &[Figures]) -> String {
    let head = [
        "workers",
        "provider, ms",
        "jobs",
        "drained in s",
        "jobs a second",
        "times one worker",
        "workers'",
        "RabbitMQ",
        "Redis",
        "PostgreSQL",
        "provider",
        "cores busy",
        "limit",
    ];
    let rows: Vec<_> = all.iter().map(|one| row(one, all)).collect();
    table::markdown(&head.map(str::to_owned), &rows)
}

fn row(one: &Figures, all: &[Figures]) -> Vec<String> {
    let (kind, provider, workers) = one.key();
    let alone = all.iter().find(|other| other.key() == (kind.clone(), provider, 1));
    let times = alone.map(|alone| one.number("rate") / alone.number("rate"));
    let mut row = vec![
        format!("{workers} × {kind}"),
        provider.to_string(),
        number(Some(one.number("jobs")), 0),
        number(Some(one.number("secs")), 1),
        number(Some(one.number("rate")), 0),
        number(times, 2),
    ];
    let processes = ["workers", "RabbitMQ", "Redis", "PostgreSQL", "provider"];
    row.extend(processes.map(|process| number(Some(one.cpu(process)), 3)));
    let (busy, cores) = (one.number("cores_busy"), one.number("cores"));
    row.push(format!("{busy:.2} of {cores:.0}"));
    row.push(one.limit().to_owned());
    row
}

/// Jobs a second over the number of workers, and what a job costs.
pub fn draw(all: &[Figures], target: &Path) -> anyhow::Result<()> {
    let mut counts: Vec<u64> = all.iter().map(|one| one.key().2).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut lines: Vec<(String, u64)> = all.iter().map(|one| (one.key().0, one.key().1)).collect();
    lines.dedup();
    let line = |(kind, provider): &(String, u64), figure: &dyn Fn(&Figures) -> f64| Line {
        name: format!("{kind}, {provider} ms"),
        values: counts
            .iter()
            .map(|count| {
                let is_it = |one: &&Figures| one.key() == (kind.clone(), *provider, *count);
                all.iter().find(is_it).map(figure)
            })
            .collect(),
    };
    let total = |one: &Figures| {
        ["workers", "RabbitMQ", "Redis", "PostgreSQL"].map(|name| one.cpu(name)).iter().sum()
    };
    let panel = |title: &str, figure: &dyn Fn(&Figures) -> f64| Panel {
        title: title.to_owned(),
        bound: None,
        lines: lines.iter().map(|which| line(which, figure)).collect(),
    };
    let times = |one: &Figures| {
        let (kind, provider, _) = one.key();
        let alone = all.iter().find(|other| other.key() == (kind.clone(), provider, 1));
        one.number("rate") / alone.map_or(f64::NAN, |alone| alone.number("rate"))
    };
    let panels = [
        panel("Jobs a second, times those of one worker", &times),
        panel("Jobs a second, by the time that the provider takes", &|one| one.number("rate")),
        panel("CPU seconds per 1,000 jobs, engines counted in", &total),
    ];
    let names: Vec<_> = counts.iter().map(|count| format!("{count} workers")).collect();
    let drawn = svg::draw(&names, &panels);
    fs::write(target, drawn).with_context(|| format!("write {}", target.display()))
}

/// Three decimals: more are noise.
fn short(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
