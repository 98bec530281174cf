//! What is kept of a phone, as staff may see it (contract, ruling 65): times and counts. Neither the code nor its digest.

use crate::Codes;
use crate::types::Scope;
use domain::engine_error::EngineError;
use domain::ids::CodeId;
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;

/// A phone's code, attempts and requests, all by the store's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhoneState {
    pub now: Timestamp,
    /// The newest code. It is kept for a while after its expiry.
    pub code: Option<CodeState>,
    /// Attempts without a live code, and until when they count.
    pub uncoded: Option<(u32, Timestamp)>,
    /// No request is admitted before, unless the cooldown is over.
    pub cooldown_until: Option<Timestamp>,
    /// Codes requested within the last hour and the last day.
    pub sends_hour: u64,
    pub sends_day: u64,
}

/// A code, without the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeState {
    pub id: CodeId,
    pub expires_at: Timestamp,
    /// Made from it, those of known devices not counted.
    pub attempts: u32,
    pub used: bool,
    /// Whether otp-worker has made the code; in silent mode an unknown phone's is never made.
    pub issued: bool,
}

operations! { Codes {
    /// What is kept of a phone. Changes nothing.
    fn phone_state(phone: &PhoneKey, scope: Scope) -> PhoneState => phone_state;
} }
