//! Measures whether response times reveal who has an account (P6). It sends pairs of an unknown and a known phone in
//! random order over one connection and compares them by the Mann-Whitney AUC (0.5: indistinguishable) and by their
//! medians. The bounds are AUC 0.45 to 0.55, and medians at most 1 ms apart. The answers of each pair must be alike too,
//! and so must the events: a measurement of calls that differ anyway would prove nothing.
//!
//! The event stream is timed from the first byte of the code request to the event `sent`: that is all the time that a
//! stranger can see, and the workers' share of it is where an account could show. In silent mode
//! (`LATCHKEY_UNKNOWN_PHONE=silent`) the calls in which unknown phones are treated differently are measured again, on a
//! system of their own: only known phones get a text, and nothing else may differ.
//!
//! `bench/timing` builds and starts it. It measures embedded engines and then three separate services on private,
//! durable engines. With `--url`, it measures a running Latchkey with the settings [`OFF`],
//! `LATCHKEY_OTP_ATTEMPTS=10` and `LATCHKEY_SMS_ROUTES=default=inbox`. Exits with 1 if a figure is out of bounds.

mod calls;
mod figures;
mod measured;
mod stream;

use std::process::ExitCode;

use anyhow::ensure;
use clap::builder::PossibleValuesParser;
use clap::{Parser, ValueEnum};

use bench::ring::{self, Ring};
use testkit::system::{Side, System};

use crate::calls::{CALLS, Call, Mode};
use crate::measured::Measured;

/// In addition to the limits that [`System`] turns off for every test.
const OFF: [(&str, &str); 2] = [("LATCHKEY_OTP_ATTEMPTS", "10"), ("RUST_LOG", "warn")];

/// Measures whether response times reveal who has an account.
#[derive(Parser)]
struct Arguments {
    /// Pairs of each call. Below a thousand, chance alone can exceed the bounds.
    #[arg(long, default_value_t = 2_000)]
    pairs: usize,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "embedded,engines")]
    sides: Vec<Where>,
    /// The URL of a running Latchkey to measure instead of starting one.
    #[arg(long)]
    url: Option<String>,
    /// The calls to measure, all by default. `events` is the event stream of a code request. `silent-…` are made to a
    /// Latchkey in silent mode; with --url they must be named, without others, and it must run in that mode.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(CALLS.map(|call| call.name)))]
    calls: Vec<String>,
    /// Adds this many milliseconds to the response times of known phones: a measurement that does not detect this
    /// difference proves nothing.
    #[arg(long, default_value_t = 0.0)]
    plant_ms: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Embedded,
    Engines,
}

impl Arguments {
    fn wants(&self, call: &Call) -> bool {
        self.calls.is_empty() || self.calls.iter().any(|wanted| wanted == call.name)
    }

    /// The modes that the selected calls need.
    fn modes(&self) -> Vec<Mode> {
        let needed = |mode: &Mode| CALLS.iter().any(|call| call.mode == *mode && self.wants(call));
        Mode::ALL.into_iter().filter(needed).collect()
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    figures::print_head();
    let all_hold = match &arguments.url {
        Some(url) => given(url, &arguments).await?,
        None => started(&arguments).await?,
    };
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures a Latchkey that runs already, in one mode.
async fn given(url: &str, arguments: &Arguments) -> anyhow::Result<bool> {
    let modes = if arguments.calls.is_empty() { vec![Mode::SignUp] } else { arguments.modes() };
    ensure!(modes.len() == 1, "--calls: one Latchkey cannot be in both modes");
    Measured::new("given", url, None, arguments)?.all(modes[0], arguments).await
}

/// Measures systems that it starts, one after another, so that none disturbs another.
async fn started(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut all_hold = true;
    if arguments.sides.contains(&Where::Embedded) {
        for mode in arguments.modes() {
            let system = System::start(Side::Embedded, &settings(mode)).await;
            let url = system.api().url;
            let measured = Measured::new("embedded", &url, Some(&system), arguments)?;
            all_hold &= measured.all(mode, arguments).await?;
            system.stop().await;
        }
    }
    if arguments.sides.contains(&Where::Engines) {
        let engines = ring::engines().await;
        for mode in arguments.modes() {
            let ring = Ring::start(&engines, &settings(mode)).await;
            let url = ring.api().url;
            let measured = Measured::new("real", &url, Some(ring.system()), arguments)?;
            all_hold &= measured.all(mode, arguments).await?;
            ring.stop().await;
        }
    }
    Ok(all_hold)
}

fn settings(mode: Mode) -> [(&'static str, &'static str); 3] {
    let [attempts, logs] = OFF;
    [attempts, logs, mode.setting()]
}
