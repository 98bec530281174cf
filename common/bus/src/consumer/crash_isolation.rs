//! Which message is handled next. A message that came back unsettled is a suspect: it may be the one that took the last
//! process down. Most did not, and what a killed worker held has to reach its end within a minute (P1), so suspects are
//! handled beside each other like any message. Only one whose start as a suspect was not survived either runs alone
//! among its kind: then the next crash tells which of them it was, and is counted against no neighbour (P11).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Delivery;

/// A message in hand that is not begun.
pub(super) struct Waiting {
    pub message: Arc<Delivery>,
    /// It was seen to have a start that was not survived.
    pub alone: bool,
}

impl Waiting {
    pub fn new(message: Delivery) -> Self {
        Self { message: Arc::new(message), alone: false }
    }
}

/// Takes the first that may be started.
pub(super) fn next_to_start(
    waiting: &mut VecDeque<Waiting>,
    one_is_alone: bool,
) -> Option<Waiting> {
    let index = waiting.iter().position(|one| !(one.alone && one_is_alone))?;
    waiting.remove(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_dangerous_ones_are_handled_one_at_a_time_and_hold_nobody_else_up() {
        let one = |id: &str, alone| Waiting { alone, ..Waiting::new(Delivery::loose("x", id, "")) };
        let mut waiting: VecDeque<_> =
            [one("d1", true), one("d2", true), one("good", false)].into();
        let mut next = |one_is_alone| {
            next_to_start(&mut waiting, one_is_alone).map(|one| one.message.id.clone())
        };
        assert_eq!(next(false).as_deref(), Some("d1"));
        assert_eq!(next(true).as_deref(), Some("good"));
        assert_eq!(next(true), None);
        assert_eq!(next(false).as_deref(), Some("d2"));
    }
}
