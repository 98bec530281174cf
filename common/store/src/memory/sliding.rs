//! What was counted in a sliding span of time.

use std::collections::VecDeque;

/// What was counted, with its time in milliseconds, oldest first.
pub(super) struct Sliding<T = ()>(VecDeque<(i64, T)>);

impl<T> Default for Sliding<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq> Sliding<T> {
    /// The wait in milliseconds until fewer than `most` of the last `span` are left; `None` if fewer are. A limit of 0
    /// is off.
    pub(super) fn wait(&self, span: i64, most: u64, now: i64) -> Option<i64> {
        let young = || self.0.iter().filter(|(at, _)| *at > now - span);
        let count = young().count() as u64;
        if most == 0 || count < most {
            return None;
        }
        let (leaves, _) = young().nth(usize::try_from(count - most).ok()?)?;
        Some(leaves + span - now)
    }

    /// How many of the last `span` there are.
    pub(super) fn count(&self, span: i64, now: i64) -> u64 {
        self.0.iter().filter(|(at, _)| *at > now - span).count() as u64
    }

    /// Counts one, and drops what is older than `span`.
    pub(super) fn add(&mut self, span: i64, one: T, now: i64) {
        self.0.retain(|(at, _)| *at > now - span);
        self.0.push_back((now, one));
    }

    /// Takes back what was counted for this one.
    pub(super) fn remove(&mut self, one: &T) {
        self.0.retain(|(_, counted)| counted != one);
    }

    /// Whether nothing of the last `span` is left.
    pub(super) fn is_over(&self, span: i64, now: i64) -> bool {
        self.0.back().is_none_or(|(at, _)| *at <= now - span)
    }
}
