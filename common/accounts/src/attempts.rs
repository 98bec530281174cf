//! Failed attempts, counted where a flush of Redis cannot reset them (P4; contract, ruling 28).

use serde::Serialize;

use super::throttle::{self, Attempt, AttemptKind, AttemptLimits, Claimant, Throttle};
use super::{Attempts, audit, document};
use domain::engine_error::EngineError;
use domain::ids::CodeId;
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use sql::{Work, args};

/// The counts after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The phone's consecutive failures.
    pub failures: u32,
    /// The code's own failures, 0 for an attempt without a code.
    pub code_failures: u32,
}

/// A failed attempt: what `latchkey_record_failure_2` reads, by these names.
#[derive(Serialize)]
struct FailedAttempt<'a> {
    #[serde(flatten)]
    attempt: Attempt<'a>,
    code_id: Option<CodeId>,
    /// In milliseconds.
    code_expires_at: Option<i64>,
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
        let failed = FailedAttempt {
            attempt: Attempt::new(claimant, kind, limits, now),
            code_id: code.map(|(id, _)| id),
            code_expires_at: code.map(|(_, expires_at)| expires_at.ms()),
        };
        self.pool
            .statement("count a failed attempt", async |work| {
                if !work.is_postgres() {
                    return work.transaction(async |work| record_failure(work, &failed).await).await;
                }
                throttle::carry_over_alone(work, &failed.attempt).await?;
                let document = document::text(&failed)?;
                let sql = "SELECT verdict, until_ms, failed, code_failed FROM latchkey_record_failure_2($1::jsonb)";
                let row = work.one(sql, args![&document]).await?;
                let throttle =
                    Throttle::read(&row.get::<String>("verdict")?, row.maybe_time("until_ms")?);
                let code_failures = row.get::<Option<i64>>("code_failed")?.unwrap_or_default();
                let counted = Counted {
                    failures: count(row.get("failed")?),
                    code_failures: count(code_failures),
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
            let sql = "SELECT failures, last_judged_at,
                         EXISTS (SELECT 1 FROM users WHERE id = $3 AND phone_number = $4) AS known_device
                     FROM guesses WHERE phone_key = $1 AND kind = $2";
            let row = work
                .optional(
                    sql,
                    args![
                        attempt.phone_key,
                        attempt.kind,
                        attempt.known_device,
                        attempt.phone_number
                    ],
                )
                .await?;
            let past = row.as_ref().map(throttle::past).transpose()?;
            Ok(throttle::judge(past, &attempt).err())
        };
        if attempt.former_key.is_some() {
            self.pool.statement(act, steps).await
        } else {
            self.pool.read(act, steps).await
        }
    }

    /// Whether a code's attempts are exhausted by the database's count, whatever another store counted (contract,
    /// ruling 28).
    pub async fn code_is_exhausted(
        &self,
        code: CodeId,
        limits: AttemptLimits,
    ) -> Result<bool, EngineError> {
        let act = "read the failed attempts of a code";
        let steps =
            async |work: &mut Work| throttle::code_is_exhausted(work, code, limits.attempts).await;
        self.pool.read(act, steps).await
    }

    /// Resets both counts of a phone, for staff. Returns whether there was one. `former_key` as in [`Claimant`].
    pub async fn reset_failures(
        &self,
        phone_key: &PhoneKey,
        former_key: Option<&PhoneKey>,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("unlock a phone", async |work| {
                let sql = "DELETE FROM guesses WHERE phone_key = $1 OR phone_key = $2";
                let reset = work
                    .run(sql, args![phone_key.as_str(), former_key.map(PhoneKey::as_str)])
                    .await?;
                audit::write(work, now, actor, "phone_unlocked", phone_key.as_str(), "{}").await?;
                Ok(reset > 0)
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
    let FailedAttempt { attempt, code_id, code_expires_at } = failed;
    let failures = match throttle::check_locked(work, attempt).await? {
        Ok(failures) => failures + 1,
        Err(throttle) => {
            work.undo().await?;
            return Ok(Err(throttle));
        }
    };
    let sql =
        "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_key, kind) DO UPDATE SET failures = $3, last_judged_at = $4";
    work.run(sql, args![attempt.phone_key, attempt.kind, failures, attempt.now]).await?;
    let mut code_failures = 0;
    if let Some(code) = *code_id {
        let sql = "INSERT INTO code_guesses (code_id, failures, expires_at) VALUES ($1, 1, $2)
                 ON CONFLICT (code_id) DO UPDATE SET failures = code_guesses.failures + 1
                 RETURNING failures";
        let row = work.one(sql, args![code, *code_expires_at]).await?;
        code_failures = row.get("failures")?;
    }
    Ok(Ok(Counted { failures: count(failures), code_failures: count(code_failures) }))
}
