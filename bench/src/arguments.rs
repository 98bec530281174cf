//! The command line, and how much it asks for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::parts::{Amounts, Part};

/// Measures Latchkey on private engines, which it starts and stops, and says of each figure whether its bound is kept.
///
/// Parts: `whole` (CPU time of a sign-in on the engines, and of its bare parts), `embedded` (of `latchkey` alone),
/// `memory` (idle), `rate` (response times at 50 per second), `slow` and `failing` (providers), `limits` (their cost).
/// Progress is on stderr, the report on stdout. Ctrl-C ends everything that was started.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Arguments {
    /// Two minutes for a developer: one round of 1,500 sign-ins, shorter stages, only whole,embedded,memory,rate. Its
    /// figures differ from a full run's by a tenth or more.
    #[arg(long)]
    short: bool,
    /// Code requests, logins and refreshes of a round. [default: 5000; short: 1500]
    #[arg(long, value_name = "N")]
    sign_ins: Option<usize>,
    /// Rounds of `whole` and `embedded`, each with new engines and stores; the median counts. [default: 5; short: 1]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Calls in flight in `whole`, `embedded` and `failing`.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Calls started per second in `rate` and `slow`, regardless of the earlier ones.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// The parts to run. [default: all]
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// The folder of the programs to measure. [default: those built with this one]
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// What the report calls those programs, such as their commit.
    #[arg(long, value_name = "NAME", requires = "programs")]
    pub commit: Option<String>,
    /// The folder of programs to compare with, of an earlier version: rounds alternate, and ratios are shown.
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// Prints JSON instead of Markdown.
    #[arg(long)]
    pub json: bool,
    /// Appends the report as a line of JSON to bench/history.jsonl, which `bench/plot` draws.
    #[arg(long)]
    pub record: bool,
    /// Exits with 1 if a measured bound is missed.
    #[arg(long)]
    pub check: bool,
}

impl Arguments {
    pub fn amounts(&self) -> Amounts {
        let secs = |full, short| Duration::from_secs(if self.short { short } else { full });
        Amounts {
            sign_ins: self.sign_ins.unwrap_or(if self.short { 1_500 } else { 5_000 }),
            at_once: self.at_once,
            rate: self.rate,
            stage: secs(15, 5),
            // Long enough to include five-second timers twice.
            idle: secs(10, 5),
        }
    }

    pub fn parts(&self) -> Vec<Part> {
        use Part::{Embedded, Failing, Limits, Memory, Rate, Slow, Whole};
        match (self.parts.as_slice(), self.short) {
            ([], true) => vec![Whole, Embedded, Memory, Rate],
            ([], false) => vec![Whole, Embedded, Memory, Rate, Slow, Limits, Failing],
            (chosen, _) => chosen.to_vec(),
        }
    }

    pub fn rounds(&self, part: Part) -> usize {
        let rounds = self.rounds.unwrap_or(if self.short { 1 } else { 5 });
        if part.has_rounds() { rounds } else { 1 }
    }
}
