//! The throttle: whether an attempt on a phone may be judged. Soft waits, the lock, and the share reserved for known
//! devices.
//!
//! The limit of 100 consecutive failures is NIST SP 800-63B-4 section 3.2.2; waits that grow from 30 seconds are its
//! measure to slow a claimant before that; the rest is the product's (contract, P4 and rulings 3 and 4). PostgreSQL
//! judges by the function `latchkey_gate`, in the transaction that counts. The contract suite holds both to one table
//! of cases.

use super::{AttemptKind, Claimant};
use domain::timestamp::Timestamp;
use sql::{Work, args};

/// Waits begin at this many consecutive failures.
const FREE_FAILURES: i64 = 10;
const FIRST_WAIT_MS: i64 = 30_000;
const LONGEST_WAIT_MS: i64 = 900_000;

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

/// A phone's attempts so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub failures: i64,
    pub last_judged_at: Timestamp,
    /// The attempt comes from a device that signed in to this phone's account before.
    pub known_device: bool,
}

/// The consecutive failures that this attempt adds to, or why it is not judged.
pub(super) fn judge(
    past: Option<Past>,
    limits: AttemptLimits,
    now: Timestamp,
) -> Result<i64, Throttle> {
    let Some(past) = past else { return Ok(0) };
    let reset_at =
        (limits.failure_reset_secs > 0).then(|| past.last_judged_at.plus_ms(limits.reset_ms()));
    if past.failures == 0 || reset_at.is_some_and(|at| now >= at) {
        return Ok(0);
    }
    let max = i64::from(limits.max_failures);
    let for_strangers = max - max / 10;
    if past.failures >= max || (past.failures >= for_strangers && !past.known_device) {
        return Err(Throttle::Locked { until: reset_at });
    }
    if past.failures >= FREE_FAILURES {
        let doublings = (past.failures - FREE_FAILURES).min(5);
        let until = past.last_judged_at.plus_ms((FIRST_WAIT_MS << doublings).min(LONGEST_WAIT_MS));
        if now < until {
            return Err(Throttle::Delayed { until });
        }
    }
    Ok(past.failures)
}

/// Copies a phone's count from the key that it had under the previous secret, so that a rotation forgets no failures
/// (P4). The former count stays until a success ends both: a service that was not yet restarted knows no other. So the
/// larger of the two applies.
pub(super) async fn carry_over(
    work: &mut Work,
    claimant: Claimant<'_>,
    kind: AttemptKind,
    limits: AttemptLimits,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let Some(former) = claimant.former_key else { return Ok(()) };
    let kept = work
        .optional(
            "SELECT failures, last_judged_at FROM guesses WHERE phone_key = $1 AND kind = $2",
            args![former.as_str(), kind.as_str()],
        )
        .await?;
    let Some(kept) = kept else { return Ok(()) };
    let (failures, last): (i64, _) = (kept.get("failures")?, kept.time("last_judged_at")?);
    let resets = limits.failure_reset_secs > 0;
    if resets && now >= last.plus_ms(limits.reset_ms()) {
        return Ok(());
    }
    // Failures judged before this time are over.
    let over_before = resets.then(|| now.plus_ms(-limits.reset_ms()));
    work.run(
        "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_key, kind) DO UPDATE SET
             failures = CASE WHEN guesses.failures < $3 OR guesses.last_judged_at <= $5 THEN $3 ELSE guesses.failures END,
             last_judged_at = CASE WHEN guesses.last_judged_at < $4 THEN $4 ELSE guesses.last_judged_at END",
        args![claimant.phone_key.as_str(), kind.as_str(), failures, last, over_before],
    )
    .await?;
    Ok(())
}

/// Judges in a transaction. The count stays locked until its end, so that parallel attempts queue.
pub(super) async fn check_locked(
    work: &mut Work,
    claimant: Claimant<'_>,
    kind: AttemptKind,
    limits: AttemptLimits,
    now: Timestamp,
) -> Result<Result<i64, Throttle>, sqlx::Error> {
    carry_over(work, claimant, kind, limits, now).await?;
    let row = work
        .optional(
            "UPDATE guesses SET failures = failures WHERE phone_key = $1 AND kind = $2
             RETURNING failures, last_judged_at,
                 EXISTS (SELECT 1 FROM users WHERE id = $3 AND phone_number = $4) AS known_device",
            args![
                claimant.phone_key.as_str(),
                kind.as_str(),
                claimant.known_device,
                claimant.phone_number
            ],
        )
        .await?;
    let past = row.as_ref().map(past).transpose()?;
    Ok(judge(past, limits, now))
}

pub(super) fn past(row: &sql::Row) -> Result<Past, sqlx::Error> {
    Ok(Past {
        failures: row.get("failures")?,
        last_judged_at: row.time("last_judged_at")?,
        known_device: row.get("known_device")?,
    })
}
