//! `/console/engines`: the engines, measured now, and what runs on them.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;

use crate::app::App;
use crate::console::ids::short;
use crate::console::page::{Frame, html};
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::staff::engines::{self, EnginesView, Reached, State};
use crate::staff::processes::Process;
use crate::staff::rights::Act;

const PATH: &str = "/console/engines";
/// A clock that is off by more is worth a look: codes live for minutes.
const SKEW_MS: i64 = 1_000;

#[derive(Template)]
#[template(path = "console/engines/list.html")]
struct EnginesPage {
    frame: Frame,
    embedded: bool,
    engines: Vec<Engine>,
    rows: Vec<Row>,
    /// More than one version runs.
    versions: Option<String>,
    as_of: Moment,
}

/// An engine: its name, its state, and what is known of it.
struct Engine {
    name: &'static str,
    state: &'static str,
    class: &'static str,
    latency: Option<String>,
    facts: Vec<(&'static str, String)>,
}

/// A process.
struct Row {
    part: String,
    instance: String,
    version: String,
    since: Moment,
    seen: Moment,
    is_gone: bool,
    skew: String,
    is_skewed: bool,
    does: String,
}

pub(crate) async fn show(Shared(app): Shared<App>, staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let view = engines::read(&app).await?;
    let now = view.as_of;
    let versions = (view.versions.len() > 1).then(|| view.versions.join(", "));
    html(&EnginesPage {
        frame: Frame::new(&staff, PATH, "Engines"),
        embedded: view.embedded,
        engines: engines_of(&view),
        rows: view.processes.iter().map(|process| Row::of(process, now)).collect(),
        versions,
        as_of: Moment::of(now, now),
    })
}

fn engines_of(view: &EnginesView) -> Vec<Engine> {
    let database = &view.database;
    let mut facts = Vec::new();
    facts.extend(database.version.clone().map(|version| ("Version", version)));
    facts.extend(database.pool.as_ref().map(|pool| {
        let words = format!("{} in use, {} open, {} at most", pool.in_use, pool.size, pool.most);
        ("Connections of this gateway", words)
    }));
    let mut engines = vec![Engine::of(database.engine, database.reached, facts)];
    if let Some(store) = &view.store {
        let mut facts = Vec::new();
        facts.extend(store.version.clone().map(|version| ("Version", version)));
        facts.extend(store.used_memory.map(|used| {
            let most = store.max_memory.filter(|most| *most > 0);
            let most =
                most.map_or_else(|| "no limit".to_owned(), |most| format!("of {}", size(most)));
            ("Memory", format!("{}, {most}", size(used)))
        }));
        facts.extend(store.policy.clone().map(|policy| ("When full", policy)));
        facts.extend(store.role.clone().map(|role| ("Role", role)));
        facts.extend(store.replicas.map(|replicas| ("Replicas", replicas.to_string())));
        engines.push(Engine::of("Redis", store.reached, facts));
    }
    if let Some(broker) = view.broker {
        engines.push(Engine::of("RabbitMQ", broker, Vec::new()));
    }
    engines
}

impl Engine {
    fn of(name: &'static str, reached: Reached, facts: Vec<(&'static str, String)>) -> Self {
        let (state, class) = match reached.state {
            State::Up => ("up", "good"),
            State::Away => ("away", "bad"),
            State::Refuses => ("refuses this gateway", "bad"),
        };
        let latency = reached.latency_us.map(|us| format!("{}.{} ms", us / 1000, us % 1000 / 100));
        Self { name, state, class, latency, facts }
    }
}

impl Row {
    fn of(process: &Process, now: domain::timestamp::Timestamp) -> Self {
        let report = &process.report;
        let mut does: Vec<String> = Vec::new();
        if let Some(pool) = &report.pool {
            does.push(format!("{} of {} connections in use", pool.in_use, pool.size));
        }
        for (queue, worker) in &report.queues {
            does.push(format!("{queue}: {} in hand", worker.held));
        }
        for (provider, seen) in report.providers.iter().filter(|(_, seen)| seen.circuit != "closed")
        {
            does.push(format!("the circuit of {provider} is {}", seen.circuit.replace('_', "-")));
        }
        Self {
            part: process.part.clone(),
            instance: short(&process.instance),
            version: process.version.clone(),
            since: Moment::of(process.started_at, now),
            seen: Moment::of(process.seen_at, now),
            is_gone: process.is_gone,
            skew: format!("{:+} ms", process.skew_ms),
            is_skewed: process.skew_ms.abs() > SKEW_MS,
            does: does.join(" · "),
        }
    }
}

/// A number of bytes in its largest unit.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes {
        ..MIB => format!("{} KiB", bytes / 1024),
        MIB..0x4000_0000 => format!("{} MiB", bytes / MIB),
        _ => format!("{}.{} GiB", bytes / 0x4000_0000, bytes % 0x4000_0000 * 10 / 0x4000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_is_told_in_its_largest_unit() {
        for (bytes, told) in [
            (0, "0 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1 MiB"),
            (0x4000_0000, "1.0 GiB"),
            (0x6000_0000, "1.5 GiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }
}
