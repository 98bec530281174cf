//! Which message is handled next. A message that came back unsettled may be the one that took the last process down, so
//! of those only one is in hand at a time: then a crash tells which of them it was.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bus::Incoming;

/// Takes the first that may be started.
pub(super) fn next_to_start(
    waiting: &mut VecDeque<Arc<Incoming>>,
    suspect_runs: bool,
) -> Option<Arc<Incoming>> {
    let index = waiting.iter().position(|message| !(message.suspect && suspect_runs))?;
    waiting.remove(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, suspect: bool) -> Arc<Incoming> {
        let mut message = Incoming::loose("x", id, "");
        message.suspect = suspect;
        Arc::new(message)
    }

    #[test]
    fn p11_suspects_are_handled_one_at_a_time_and_hold_nobody_else_up() {
        let mut waiting: VecDeque<_> =
            [message("s1", true), message("s2", true), message("good", false)].into();
        let mut next =
            |suspect_runs| next_to_start(&mut waiting, suspect_runs).map(|m| m.id.clone());
        assert_eq!(next(false).as_deref(), Some("s1"));
        assert_eq!(next(true).as_deref(), Some("good"));
        assert_eq!(next(true), None);
        assert_eq!(next(false).as_deref(), Some("s2"));
    }
}
