//! How a call ended, and the ends that the ledger does not have yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use common::db::ledger::{AttemptState, Finish};
use common::ids::AttemptId;
use common::timestamp::Timestamp;
use common::vocabulary::{Reason, Status};

use crate::provider::Outcome;
use crate::route::Line;

/// How a call ended, in the ledger's words.
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
    pub(super) fn of(outcome: &Outcome, line: &Line, now: Timestamp) -> Self {
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

/// Ends of calls that could not be written down while the ledger was away, by attempt. Should the job come back to this
/// process, it knows better than "in doubt", and nobody is texted twice.
#[derive(Default)]
pub struct Unwritten(Mutex<HashMap<AttemptId, End>>);

impl Unwritten {
    pub(super) fn put(&self, attempt: AttemptId, end: End) {
        self.ends().insert(attempt, end);
    }

    pub(super) fn get(&self, attempt: AttemptId) -> Option<End> {
        self.ends().get(&attempt).cloned()
    }

    pub(super) fn take(&self, attempt: AttemptId) {
        self.ends().remove(&attempt);
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
