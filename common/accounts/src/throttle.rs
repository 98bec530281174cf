//! The throttle: whether an attempt on a phone may be judged. Soft waits, the lock, and the share reserved for known
//! devices.
//!
//! The limit of 100 consecutive failures is NIST SP 800-63B-4 section 3.2.2; waits that grow from 30 seconds are its
//! measure to slow a claimant before that; the rest is the product's (contract, P4 and rulings 3 and 4). PostgreSQL
//! judges by the function of `throttle.postgres.sql`, in the transaction that counts; the numbers reach it in its
//! document. The contract suite holds both to one table of cases.

use serde::Serialize;

use super::document;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use domain::phone::E164;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Work, args};

string_enum! {
    /// Codes and passwords have separate counts.
    pub enum AttemptKind { Code = "code", Password = "password" }
}

/// The phone under attempt, and the client that makes it.
#[derive(Clone, Copy)]
pub struct Claimant<'a> {
    pub phone_number: &'a E164,
    pub phone_key: &'a PhoneKey,
    /// The key that the phone had under the previous secret, during a rotation.
    pub former_key: Option<&'a PhoneKey>,
    /// The owner of the device, by a device token that was valid for this account and this phone. Ignored if the
    /// account is gone or has another number now.
    pub known_device: Option<UserId>,
}

/// Waits begin at this many consecutive failures.
const FREE_FAILURES: i64 = 10;
const FIRST_WAIT_MS: i64 = 30_000;
const LONGEST_WAIT_MS: i64 = 900_000;
/// One in this many of the failures is reserved for a known device.
const KNOWN_DEVICE_SHARE: i64 = 10;

/// The configured limits of attempts.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// Failed attempts after which a code is exhausted.
    pub attempts: u32,
    /// Consecutive failures, over all codes of a phone, after which it is locked.
    pub max_failures: u32,
    /// A phone without a judged attempt for this long starts from zero. 0: never.
    pub failure_reset_secs: i64,
}

impl AttemptLimits {
    pub(super) fn reset_ms(self) -> i64 {
        self.failure_reset_secs.saturating_mul(1000)
    }
}

/// Why an attempt is neither judged nor counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// Too soon after the previous failures.
    Delayed { until: Timestamp },
    /// Too many consecutive failures. `None`: only a known device or staff can unlock it.
    Locked { until: Option<Timestamp> },
}

impl Throttle {
    /// When an attempt is judged again. `None`: not by time alone.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Delayed { until } => Some(until),
            Self::Locked { until } => until,
        }
    }

    pub(super) fn read(verdict: &str, until: Option<Timestamp>) -> Option<Self> {
        match (verdict, until) {
            ("wait", Some(until)) => Some(Self::Delayed { until }),
            ("locked", until) => Some(Self::Locked { until }),
            _ => None,
        }
    }
}

/// An attempt and the numbers that it is judged by: what `latchkey_throttle_2` reads, by these names.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Attempt<'a> {
    pub phone_number: &'a str,
    pub phone_key: &'a str,
    /// Not for the functions: they know one key.
    #[serde(skip)]
    pub former_key: Option<&'a str>,
    pub kind: &'static str,
    pub known_device: Option<UserId>,
    #[serde(serialize_with = "document::ms")]
    pub now: Timestamp,
    free_failures: i64,
    first_wait_ms: i64,
    longest_wait_ms: i64,
    max_failures: i64,
    max_of_strangers: i64,
    /// 0: never.
    reset_ms: i64,
    /// The failures after which a code is exhausted.
    pub code_attempts: u32,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        claimant: Claimant<'a>,
        kind: AttemptKind,
        limits: AttemptLimits,
        now: Timestamp,
    ) -> Self {
        let max_failures = i64::from(limits.max_failures);
        Self {
            phone_number: claimant.phone_number.expose(),
            phone_key: claimant.phone_key.as_str(),
            former_key: claimant.former_key.map(PhoneKey::as_str),
            kind: kind.as_str(),
            known_device: claimant.known_device,
            now,
            free_failures: FREE_FAILURES,
            first_wait_ms: FIRST_WAIT_MS,
            longest_wait_ms: LONGEST_WAIT_MS,
            max_failures,
            max_of_strangers: max_failures - max_failures / KNOWN_DEVICE_SHARE,
            reset_ms: limits.reset_ms(),
            code_attempts: limits.attempts,
        }
    }
}

/// A phone's attempts so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub failures: i64,
    pub last_judged_at: Timestamp,
    /// The attempt comes from a device that signed in to this phone's account before.
    pub known_device: bool,
}

/// The consecutive failures that this attempt adds to, or why it is not judged.
pub(super) fn judge(past: Option<Past>, attempt: &Attempt<'_>) -> Result<i64, Throttle> {
    let Some(past) = past else { return Ok(0) };
    let now = attempt.now;
    let reset_at = (attempt.reset_ms > 0).then(|| past.last_judged_at.plus_ms(attempt.reset_ms));
    if reset_at.is_some_and(|at| now >= at) {
        return Ok(0);
    }
    if past.failures >= attempt.max_failures
        || (past.failures >= attempt.max_of_strangers && !past.known_device)
    {
        return Err(Throttle::Locked { until: reset_at });
    }
    if past.failures >= attempt.free_failures {
        // More than 31 doublings are the longest wait in any case, and could overflow.
        let doublings = (past.failures - attempt.free_failures).min(31);
        let wait_ms = (attempt.first_wait_ms << doublings).min(attempt.longest_wait_ms);
        let until = past.last_judged_at.plus_ms(wait_ms);
        if now < until {
            return Err(Throttle::Delayed { until });
        }
    }
    Ok(past.failures)
}

/// Copies a phone's count from the key that it had under the previous secret, so that a rotation forgets no failures
/// (P4). The former count stays until a success ends both: a service that was not yet restarted knows no other. So the
/// larger of the two applies.
pub(super) async fn carry_over(work: &mut Work, attempt: &Attempt<'_>) -> Result<(), sqlx::Error> {
    let Some(former) = attempt.former_key else { return Ok(()) };
    let sql = "SELECT failures, last_judged_at FROM guesses WHERE phone_key = $1 AND kind = $2";
    let kept = work.optional(sql, args![former, attempt.kind]).await?;
    let Some(kept) = kept else { return Ok(()) };
    let (failures, last): (i64, _) = (kept.get("failures")?, kept.time("last_judged_at")?);
    let resets = attempt.reset_ms > 0;
    if resets && attempt.now >= last.plus_ms(attempt.reset_ms) {
        return Ok(());
    }
    // Failures judged before this time are over.
    let over_before = resets.then(|| attempt.now.plus_ms(-attempt.reset_ms));
    let sql = "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_key, kind) DO UPDATE SET
             failures = CASE WHEN guesses.failures < $3 OR guesses.last_judged_at <= $5 THEN $3 ELSE guesses.failures END,
             last_judged_at = CASE WHEN guesses.last_judged_at < $4 THEN $4 ELSE guesses.last_judged_at END";
    work.run(sql, args![attempt.phone_key, attempt.kind, failures, last, over_before])
        .await
        .map(drop)
}

/// [`carry_over`] in a transaction of its own, before a single statement that knows one key.
pub(super) async fn carry_over_alone(
    work: &mut Work,
    attempt: &Attempt<'_>,
) -> Result<(), sqlx::Error> {
    if attempt.former_key.is_none() {
        return Ok(());
    }
    work.transaction(async |work| carry_over(work, attempt).await).await
}

/// Judges in a transaction. The count stays locked until its end, so that parallel attempts queue.
pub(super) async fn check_locked(
    work: &mut Work,
    attempt: &Attempt<'_>,
) -> Result<Result<i64, Throttle>, sqlx::Error> {
    carry_over(work, attempt).await?;
    let sql = "UPDATE guesses SET failures = failures WHERE phone_key = $1 AND kind = $2
             RETURNING failures, last_judged_at,
                 EXISTS (SELECT 1 FROM users WHERE id = $3 AND phone_number = $4) AS known_device";
    let row = work
        .optional(
            sql,
            args![attempt.phone_key, attempt.kind, attempt.known_device, attempt.phone_number],
        )
        .await?;
    let past = row.as_ref().map(past).transpose()?;
    Ok(judge(past, attempt))
}

pub(super) fn past(row: &sql::Row) -> Result<Past, sqlx::Error> {
    Ok(Past {
        failures: row.get("failures")?,
        last_judged_at: row.time("last_judged_at")?,
        known_device: row.get("known_device")?,
    })
}

/// Whether a code's attempts are exhausted by the database's count.
pub(super) async fn code_is_exhausted(
    work: &mut Work,
    code: CodeId,
    attempts: u32,
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT 1 AS spent FROM code_guesses WHERE code_id = $1 AND failures >= $2";
    Ok(work.optional(sql, args![code, attempts]).await?.is_some())
}

/// Resets the consecutive failures after a success, also those under the previous secret.
pub(super) async fn reset(work: &mut Work, attempt: &Attempt<'_>) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM guesses WHERE kind = $2 AND (phone_key = $1 OR phone_key = $3)";
    work.run(sql, args![attempt.phone_key, attempt.kind, attempt.former_key]).await.map(drop)
}
