//! Counts beside the codes: logins per address, writes of the signed-in, different bodies under one key, one-time keys, starts of a message.

use crate::types::{FailureRange, LoginAddresses, SuspiciousFailures};
use crate::{CrashCounts, Limits, ReplayGuard};
use domain::engine_error::EngineError;
use domain::keys::PhoneKey;
use uuid::Uuid;

/// How long [`Limits::count_distinct`] remembers: longer than a login can be repeated (contract, ruling 32).
pub const DISTINCT_KEPT_SECS: u64 = 60;
/// How long the starts of a message are remembered after the last one.
pub(crate) const STARTS_KEPT_MS: i64 = 3_600_000;

operations! { Limits {
    /// Counts a login in the ranges of its address. Returns the wait, and counts nothing, if it exceeds one of them.
    fn count_login(addresses: &LoginAddresses) -> Option<u64> => count_login;

    /// Counts a failed attempt at a phone in the wider ranges of its address, narrowest first, and over all. Once a window it returns
    /// what is suspicious over all.
    fn note_failure(ranges: &[FailureRange], phone: &PhoneKey) -> Option<SuspiciousFailures> => note_failure;

    /// Counts a write of a signed-in caller, of this kind, in a sliding minute. The writer is a session's or an account's id. Returns the wait in seconds if it
    /// exceeds `most`; then nothing is counted.
    fn count_write(writer: Uuid, kind: &str, most: u64) -> Option<u64> => count_write;

    /// Whether `member` is among the first `most` different ones under this key. A repeated member counts once.
    fn count_distinct(key: &str, member: &str, most: u32) -> bool => count_distinct;
} }

operations! { ReplayGuard {
    /// Whether this key is seen for the first time within `kept_secs`. Among concurrent callers exactly one gets
    /// `true`.
    fn first_time(key: &str, kept_secs: u64) -> bool => first_time;
} }

operations! { CrashCounts {
    /// Counts the starts of work on a redelivered message, so that one that crashes its process is recognised before it
    /// does so again (P11). Forgotten an hour after the last start.
    fn count(message: &str) -> u32 => count_start;

    /// The counted starts of a message that are not forgotten.
    fn get(message: &str) -> u32 => starts;

    /// Forgets the starts of a message: the process survived it.
    fn forget(message: &str) -> () => forget_starts;
} }
