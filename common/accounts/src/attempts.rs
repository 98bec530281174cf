//! Failed attempts, counted where a flush of Redis cannot reset them (P4; contract, ruling 28).

use std::collections::HashMap;

use serde::Serialize;

use super::lock_marks::{self, Entries, Mark};
use super::throttle::{self, Attempt, AttemptKind, AttemptLimits, Claimant, Opened, Throttle};
use super::{Attempts, audit, document};
use domain::engine_error::EngineError;
use domain::ids::CodeId;
use domain::keys::PhoneKey;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::{Work, args};

/// The counts after a failed attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The phone's consecutive failures.
    pub failures: u32,
    /// The code's own failures, 0 for an attempt without a code: those of this known device, or those of everybody
    /// else.
    pub code_failures: u32,
    /// Whether it was counted for a known device.
    pub by_device: bool,
    /// Whether this failure locked the phone.
    pub locked: bool,
}

/// A failed attempt: what `latchkey_record_failure_4` reads, by these names.
#[derive(Serialize)]
struct FailedAttempt<'a> {
    #[serde(flatten)]
    attempt: Attempt<'a>,
    code_id: Option<CodeId>,
    /// In milliseconds.
    code_expires_at: Option<i64>,
    marks: Entries,
}

impl Attempts {
    /// Counts a failed attempt for the phone and for the code's id (with the code's expiry), before the response is
    /// sent. A throttled attempt is not counted, and the caller must not reveal whether it was wrong. One round trip on
    /// PostgreSQL.
    pub async fn record_failure(
        &self,
        claimant: Claimant<'_>,
        kind: AttemptKind,
        code: Option<(CodeId, Timestamp)>,
        limits: AttemptLimits,
        now: Timestamp,
    ) -> Result<Result<Counted, Throttle>, EngineError> {
        let attempt = Attempt::new(claimant, kind, limits, now).at_code(code.map(|(id, _)| id));
        let mut failed = FailedAttempt {
            attempt,
            code_id: code.map(|(id, _)| id),
            code_expires_at: code.map(|(_, expires_at)| expires_at.ms()),
            marks: Entries::new(),
        };
        self.pool
            .statement("count a failed attempt", async |work| {
                if !work.is_postgres() {
                    return work
                        .transaction(async |work| record_failure(work, &failed).await)
                        .await;
                }
                throttle::carry_over_alone(work, &failed.attempt).await?;
                let marks = [Mark::Slowed, Mark::Locked, Mark::Unlocked(Opened::Time)];
                failed.marks = lock_marks::prepare(&attempt, &marks)?;
                let document = document::text(&failed)?;
                let sql = "SELECT verdict, until_ms, failed, code_failed, by_device, locked
                     FROM latchkey_record_failure_4($1::jsonb)";
                let row = work.one(sql, args![&document]).await?;
                let throttle =
                    Throttle::read(&row.get::<String>("verdict")?, row.maybe_time("until_ms")?);
                let code_failures = row.get::<Option<i64>>("code_failed")?.unwrap_or_default();
                let counted = Counted {
                    failures: count(row.get("failed")?),
                    code_failures: count(code_failures),
                    by_device: row.get("by_device")?,
                    locked: row.get("locked")?,
                };
                Ok(throttle.map_or(Ok(counted), Err))
            })
            .await
    }

    /// Whether an attempt would be judged now; counts nothing. For attempts on a phone without a live code, and before
    /// a password is hashed.
    pub async fn throttle(
        &self,
        claimant: Claimant<'_>,
        kind: AttemptKind,
        limits: AttemptLimits,
        now: Timestamp,
    ) -> Result<Option<Throttle>, EngineError> {
        let attempt = Attempt::new(claimant, kind, limits, now);
        let act = "read the failed attempts of a phone";
        let steps = async |work: &mut Work| {
            throttle::carry_over_alone(work, &attempt).await?;
            Ok(throttle::check(work, &attempt).await?.err())
        };
        if attempt.former_key.is_some() {
            self.pool.statement(act, steps).await
        } else {
            self.pool.read(act, steps).await
        }
    }

    /// For each phone, by its key, what keeps an attempt of this kind from being judged now. Counts nothing; counts under a
    /// former secret are not seen.
    pub async fn throttles(
        &self,
        phones: &[(&E164, &PhoneKey)],
        kind: AttemptKind,
        limits: AttemptLimits,
        now: Timestamp,
    ) -> Result<Vec<Option<Throttle>>, EngineError> {
        let keys =
            serde_json::json!(phones.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>());
        let keys = keys.to_string();
        let sql = if self.pool.is_postgres() {
            "SELECT phone_key, failures, last_judged_at FROM guesses
             WHERE kind = $2 AND phone_key IN (SELECT json_array_elements_text($1::json))"
        } else {
            "SELECT phone_key, failures, last_judged_at FROM guesses
             WHERE kind = $2 AND phone_key IN (SELECT value FROM json_each($1))"
        };
        let of = |row: &sql::Row| Ok((row.get::<String>("phone_key")?, throttle::past(row)?));
        let args = args![&keys, kind.as_str()];
        let counts = self.pool.rows("read the failed attempts of phones", sql, args, of).await?;
        let counts: HashMap<_, _> = counts.into_iter().collect();
        let judged = phones.iter().map(|(phone_number, phone_key)| {
            let claimant =
                Claimant { phone_number, phone_key, former_key: None, known_device: None };
            let attempt = Attempt::new(claimant, kind, limits, now);
            throttle::judge(counts.get(phone_key.as_str()).copied(), false, &attempt).err()
        });
        Ok(judged.collect())
    }

    /// Whether the attempt comes from a known device that has a budget left: it is judged whatever others did, and
    /// counted apart (contract, ruling 39). Counts nothing, and asks nothing for an unknown device. `code`: the code that
    /// it is at, if that is known.
    pub async fn is_by_known_device(
        &self,
        claimant: Claimant<'_>,
        kind: AttemptKind,
        code: Option<CodeId>,
        limits: AttemptLimits,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        if claimant.known_device.is_none() {
            return Ok(false);
        }
        let attempt = Attempt::new(claimant, kind, limits, now).at_code(code);
        let steps = async |work: &mut Work| throttle::by_device(work, &attempt).await;
        self.pool.read("read the failed attempts of a device", steps).await
    }

    /// Whether a code's attempts are exhausted by the database's count, whatever another store counted (contract,
    /// ruling 28): those of this known device, or those of everybody else.
    pub async fn code_is_exhausted(
        &self,
        code: CodeId,
        limits: AttemptLimits,
        device: Option<&str>,
    ) -> Result<bool, EngineError> {
        let act = "read the failed attempts of a code";
        let steps = async |work: &mut Work| {
            throttle::code_is_exhausted(work, code, limits.attempts, device).await
        };
        self.pool.read(act, steps).await
    }

    /// Resets both counts of a phone, for staff. Returns whether there was one.
    pub async fn reset_failures(
        &self,
        claimant: Claimant<'_>,
        limits: AttemptLimits,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("unlock a phone", async |work| {
                let mut reset = false;
                for kind in AttemptKind::ALL {
                    let attempt = Attempt::new(claimant, kind, limits, now);
                    let sql =
                        "DELETE FROM guesses WHERE kind = $1 AND (phone_key = $2 OR phone_key = $3)
                         RETURNING failures";
                    let args = args![attempt.kind, attempt.phone_key, attempt.former_key];
                    let rows = work.rows(sql, args).await?;
                    let counts = rows
                        .iter()
                        .map(|row| row.get("failures"))
                        .collect::<Result<Vec<i64>, _>>()?;
                    reset |= !counts.is_empty();
                    if counts.iter().any(|failures| *failures >= attempt.lock_at) {
                        lock_marks::tell(work, &attempt, Mark::Unlocked(Opened::Staff)).await?;
                    }
                }
                let subject = claimant.phone_key.as_str();
                audit::write(work, now, actor, "phone_unlocked", subject, "{}").await?;
                Ok(reset)
            })
            .await
    }
}

fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// The steps of `attempts.postgres.sql`, in the same order.
async fn record_failure(
    work: &mut Work,
    failed: &FailedAttempt<'_>,
) -> Result<Result<Counted, Throttle>, sqlx::Error> {
    let FailedAttempt { attempt, code_id, code_expires_at, .. } = failed;
    let throttle::Judged { failures, by_device, opened } =
        match throttle::check_locked(work, attempt).await? {
            Ok(judged) => judged,
            Err(throttle) => {
                work.undo().await?;
                return Ok(Err(throttle));
            }
        };
    let failures = failures + 1;
    let sql =
        "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_key, kind) DO UPDATE SET failures = $3,
             last_judged_at = CASE WHEN $5 = 1 THEN guesses.last_judged_at ELSE $4 END";
    // A known device does not put off the end of a lock.
    let at_lock = i64::from(opened == Some(Opened::KnownDevice));
    work.run(sql, args![attempt.phone_key, attempt.kind, failures, attempt.now, at_lock]).await?;
    let mut code_failures = 0;
    let device = attempt.device_key.zip(attempt.known_device).filter(|_| by_device);
    if let Some((device, user)) = device {
        let ends = attempt.now.plus_ms(attempt.device_window_ms).ms();
        for device in [device, &throttle::all_devices_of(user)] {
            count_of_device(work, device, attempt.kind, ends, attempt.now).await?;
        }
    }
    match (*code_id, device) {
        (None, _) => {}
        (Some(code), Some((device, user))) => {
            let ends = code_expires_at.unwrap_or_default();
            // A code is counted for as long as the row is there: nothing is accepted after its expiry anyway.
            let since = Timestamp::from_ms(0);
            let scope = code.to_string();
            code_failures = count_of_device(work, device, &scope, ends, since).await?;
            if code_failures == 1 {
                // One more device at this code.
                let all = throttle::all_devices_of(user);
                count_of_device(work, &all, &scope, ends, since).await?;
            }
        }
        (Some(code), None) => {
            let sql = "INSERT INTO code_guesses (code_id, failures, expires_at) VALUES ($1, 1, $2)
                 ON CONFLICT (code_id) DO UPDATE SET failures = code_guesses.failures + 1
                 RETURNING failures";
            let row = work.one(sql, args![code, *code_expires_at]).await?;
            code_failures = row.get("failures")?;
        }
    }
    let locked = failures == attempt.lock_at;
    let marks = [
        (Mark::Unlocked(Opened::Time), opened == Some(Opened::Time)),
        (Mark::Slowed, failures == attempt.free_failures),
        (Mark::Locked, locked),
    ];
    for (mark, _) in marks.into_iter().filter(|(_, is_reached)| *is_reached) {
        lock_marks::write(work, attempt, mark).await?;
    }
    let (failures, code_failures) = (count(failures), count(code_failures));
    Ok(Ok(Counted { failures, code_failures, by_device, locked }))
}

/// Counts a failure of a known device, of one kind or at one code, until `ends`. A count that ended by `now` begins
/// anew. Returns the count.
async fn count_of_device(
    work: &mut Work,
    device: &str,
    scope: &str,
    ends: i64,
    now: Timestamp,
) -> Result<i64, sqlx::Error> {
    let sql = "INSERT INTO device_guesses (device, scope, failures, expires_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (device, scope) DO UPDATE SET
             failures = CASE WHEN device_guesses.expires_at <= $4 THEN 1 ELSE device_guesses.failures + 1 END,
             expires_at = CASE WHEN device_guesses.expires_at <= $4 THEN $3 ELSE device_guesses.expires_at END
         RETURNING failures";
    work.one(sql, args![device, scope, ends, now]).await?.get("failures")
}
