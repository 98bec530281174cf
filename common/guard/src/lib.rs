//! The pumping guard: stops an attacker who makes us send texts to many numbers of one block that never verify.
//!
//! Owns the rule, and its replay over history: counts and time in, a decision out. Must never know an engine, a clock
//! or a code.
//!
//! There are two nets: the operator prefix, and the country as the wider one. Each counts sends and verifications in a
//! sliding window, blocks when too few of its sends convert, and is probed later with a few sends. The rule ([`Rule`],
//! [`Net`], [`judge`]) is pure: counts and time in, decision out. The embedded store and the replay run this code;
//! Redis runs the same steps in `otp/scripts/guard.lua`, and the contract suite checks that both agree.

mod findings;
mod judge;
mod net;
mod replay;
mod rule;
#[cfg(test)]
mod tests;
mod window;

pub use findings::{Conversion, Delta, Finding, Findings, Observation, Taken, Tally};
pub use judge::{Counted, Mark, Nets, Outlook, Verdict, judge};
pub use net::{Change, Kind, Net, NetOutlook, State};
pub use replay::{Replay, Report, Stop};
pub use rule::{Rule, RuleError};

/// The unit in which sends and verifications are counted. Live counts, history and replay share it, so that a replay
/// knows the time of a send as precisely as the live guard did.
pub const MINUTE_MS: i64 = 60_000;

/// Converts a time in milliseconds to whole minutes since the epoch.
#[must_use]
pub const fn minute_of(ms: i64) -> i64 {
    ms.div_euclid(MINUTE_MS)
}

/// The nets that a phone belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination<'a> {
    /// ISO 3166 region of the number.
    pub country: &'a str,
    /// Digits: calling code and the first four after it.
    pub operator_prefix: &'a str,
}
