//! The part of the store that delivery may use.

use crate::{CrashCounts, DeliveryStore, Inbox, Loads};
use domain::engine_error::EngineError;
use domain::ids::RequestId;
use domain::timestamp::Timestamp;

impl DeliveryStore {
    pub fn inbox(&self) -> Inbox {
        self.0.inbox()
    }

    pub fn crash_counts(&self) -> CrashCounts {
        self.0.crash_counts()
    }

    pub fn loads(&self) -> Loads {
        self.0.loads()
    }

    /// See [`Statuses::is_wanted`](crate::Statuses::is_wanted).
    pub async fn is_wanted(&self, request: RequestId) -> Result<bool, EngineError> {
        self.0.statuses().is_wanted(request).await
    }

    /// See [`Store::now`].
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        self.0.now().await
    }

    /// See [`Store::ready`].
    pub async fn ready(&self) -> Result<(), EngineError> {
        self.0.ready().await
    }
}
