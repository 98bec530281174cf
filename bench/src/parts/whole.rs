//! Whole sign-ins on engines of their own, which nothing has filled or analysed, and the bare parts on the same engines.

use super::{Amounts, bare, start};
use crate::sample::{BARE, CPU, Sample};
use crate::stages;
use bench::load::Pace;
use bench::ring;
use testkit::process::Programs;

pub async fn measure(programs: &Programs, amounts: &Amounts) -> anyhow::Result<Sample> {
    let engines = ring::engines().await;
    let (provider, ring) = start(programs, &engines).await?;
    let pace = Pace::AtOnce(amounts.at_once);
    let stages = stages::run_all(&ring, &provider, amounts.sign_ins, pace).await;
    ring.stop().await;
    let mut sample = Sample::default();
    stages.put(amounts.sign_ins, &mut sample);

    let sum = bare::measure(&engines, &provider, amounts, &mut sample).await?;
    let whole = sample.get(CPU, "total", "whole").expect("the stages put it");
    sample.put(BARE, "whole sign-in", "a sign-in", whole);
    sample.put(BARE, "whole sign-in", "times the bare parts", whole / sum);
    Ok(sample)
}
