//! Failed attempts, counted where a flush of Redis cannot reset them (P4; contract, ruling 28).

use serde::Serialize;

use super::throttle::{self, Attempt, AttemptLimits, Throttle};
use super::{Attempts, audit, document};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, UserId};
use domain::keys::PhoneKey;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::args;

string_enum! {
    /// Codes and passwords have separate counts.
    pub enum AttemptKind { Code = "code", Password = "password" }
}

/// The phone under attempt, and the client that makes it.
#[derive(Clone, Copy)]
pub struct Claimant<'a> {
    pub phone_number: &'a str,
    pub phone_key: &'a PhoneKey,
    /// The key that the phone had under the previous secret, during a rotation.
    pub former_key: Option<&'a PhoneKey>,
    /// The owner of the device, by a device token that was valid for this account and this phone. Ignored if the
    /// account is gone or has another number now.
    pub known_device: Option<UserId>,
}

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
            .within("count a failed attempt", async {
                if !self.pool.is_postgres() {
                    return self.record_failure_sqlite(&failed).await;
                }
                self.carry_over(&failed.attempt).await?;
                let document = document::text(&failed)?;
                let mut work = self.pool.statement().await?;
                let row = work
                    .one(
                        "SELECT verdict, until_ms, failed, code_failed FROM latchkey_record_failure_2($1::jsonb)",
                        args![&document],
                    )
                    .await?;
                let throttle =
                    Throttle::read(&row.get::<String>("verdict")?, row.maybe_time("until_ms")?);
                let counted = Counted {
                    failures: count(row.get("failed")?),
                    code_failures: count(
                        row.get::<Option<i64>>("code_failed")?.unwrap_or_default(),
                    ),
                };
                work.done().await?;
                Ok(throttle.map_or(Ok(counted), Err))
            })
            .await
    }

    async fn record_failure_sqlite(
        &self,
        failed: &FailedAttempt<'_>,
    ) -> Result<Result<Counted, Throttle>, sqlx::Error> {
        let mut work = self.pool.transaction().await?;
        let FailedAttempt { attempt, code_id, code_expires_at } = failed;
        let failures = match throttle::check_locked(&mut work, attempt).await? {
            Ok(failures) => failures + 1,
            Err(throttle) => {
                work.undo().await?;
                return Ok(Err(throttle));
            }
        };
        work.run(
            "INSERT INTO guesses (phone_key, kind, failures, last_judged_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (phone_key, kind) DO UPDATE SET failures = $3, last_judged_at = $4",
            args![attempt.phone_key, attempt.kind, failures, attempt.now],
        )
        .await?;
        let mut code_failures = 0;
        if let Some(code) = *code_id {
            let row = work
                .one(
                    "INSERT INTO code_guesses (code_id, failures, expires_at) VALUES ($1, 1, $2)
                     ON CONFLICT (code_id) DO UPDATE SET failures = code_guesses.failures + 1
                     RETURNING failures",
                    args![code, *code_expires_at],
                )
                .await?;
            code_failures = row.get("failures")?;
        }
        work.done().await?;
        Ok(Ok(Counted { failures: count(failures), code_failures: count(code_failures) }))
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
        self.pool.within("read the failed attempts of a phone", async {
            let attempt = Attempt::new(claimant, kind, limits, now);
            self.carry_over(&attempt).await?;
            let mut work = self.pool.reading().await?;
            let row = work
                .optional(
                    "SELECT failures, last_judged_at,
                         EXISTS (SELECT 1 FROM users WHERE id = $3 AND phone_number = $4) AS known_device
                     FROM guesses WHERE phone_key = $1 AND kind = $2",
                    args![attempt.phone_key, attempt.kind, attempt.known_device, attempt.phone_number],
                )
                .await?;
            let past = row.as_ref().map(throttle::past).transpose()?;
            work.done().await?;
            Ok(throttle::judge(past, &attempt).err())
        })
        .await
    }

    /// Whether a code's attempts are exhausted by the database's count, whatever another store counted (contract,
    /// ruling 28).
    pub async fn code_is_exhausted(
        &self,
        code: CodeId,
        limits: AttemptLimits,
    ) -> Result<bool, EngineError> {
        self.pool
            .within("read the failed attempts of a code", async {
                let mut work = self.pool.reading().await?;
                let row = work
                    .optional(
                        "SELECT 1 AS spent FROM code_guesses WHERE code_id = $1 AND failures >= $2",
                        args![code, limits.attempts],
                    )
                    .await?;
                work.done().await?;
                Ok(row.is_some())
            })
            .await
    }

    /// For single-statement operations during a rotation: see [`throttle::carry_over`].
    pub(super) async fn carry_over(&self, attempt: &Attempt<'_>) -> Result<(), sqlx::Error> {
        if attempt.former_key.is_none() {
            return Ok(());
        }
        let mut work = self.pool.transaction().await?;
        throttle::carry_over(&mut work, attempt).await?;
        work.done().await
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
            .within("unlock a phone", async {
                let mut work = self.pool.transaction().await?;
                let reset = work
                    .run(
                        "DELETE FROM guesses WHERE phone_key = $1 OR phone_key = $2",
                        args![phone_key.as_str(), former_key.map(PhoneKey::as_str)],
                    )
                    .await?;
                audit::write(&mut work, now, actor, "phone_unlocked", phone_key.as_str(), "{}")
                    .await?;
                work.done().await?;
                Ok(reset > 0)
            })
            .await
    }
}

fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
