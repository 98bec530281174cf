//! The three stages at a fixed rate, far from saturation: what a lone call takes. Calls hardly overlap there, so nothing
//! may wait for company.

use super::{Amounts, start};
use crate::sample::{Sample, TIMES};
use crate::stages;
use bench::load::Pace;
use bench::ring::Servers;
use testkit::process::Programs;

pub async fn measure(
    programs: &Programs,
    amounts: &Amounts,
    engines: &Servers,
) -> anyhow::Result<Sample> {
    let (provider, ring) = start(programs, engines).await?;
    let count = amounts.calls_of_a_stage();
    let stages = stages::run_all(&ring, &provider, count, Pace::ASecond(amounts.rate)).await;
    ring.stop().await;
    let mut sample = Sample::default();
    stages.put(count, &mut sample);
    for column in ["p50", "p99"] {
        let answers = ["request", "login", "refresh"].into_iter();
        let slowest = answers.filter_map(|answer| sample.get(TIMES, answer, column));
        let slowest = slowest.fold(0.0, f64::max);
        sample.put(TIMES, "slowest answer", column, slowest);
    }
    Ok(sample)
}

impl Amounts {
    /// How many calls a stage has at the fixed rate.
    pub fn calls_of_a_stage(&self) -> usize {
        usize::try_from(u64::from(self.rate) * self.stage.as_secs()).expect("a stage is short")
    }
}
