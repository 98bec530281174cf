//! The result of a call, and the results that the ledger does not have yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::ids::AttemptId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};
use ledger::{AttemptState, Finish};

use crate::providers::Outcome;
use crate::routing::routes::RoutedProvider;

/// The result of a call, as the ledger records it.
#[derive(Clone)]
pub(super) struct End {
    state: AttemptState,
    provider_message_id: Option<String>,
    provider_code: Option<String>,
    segments: Option<u32>,
    status: Option<(Status, Option<Reason>)>,
    follow_up_at: Option<Timestamp>,
}

impl End {
    pub(super) fn of(outcome: &Outcome, line: &RoutedProvider, now: Timestamp) -> Self {
        let mut end = Self {
            state: AttemptState::Unknown,
            provider_message_id: None,
            provider_code: None,
            segments: None,
            status: None,
            follow_up_at: None,
        };
        match outcome {
            Outcome::Accepted { provider_message_id, segments } => {
                end.state = AttemptState::Accepted;
                end.provider_message_id.clone_from(provider_message_id);
                end.segments = *segments;
                end.status = Some((Status::Sent, None));
                end.follow_up_at = provider_message_id.as_ref().and_then(|_| {
                    let after = line.provider.asked_after()?;
                    Some(now.plus_ms(i64::try_from(after.as_millis()).ok()?))
                });
            }
            Outcome::Throttled { .. } => end.state = AttemptState::Throttled,
            Outcome::Unavailable(_) => end.state = AttemptState::Unavailable,
            Outcome::Rejected { reason, provider_code } => {
                end.state = AttemptState::Rejected;
                end.provider_code.clone_from(provider_code);
                end.status = Some((Status::Failed, Some(*reason)));
            }
            Outcome::Filtered { reason, provider_code } => {
                end.state = AttemptState::Filtered;
                end.provider_code.clone_from(provider_code);
                end.status = Some((Status::Failed, Some(*reason)));
            }
            Outcome::RejectedUntilOps { provider_code, .. } => {
                end.state = AttemptState::Rejected;
                end.provider_code.clone_from(provider_code);
            }
            Outcome::Unknown(_) => {}
        }
        end
    }

    pub(super) fn finish(&self) -> Finish<'_> {
        Finish {
            state: self.state,
            provider_message_id: self.provider_message_id.as_deref(),
            provider_code: self.provider_code.as_deref(),
            segments: self.segments,
            status: self.status,
            follow_up_at: self.follow_up_at,
        }
    }
}

/// No text is usable for longer, so no job comes back later.
const KEPT_MS: i64 = 60 * 60 * 1000;
/// From this many entries on, abandoned ones are dropped.
const MANY: usize = 1_000;

/// Results that could not be recorded while the ledger was away, and attempts that may be begun there although no call
/// follows. If the job comes back to this process, the outcome is known here and no second text is sent.
#[derive(Default)]
pub struct PendingFinishes(Mutex<HashMap<AttemptId, (End, Timestamp)>>);

impl PendingFinishes {
    pub(super) fn put(&self, attempt: AttemptId, end: End, now: Timestamp) {
        let mut ends = self.ends();
        if ends.len() >= MANY {
            ends.retain(|_, (_, at)| now.ms() - at.ms() < KEPT_MS);
        }
        ends.insert(attempt, (end, now));
    }

    pub(super) fn get(&self, attempt: AttemptId) -> Option<End> {
        self.ends().get(&attempt).map(|(end, _)| end.clone())
    }

    pub(super) fn take(&self, attempt: AttemptId) {
        self.ends().remove(&attempt);
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, (End, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;

    use super::*;
    use crate::providers::Provider;
    use crate::providers::console::Console;

    #[test]
    fn abandoned_results_do_not_fill_the_memory() {
        let clock = Clock::manual();
        let line = RoutedProvider::new(Provider::Console(Console), &clock);
        let end = End::of(&Outcome::Unavailable("x"), &line, clock.now());
        let pending_finishes = PendingFinishes::default();
        for _ in 0..MANY {
            pending_finishes.put(AttemptId::new(&clock), end.clone(), clock.now());
        }
        let young = AttemptId::new(&clock);
        pending_finishes.put(young, end.clone(), clock.now().plus_secs(1));
        assert_eq!(pending_finishes.ends().len(), MANY + 1);
        let last = AttemptId::new(&clock);
        pending_finishes.put(last, end, clock.now().plus_ms(KEPT_MS));
        assert_eq!(pending_finishes.ends().len(), 2);
        assert!(pending_finishes.get(young).is_some() && pending_finishes.get(last).is_some());
    }
}
