//! The status of each request.

use crate::watchers::Watch;
use crate::{Engine, Statuses};
use domain::engine_error::EngineError;
use domain::ids::RequestId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};

impl Statuses {
    /// [`Statuses::raise_many`] of one request.
    pub async fn advance(
        &self,
        request_id: RequestId,
        status: Status,
        reason: Option<Reason>,
        expires_at: Timestamp,
    ) -> Result<bool, EngineError> {
        let raise = Raise { request_id, status, reason, expires_at };
        Ok(self.raise_many(&[raise]).await? == [true])
    }

    /// Wakes when a request's status may have changed. One connection serves all waiters in this process; it is opened
    /// for the first of them.
    pub fn watch(&self, request: RequestId) -> Watch {
        let watch = self.0.watchers.watch(request);
        if let Engine::Redis(redis) = &*self.0.engine {
            redis.subscribe(&self.0.watchers);
        }
        watch
    }

    /// Looks at up to `most` requests that are past their expiry, closes those without an end state, and returns them.
    pub async fn sweep(&self, most: u32) -> Result<Sweep, EngineError> {
        match &*self.0.engine {
            Engine::Redis(redis) => redis.sweep(most).await,
            Engine::Memory(memory) => Ok(memory.sweep(most, &self.0.guard.rule)),
        }
    }
}

operations! { Statuses {
    /// Advances each request's status in one act, one after the other, or creates its record if the store lost it
    /// (contract, ruling 30). A lower or equal rank changes nothing; among end states of one rank, the better one stays
    /// ([`Status::order`]). So a repetition is harmless, and so is any order. Returns for each whether the status changed.
    fn raise_many(raises: &[Raise]) -> Vec<bool> => raise_many;

    /// The status of a request.
    fn get(request: RequestId) -> Option<RequestStatus> => status;

    /// Whether a message for this request is still wanted: its code has not been used since (contract, ruling 31).
    fn is_wanted(request: RequestId) -> bool => is_wanted;
} }

/// What an event says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    pub request_id: RequestId,
    pub status: Status,
    pub reason: Option<Reason>,
    /// When the request expires, for a record that was lost.
    pub expires_at: Timestamp,
}

/// A request's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStatus {
    pub status: Status,
    pub reason: Option<Reason>,
    pub updated_at: Timestamp,
    pub expires_at: Timestamp,
    pub channel: Channel,
    /// The store's time at the read. The expiry is by its clock, which may differ from ours.
    pub now: Timestamp,
}

impl RequestStatus {
    /// The status to show: past its expiry, a request without an end state is expired, whether or not the sweep has
    /// run.
    #[must_use]
    pub fn shown(mut self) -> Self {
        if self.now >= self.expires_at && !self.status.is_end() {
            self.status = Status::Expired;
            self.reason = None;
            self.updated_at = self.expires_at;
        }
        self
    }
}

/// The result of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// How many requests it looked at, including finished ones. If this equals the limit, there may be more.
    pub looked_at: usize,
    pub closed: Vec<Swept>,
}

/// A request that the sweep closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    pub request_id: RequestId,
    /// Its last status.
    pub was: Status,
}
