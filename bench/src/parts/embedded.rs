//! The embedded default: `latchkey` alone, the same three stages.

use super::Amounts;
use crate::sample::Sample;
use crate::stages;
use bench::load::Pace;
use bench::provider::Provider;
use bench::ring::Ring;
use testkit::process::Programs;

pub async fn measure(programs: &Programs, amounts: &Amounts) -> anyhow::Result<Sample> {
    let provider = Provider::start().await?;
    let ring = Ring::embedded(programs, &provider.settings()).await;
    let pace = Pace::AtOnce(amounts.at_once);
    let stages = stages::run_all(&ring, &provider, amounts.sign_ins, pace).await;
    ring.stop().await;
    let mut sample = Sample::default();
    stages.put(amounts.sign_ins, &mut sample);
    Ok(sample)
}
