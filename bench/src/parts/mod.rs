//! The parts of a report. Each is one function that measures one round on the programs of one folder.

mod bare;
mod embedded;
mod failing;
mod limits;
mod memory;
mod rate;
mod slow;
mod whole;

use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::OnceCell;

use crate::sample::Sample;
use bench::provider::Provider;
use bench::ring::{Ring, Servers};
use testkit::process::Programs;

/// Starts a system of these programs on the engines, with limits off, and the provider that it sends by.
async fn start<'a>(
    programs: &Programs,
    engines: &'a Servers,
) -> anyhow::Result<(Provider, Ring<'a>)> {
    let provider = Provider::start().await?;
    let ring = Ring::start_of(programs, engines, &provider.settings()).await;
    Ok((provider, ring))
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Whole,
    Embedded,
    Memory,
    Rate,
    Slow,
    Failing,
    Limits,
}

/// How much is measured.
pub struct Amounts {
    /// Code requests, logins and refreshes of each stage.
    pub sign_ins: usize,
    /// Calls that run at any time where as many as possible are made.
    pub at_once: usize,
    /// Calls started per second where the pace is fixed.
    pub rate: u32,
    /// How long each stage lasts at that rate.
    pub stage: Duration,
    /// How long the processes are left alone to see what they take.
    pub idle: Duration,
}

/// Engines for the parts that need no new ones: each round has its own database, Redis database and vhost. They start
/// on first use.
#[derive(Default)]
pub struct Shared(OnceCell<Servers>);

impl Shared {
    async fn engines(&self) -> &Servers {
        self.0.get_or_init(bench::ring::engines).await
    }
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Embedded => "embedded",
            Self::Memory => "memory",
            Self::Rate => "rate",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Limits => "limits",
        }
    }

    /// What the report says above the tables.
    pub fn title(self, amounts: &Amounts) -> String {
        let Amounts { sign_ins, at_once, rate, .. } = amounts;
        match self {
            Self::Whole => format!(
                "Whole sign-ins: {sign_ins} requests with their texts, then their logins, then refreshes, {at_once} at once"
            ),
            Self::Embedded => format!(
                "Embedded: the same on `latchkey` alone (SQLite and memory), {sign_ins} of each, {at_once} at once"
            ),
            Self::Memory => "Idle".to_owned(),
            Self::Rate => format!("A fixed rate: the three stages with {rate} started per second"),
            Self::Slow => format!(
                "A slow provider: {rate} logins per second beside {rate} code requests per second"
            ),
            Self::Failing => format!(
                "A failing provider: {} requests, {at_once} at once; it answers after {} ms, and 30 of 100 calls with 500",
                failing::REQUESTS,
                failing::DELAY.as_millis(),
            ),
            Self::Limits => {
                format!("Limits: {} code requests with all limits off and on", limits::REQUESTS)
            }
        }
    }

    /// Whether it is repeated: the figures that are judged by a median.
    pub fn has_rounds(self) -> bool {
        matches!(self, Self::Whole | Self::Embedded)
    }

    /// Measures one round.
    pub async fn measure(
        self,
        programs: &Programs,
        amounts: &Amounts,
        shared: &Shared,
    ) -> anyhow::Result<Sample> {
        match self {
            Self::Whole => Box::pin(whole::measure(programs, amounts)).await,
            Self::Embedded => embedded::measure(programs, amounts).await,
            Self::Memory => memory::measure(programs, amounts, shared.engines().await).await,
            Self::Rate => rate::measure(programs, amounts, shared.engines().await).await,
            Self::Slow => slow::measure(programs, amounts, shared.engines().await).await,
            Self::Failing => failing::measure(programs, amounts, shared.engines().await).await,
            Self::Limits => limits::measure(programs, shared.engines().await).await,
        }
    }
}
