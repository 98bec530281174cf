//! Selects the next message to handle. A message that was redelivered unsettled is a suspect: it may have crashed the
//! last process. Most did not, and the messages of a killed worker must be finished within a minute (P1), so suspects
//! run in parallel like any message. Only one whose start as a suspect did not end either runs alone among its kind:
//! the next crash then identifies the message and is not counted against a neighbour (P11).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Delivery;

/// A message in hand that is not started.
pub(super) struct Waiting {
    pub message: Arc<Delivery>,
    /// An earlier start of it did not end.
    pub alone: bool,
}

impl Waiting {
    pub fn new(message: Delivery) -> Self {
        Self { message: Arc::new(message), alone: false }
    }
}

/// Takes the first message that may start.
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
    fn p11_dangerous_messages_run_one_at_a_time_and_do_not_block_others() {
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
