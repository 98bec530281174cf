//! What the processes take when nothing happens, by `/proc/PID/smaps_rollup`.

use anyhow::Context as _;

use super::{Amounts, start};
use crate::cost::Look;
use crate::sample::{MEMORY, Sample};
use crate::stages;
use bench::ring::Servers;
use testkit::process::Programs;

pub async fn measure(
    programs: &Programs,
    amounts: &Amounts,
    engines: &Servers,
) -> anyhow::Result<Sample> {
    let (provider, ring) = start(programs, engines).await?;
    stages::warm_up(&ring.api(), &provider).await;
    let before = Look::at(&ring);
    tokio::time::sleep(amounts.idle).await;
    let spent = before.until(&Look::at(&ring));

    let mut sample = Sample::default();
    let mut worker = 0.0_f64;
    for (name, server) in ring.ours() {
        let path = format!("/proc/{}/smaps_rollup", server.pid());
        let rollup = std::fs::read_to_string(path).context("read the memory of a process")?;
        for (column, fields) in [
            ("RSS, MB", &["Rss"][..]),
            ("Pss, MB", &["Pss"]),
            ("private, MB", &["Private_Clean", "Private_Dirty"]),
        ] {
            let mb = fields.iter().map(|field| megabytes(&rollup, field)).sum();
            sample.put(MEMORY, name, column, mb);
            if name != "gateway" && column == "RSS, MB" {
                worker = worker.max(mb);
            }
        }
    }
    sample.put(MEMORY, "larger worker", "RSS, MB", worker);
    for (name, secs) in &spent.0 {
        sample.put(MEMORY, name, "CPU, ms a second", secs * 1_000.0 / amounts.idle.as_secs_f64());
    }
    ring.stop().await;
    Ok(sample)
}

/// Reads a field in MB (10^6 bytes); the kernel writes KiB.
fn megabytes(rollup: &str, field: &str) -> f64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1_024.0 / 1e6
}
