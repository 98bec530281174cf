//! The pumping guard: stops an attacker who makes us send texts to many numbers of one block, none of which verifies.
//!
//! Two nets: the operator prefix, and the country as the wider one. Each counts sends and verifications in a sliding
//! window, shuts when too few of its sends convert, and is probed after a while by a few sends. The rule ([`Rule`],
//! [`Net`], [`judge`]) is pure: counts and time in, decision out. The embedded store and the replay run it as it
//! stands here; in Redis the same steps are `otp/scripts/guard.lua`, held to this one by the contract suite.

mod findings;
mod judge;
mod net;
mod replay;
mod rule;
#[cfg(test)]
mod tests;
mod window;

pub use findings::{Conversion, Delta, Finding, Findings, Observation, Taken, Tally};
pub use judge::{Counted, Mark, Nets, Verdict, judge};
pub use net::{Change, Kind, Net, State};
pub use replay::{Replay, Report, Stop};
pub use rule::{Rule, RuleError};

/// The unit in which sends and verifications are counted. Live counts, history and replay share it, so that a replay
/// knows as much of the time of a send as the live guard did.
pub const MINUTE_MS: i64 = 60_000;

/// The whole minutes since the epoch at a time in milliseconds.
#[must_use]
pub const fn minute_of(ms: i64) -> i64 {
    ms.div_euclid(MINUTE_MS)
}

/// The nets that a phone falls into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination<'a> {
    /// ISO 3166 region of the number.
    pub country: &'a str,
    /// Digits: calling code and the first four after it.
    pub operator_prefix: &'a str,
}
