//! What is answered to whom.

use serde::{Deserialize, Serialize};

/// What happens to one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Takes the text and says so.
    Take,
    /// Takes the text, and says so only when it is told to ([`crate::Fake::release`]).
    TakeAndHold,
    /// Takes the text and cuts the connection.
    TakeAndCut,
    /// Takes the text and answers with this status.
    TakeAndFail(u16),
    /// Takes nothing: an error of this status and code, with the seconds to wait if any.
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

/// What is done with the calls for the numbers of one prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Script {
    /// One a call, the last again and again.
    pub acts: Vec<Act>,
    /// Before each answer.
    pub delay_ms: u64,
    /// So many calls of a hundred, at random, meet one of `failures` instead.
    pub failing_percent: u64,
    pub failures: Vec<Act>,
    /// States that are posted to the callback of a taken text, in this order.
    pub receipts: Vec<String>,
    /// Each of them twice.
    pub doubled: bool,
    /// In an order of chance.
    pub disordered: bool,
    /// Before the call is answered.
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
    /// These acts, one a call.
    pub fn of(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { acts: acts.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn next(&mut self) -> Act {
        if !self.failures.is_empty() && domain::rng::below(100) < self.failing_percent {
            let at = domain::rng::below(self.failures.len() as u64);
            return self.failures[usize::try_from(at).unwrap_or(0)].clone();
        }
        if self.acts.len() > 1 {
            self.acts.remove(0)
        } else {
            self.acts.first().cloned().unwrap_or(Act::Take)
        }
    }

    /// The states to post, in the order in which they go out.
    pub(crate) fn to_post(&self) -> Vec<String> {
        let times = if self.doubled { 2 } else { 1 };
        let mut states: Vec<String> =
            self.receipts.iter().flat_map(|state| vec![state.clone(); times]).collect();
        if self.disordered {
            for left in (1..states.len()).rev() {
                let at = domain::rng::below(left as u64 + 1);
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
    fn as_many_calls_fail_as_are_to() {
        let mut script =
            Script { failing_percent: 30, failures: vec![Act::Cut], ..Script::default() };
        let failed = (0..2_000).filter(|_| script.next() == Act::Cut).count();
        assert!((450..750).contains(&failed), "{failed}");
    }

    #[test]
    fn doubled_and_disordered_receipts_lose_none() {
        let mut script = Script { doubled: true, disordered: true, ..Script::default() };
        script.receipts = ["queued", "sent", "delivered"].map(str::to_owned).to_vec();
        let mut posted = script.to_post();
        posted.sort();
        assert_eq!(posted, ["delivered", "delivered", "queued", "queued", "sent", "sent"]);
    }
}
