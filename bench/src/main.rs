//! Measures what a sign-in costs: private engines, three separate services, a load over HTTP, and a report. `bench/run`
//! builds everything and starts this program; `bench/README.md` has the figures and explains them.

mod cost;
mod delivery;
mod limits;
mod load;
mod steps;
mod whole;

use clap::Parser;

use crate::load::Pace;
use bench::ring::Ring;

/// Measures Latchkey on private engines, which it starts and stops.
#[derive(Parser)]
struct Arguments {
    /// The number of complete sign-ins: code request, message, login.
    #[arg(long, default_value_t = 2_000)]
    sign_ins: usize,
    /// Sign-ins started per second, regardless of the earlier ones.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Sign-ins or calls that run concurrently in the second half of `whole` and `steps`.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// The number of logins, refreshes and code requests of each kind in the parts that measure a single call.
    #[arg(long, default_value_t = 1_000)]
    calls: usize,
    /// The parts to run.
    #[arg(long, value_delimiter = ',', default_value = "whole,steps,delivery,limits")]
    parts: Vec<String>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    let wants = |part: &str| arguments.parts.iter().any(|wanted| wanted == part);
    let paces = [Pace::ASecond(arguments.rate), Pace::AtOnce(arguments.at_once)];
    // Durable as in production: every figure includes fsync.
    let engines = bench::ring::engines().await;
    if wants("whole") {
        let ring = Ring::start(&engines, &[]).await;
        whole::report(&ring, arguments.sign_ins, &paces).await;
        ring.stop().await;
    }
    if wants("steps") {
        let ring = Ring::start(&engines, &[]).await;
        steps::report(&ring, arguments.calls, &paces).await;
        ring.stop().await;
    }
    if wants("delivery") {
        delivery::report(&engines, arguments.calls, arguments.rate).await?;
    }
    if wants("limits") {
        limits::report(&engines, arguments.calls).await;
    }
    Ok(())
}
