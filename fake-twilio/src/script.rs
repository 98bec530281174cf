//! The answers for each number.

use serde::{Deserialize, Serialize};

/// What happens to one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Takes the text and confirms it.
    Take,
    /// Takes the text, and confirms it only when released ([`crate::Fake::release`]).
    TakeAndHold,
    /// Takes the text and cuts the connection.
    TakeAndCut,
    /// Takes the text and answers with this status.
    TakeAndFail(u16),
    /// Takes nothing: an error with this status and code, and the seconds to wait, if any.
    Refuse { status: u16, code: u32, retry_after: Option<u32> },
    /// Takes nothing and cuts the connection.
    Cut,
    /// Takes nothing and never answers.
    Hang,
}

impl Act {
    pub(crate) const fn takes(&self) -> bool {
        matches!(self, Self::Take | Self::TakeAndHold | Self::TakeAndCut | Self::TakeAndFail(_))
    }
}

/// The behaviour for the numbers of one prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Script {
    /// One per call; the last repeats.
    pub acts: Vec<Act>,
    /// The delay before each answer.
    pub delay_ms: u64,
    /// This percentage of calls, at random, gets one of `failures` instead.
    pub failing_percent: u64,
    pub failures: Vec<Act>,
    /// The states posted to the callback of a taken text, in this order.
    pub receipts: Vec<String>,
    /// Posts each receipt twice.
    pub doubled: bool,
    /// Shuffles the receipts.
    pub disordered: bool,
    /// Posts the receipts before the call is answered.
    pub early: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            acts: vec![Act::Take],
            delay_ms: 0,
            failing_percent: 0,
            failures: Vec::new(),
            receipts: Vec::new(),
            doubled: false,
            disordered: false,
            early: false,
        }
    }
}

impl Script {
    /// Builds a script of these acts, one per call.
    pub fn of(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { acts: acts.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn next(&mut self) -> Act {
        if !self.failures.is_empty() && domain::rng::spread_below(100) < self.failing_percent {
            let at = domain::rng::spread_below(self.failures.len() as u64);
            return self.failures[usize::try_from(at).unwrap_or(0)].clone();
        }
        if self.acts.len() > 1 {
            self.acts.remove(0)
        } else {
            self.acts.first().cloned().unwrap_or(Act::Take)
        }
    }

    /// Returns the states in the order in which they are posted.
    pub(crate) fn to_post(&self) -> Vec<String> {
        let times = if self.doubled { 2 } else { 1 };
        let mut states: Vec<String> =
            self.receipts.iter().flat_map(|state| vec![state.clone(); times]).collect();
        if self.disordered {
            for left in (1..states.len()).rev() {
                let at = domain::rng::spread_below(left as u64 + 1);
                states.swap(left, usize::try_from(at).unwrap_or(0));
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_come_in_order_and_the_last_repeats() {
        let mut script = Script::of([Act::Cut, Act::Take]);
        assert_eq!([script.next(), script.next(), script.next()], [Act::Cut, Act::Take, Act::Take]);
    }

    #[test]
    fn the_scripted_share_of_calls_fails() {
        let mut script =
            Script { failing_percent: 30, failures: vec![Act::Cut], ..Script::default() };
        let failed = (0..2_000).filter(|_| script.next() == Act::Cut).count();
        assert!((450..750).contains(&failed), "{failed}");
    }

    #[test]
    fn duplicated_and_shuffled_receipts_are_all_posted() {
        let mut script = Script { doubled: true, disordered: true, ..Script::default() };
        script.receipts = ["queued", "sent", "delivered"].map(str::to_owned).to_vec();
        let mut posted = script.to_post();
        posted.sort();
        assert_eq!(posted, ["delivered", "delivered", "queued", "queued", "sent", "sent"]);
    }
}
