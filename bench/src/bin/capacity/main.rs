//! What 10 million and 1 billion sign-ins a day need, computed from measured figures: the tables of docs/capacity.md.
//!
//! `bench/capacity` builds and starts it; a test holds the page to what it prints.

mod inputs;
mod model;
mod page;
mod queue;
mod sizes;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use clap::Parser;

use crate::inputs::Inputs;

/// Prints what 10 million and 1 billion sign-ins a day need.
#[derive(Parser)]
struct Arguments {
    /// Measures what a sign-in leaves in the engines and what a queue carries, into bench/sizes.json, and prints nothing:
    /// build it again then.
    #[arg(long)]
    measure: bool,
    /// Users of that measurement, each of whom signs in once.
    #[arg(long, default_value_t = 5_000)]
    users: usize,
    /// Writes the tables into docs/capacity.md.
    #[arg(long, conflicts_with = "measure")]
    renew: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    if arguments.measure {
        ensure!(arguments.users >= 1_000, "fewer than 1,000 users measure pages, not rows");
        let sizes = Box::pin(sizes::measure(arguments.users)).await?;
        let text = serde_json::to_string_pretty(&sizes)? + "\n";
        return fs::write(bench.join("sizes.json"), text).context("write bench/sizes.json");
    }
    let text = page::text(&Inputs::recorded()?);
    print!("{text}");
    if arguments.renew {
        let path = bench.join("../docs/capacity.md");
        let before = fs::read_to_string(&path).context("read docs/capacity.md")?;
        let renewed = page::renewed(&before, &text).context("find the place of the tables")?;
        fs::write(&path, renewed).context("write docs/capacity.md")?;
    }
    Ok(())
}
