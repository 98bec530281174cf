//! The throttle: whether an attempt on a phone may be judged. Soft waits, the lock, and the budgets of known devices.
//!
//! The limit of 100 consecutive failures is NIST SP 800-63B-4 section 3.2.2; waits that grow from 30 seconds are its
//! measure to slow a claimant before that; budgets of known devices follow OWASP's device cookies; the rest is the
//! product's (contract, P4 and rulings 3, 4, 39 and 42). PostgreSQL judges by the function of `throttle.postgres.sql`,
//! in the transaction that counts; the numbers reach it in its document. The contract suite holds both to one table of
//! cases.

use serde::Serialize;

use super::document;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use domain::limits::DEVICES_AT_A_CODE;
use domain::phone::E164;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Work, args};

string_enum! {
    /// Codes and passwords have separate counts.
    pub enum AttemptKind { Code = "code", Password = "password" }
}

string_enum! {
    /// What ended a lock.
    pub enum Opened { Time = "time", KnownDevice = "known_device", Staff = "staff" }
}

/// The phone under attempt, and the client that makes it.
#[derive(Clone, Copy)]
pub struct Claimant<'a> {
    pub phone_number: &'a E164,
    pub phone_key: &'a PhoneKey,
    /// The key that the phone had under the previous secret, during a rotation.
    pub former_key: Option<&'a PhoneKey>,
    pub known_device: Option<KnownDevice<'a>>,
}

/// A device that signed in to this phone's account before, by a token that is valid for this account and this phone.
/// Counts as none if the account is gone or has another number now.
#[derive(Clone, Copy)]
pub struct KnownDevice<'a> {
    /// The owner of the device.
    pub user: UserId,
    /// The name that its own failures are counted under: a digest of its token.
    pub key: &'a str,
}

/// Waits begin at this many consecutive failures.
const FREE_FAILURES: i64 = 10;
const FIRST_WAIT_MS: i64 = 30_000;
const LONGEST_WAIT_MS: i64 = 900_000;
/// Time alone lowers a count that reached [`FREE_FAILURES`] to this many below the lock at most (ruling 42): whoever goes
/// on guessing for ever has ten attempts a day, 0.4 % a year at a code of six digits.
const FAILURES_AFTER_RESET: i64 = 10;
/// A count without a judged attempt for this long is forgotten, so that none is kept for ever: all failures up to the
/// lock are then three a day.
const FORGOTTEN_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// One in this many of the failures lies beyond the lock, for known devices.
const KNOWN_DEVICE_SHARE: i64 = 10;
/// A known device's own failures in a window, by kind: within these it is judged whatever others did (ruling 39).
const DEVICE_FAILURES: i64 = 10;
/// The failures of all known devices of a phone in a window, by kind: one account has any number of devices.
const DEVICES_FAILURES: i64 = 30;
/// The window begins with its first failure.
const DEVICE_WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// The configured limits of attempts.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// Failed attempts after which a code is exhausted.
    pub attempts: u32,
    /// Consecutive failures, over all codes of a phone, after which it is locked.
    pub max_failures: u32,
    /// A phone without a judged attempt for this long is unlocked, and a few failures are forgotten. 0: never.
    pub failure_reset_secs: i64,
}

impl AttemptLimits {
    pub(super) fn reset_ms(self) -> i64 {
        self.failure_reset_secs.saturating_mul(1000)
    }

    /// The consecutive failures at which everybody but known devices is locked out.
    pub(super) fn lock_at(self) -> i64 {
        let most = i64::from(self.max_failures);
        most - most / KNOWN_DEVICE_SHARE
    }

    /// The age at which every count is forgotten.
    fn forgotten_ms(self) -> i64 {
        FORGOTTEN_MS.max(self.reset_ms())
    }

    /// The counts that are over, as failures that they stay below and their age in milliseconds. Without a reset a few
    /// failures alone are, so that not every number that was ever mistyped at is kept for ever; no lock ever is.
    pub(super) fn expired(self) -> Vec<(i64, i64)> {
        if self.failure_reset_secs > 0 {
            vec![(FREE_FAILURES, self.reset_ms()), (i64::MAX, self.forgotten_ms())]
        } else {
            vec![(FREE_FAILURES.min(self.lock_at()), FORGOTTEN_MS)]
        }
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

/// An attempt and the numbers that it is judged by: what `latchkey_throttle_3` reads, by these names.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Attempt<'a> {
    pub phone_number: &'a str,
    pub phone_key: &'a str,
    /// Not for the functions: they know one key.
    #[serde(skip)]
    pub former_key: Option<&'a str>,
    pub kind: &'static str,
    pub known_device: Option<UserId>,
    pub device_key: Option<&'a str>,
    device_failures: i64,
    devices_failures: i64,
    /// The most known devices that are counted apart at one code.
    code_devices: u32,
    pub device_window_ms: i64,
    /// The code that the attempt is at. The functions know it as `code_id` of the larger document.
    #[serde(skip)]
    code: Option<CodeId>,
    #[serde(serialize_with = "document::ms")]
    pub now: Timestamp,
    pub free_failures: i64,
    first_wait_ms: i64,
    longest_wait_ms: i64,
    pub lock_at: i64,
    /// 0: never.
    pub reset_ms: i64,
    /// The most failures that remain after a reset by time.
    most_after_reset: i64,
    forgotten_ms: i64,
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
        let lock_at = limits.lock_at();
        Self {
            phone_number: claimant.phone_number.expose(),
            phone_key: claimant.phone_key.as_str(),
            former_key: claimant.former_key.map(PhoneKey::as_str),
            kind: kind.as_str(),
            known_device: claimant.known_device.map(|device| device.user),
            device_key: claimant.known_device.map(|device| device.key),
            device_failures: DEVICE_FAILURES,
            devices_failures: DEVICES_FAILURES,
            code_devices: DEVICES_AT_A_CODE,
            code: None,
            device_window_ms: DEVICE_WINDOW_MS,
            now,
            free_failures: FREE_FAILURES,
            first_wait_ms: FIRST_WAIT_MS,
            longest_wait_ms: LONGEST_WAIT_MS,
            lock_at,
            reset_ms: limits.reset_ms(),
            most_after_reset: (lock_at - FAILURES_AFTER_RESET).max(0),
            forgotten_ms: limits.forgotten_ms(),
            code_attempts: limits.attempts,
        }
    }

    pub(super) fn at_code(self, code: Option<CodeId>) -> Self {
        Self { code, ..self }
    }
}

/// A phone's attempts so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub failures: i64,
    pub last_judged_at: Timestamp,
}

/// An attempt that may be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// The consecutive failures that it adds to.
    pub failures: i64,
    /// Whether it counts for a known device that has a budget left.
    pub by_device: bool,
    /// The phone was locked: what ended that, or ends it if this attempt succeeds.
    pub opened: Option<Opened>,
}

/// Whether this attempt is judged, or why not. `by_device`: it comes from a known device that has a budget left.
pub(super) fn judge(
    past: Option<Past>,
    by_device: bool,
    attempt: &Attempt<'_>,
) -> Result<Judged, Throttle> {
    let Some(past) = past else { return Ok(Judged { failures: 0, by_device, opened: None }) };
    let was_locked = past.failures >= attempt.lock_at;
    let judged = |failures, opened: Opened| {
        Ok(Judged { failures, by_device, opened: was_locked.then_some(opened) })
    };
    let now = attempt.now;
    let reset_at = (attempt.reset_ms > 0).then(|| past.last_judged_at.plus_ms(attempt.reset_ms));
    if reset_at.is_some_and(|at| now >= at) {
        let is_forgotten = past.failures < attempt.free_failures
            || now >= past.last_judged_at.plus_ms(attempt.forgotten_ms);
        let left = if is_forgotten { 0 } else { past.failures.min(attempt.most_after_reset) };
        return judged(left, Opened::Time);
    }
    if by_device {
        return judged(past.failures, Opened::KnownDevice);
    }
    if past.failures >= attempt.lock_at {
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
    Ok(Judged { failures: past.failures, by_device, opened: None })
}

/// The account of a known device that has a budget left, of its own and of all devices of the phone, and at this code:
/// what stands for the device's account and phone, its key, the name of all devices, the kind of attempt, its time, the
/// failures of each budget, the code, and the most devices at a code.
macro_rules! known_device {
    ($user:literal, $phone:literal, $device:literal, $all:literal, $kind:literal, $now:literal, $most:literal,
        $most_of_all:literal, $code:literal, $most_at_code:literal) => {
        concat!(
            "FROM users WHERE id = ",
            $user,
            " AND phone_number = ",
            $phone,
            " AND NOT EXISTS (SELECT 1 FROM device_guesses WHERE scope = ",
            $kind,
            " AND expires_at > ",
            $now,
            " AND (device = ",
            $device,
            " AND failures >= ",
            $most,
            " OR device = ",
            $all,
            " AND failures >= ",
            $most_of_all,
            ")) AND NOT EXISTS (SELECT 1 FROM device_guesses WHERE device = ",
            $all,
            " AND scope = ",
            $code,
            " AND failures >= ",
            $most_at_code,
            " AND NOT EXISTS (SELECT 1 FROM device_guesses WHERE device = ",
            $device,
            " AND scope = ",
            $code,
            "))"
        )
    };
}
pub(super) use known_device;

/// Whether the attempt comes from a known device that has a budget left, of its own and of all devices of the phone, and
/// at this code. No query for any other.
pub(super) async fn by_device(work: &mut Work, attempt: &Attempt<'_>) -> Result<bool, sqlx::Error> {
    let (Some(user), Some(device)) = (attempt.known_device, attempt.device_key) else {
        return Ok(false);
    };
    let sql = concat!(
        "SELECT 1 AS known ",
        known_device!("$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10")
    );
    let all = all_devices_of(user);
    // No scope is empty: without a code the last condition is met.
    let code = attempt.code.map_or_else(String::new, |code| code.to_string());
    let args = args![
        user,
        attempt.phone_number,
        device,
        all.as_str(),
        attempt.kind,
        attempt.now,
        attempt.device_failures,
        attempt.devices_failures,
        code.as_str(),
        attempt.code_devices
    ];
    Ok(work.optional(sql, args).await?.is_some())
}

/// The name that the failures of all known devices of an account are counted under: of each kind; and at a code, how many
/// of the devices failed.
pub(super) fn all_devices_of(user: UserId) -> String {
    user.to_string()
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
    // A few failures judged before the reset are over; more are, when they are old enough to be forgotten.
    let resets = attempt.reset_ms > 0;
    let over = |ms: i64| resets.then(|| attempt.now.plus_ms(-ms));
    let (reset, forgotten) = (over(attempt.reset_ms), over(attempt.forgotten_ms));
    let is_over = |before: Option<Timestamp>| before.is_some_and(|before| last <= before);
    if is_over(forgotten) || (failures < attempt.free_failures && is_over(reset)) {
        return Ok(());
    }
    let sql = "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_key, kind) DO UPDATE SET
             failures = CASE WHEN guesses.failures < $3 OR guesses.last_judged_at <= $6
                 OR (guesses.failures < $7 AND guesses.last_judged_at <= $5) THEN $3 ELSE guesses.failures END,
             last_judged_at = CASE WHEN guesses.last_judged_at < $4 THEN $4 ELSE guesses.last_judged_at END";
    let args = args![
        attempt.phone_key,
        attempt.kind,
        failures,
        last,
        reset,
        forgotten,
        attempt.free_failures
    ];
    work.run(sql, args).await.map(drop)
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
) -> Result<Result<Judged, Throttle>, sqlx::Error> {
    carry_over(work, attempt).await?;
    let sql = "UPDATE guesses SET failures = failures WHERE phone_key = $1 AND kind = $2
             RETURNING failures, last_judged_at";
    let row = work.optional(sql, args![attempt.phone_key, attempt.kind]).await?;
    let past = row.as_ref().map(past).transpose()?;
    let by_device = by_device(work, attempt).await?;
    Ok(judge(past, by_device, attempt))
}

/// Like [`check_locked`], but changes nothing and locks nothing.
pub(super) async fn check(
    work: &mut Work,
    attempt: &Attempt<'_>,
) -> Result<Result<Judged, Throttle>, sqlx::Error> {
    let sql = "SELECT failures, last_judged_at FROM guesses WHERE phone_key = $1 AND kind = $2";
    let row = work.optional(sql, args![attempt.phone_key, attempt.kind]).await?;
    let past = row.as_ref().map(past).transpose()?;
    let by_device = by_device(work, attempt).await?;
    Ok(judge(past, by_device, attempt))
}

pub(super) fn past(row: &sql::Row) -> Result<Past, sqlx::Error> {
    Ok(Past { failures: row.get("failures")?, last_judged_at: row.time("last_judged_at")? })
}

/// Whether a code's attempts are exhausted by the database's count: those of `device`, or those of everybody else.
pub(super) async fn code_is_exhausted(
    work: &mut Work,
    code: CodeId,
    attempts: u32,
    device: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let row = if let Some(device) = device {
        let sql = "SELECT 1 AS spent FROM device_guesses WHERE device = $1 AND scope = $2 AND failures >= $3";
        work.optional(sql, args![device, code.to_string().as_str(), attempts]).await?
    } else {
        let sql = "SELECT 1 AS spent FROM code_guesses WHERE code_id = $1 AND failures >= $2";
        work.optional(sql, args![code, attempts]).await?
    };
    Ok(row.is_some())
}
