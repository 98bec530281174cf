//! Replaces the old number by a proven new one.

use super::attempts::{AttemptKind, Claimant};
use super::outbox::Prepared;
use super::phone_undo::Undo;
use super::sessions::{self, Ending};
use super::sign_in::{self, Denied, UsedCode};
use super::throttle::{Attempt, AttemptLimits};
use super::users::{self, User, user_returning};
use super::{Accounts, audit};
use domain::engine_error::EngineError;
use domain::event::OtpVerified;
use domain::ids::{RequestId, SessionId, UserId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Purpose;
use sql::args;

/// A change with a correct code, which was sent to the new number.
#[derive(Clone, Copy)]
pub struct PhoneChange<'a> {
    pub user_id: UserId,
    /// The new number. Its attempts are the code's.
    pub claimant: Claimant<'a>,
    /// ISO 3166 region of the new number.
    pub country: &'a str,
    pub code: UsedCode,
    pub request_id: Option<RequestId>,
    pub limits: AttemptLimits,
    /// The session that made the change: the others end.
    pub keep: SessionId,
    /// The notice to the old number, written only together with the change.
    pub notice: Option<&'a Prepared>,
    /// The old number, kept for a while so that staff can restore it.
    pub undo: Option<Undo<'a>>,
    pub now: Timestamp,
}

/// The outcome of a change whose code was redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneChangeOutcome {
    Changed(User),
    /// Another account has the number. The code is used.
    Taken,
}

impl Accounts {
    /// Replaces the number, ends the other sessions, and writes the events: one transaction. The old number is kept
    /// sealed for as long as the change can be undone.
    pub async fn change_phone(
        &self,
        change: PhoneChange<'_>,
    ) -> Result<Result<PhoneChangeOutcome, Denied>, EngineError> {
        let PhoneChange { user_id, claimant, limits, now, .. } = change;
        let attempt = Attempt::new(claimant, AttemptKind::Code, limits, now);
        self.pool
            .within("change a phone", async {
                let mut work = self.pool.transaction().await?;
                if let Err(denied) = sign_in::redeem(&mut work, &attempt, change.code).await? {
                    work.undo().await?;
                    return Ok(Err(denied));
                }
                let name = user_id.to_string();
                let taken = work
                    .optional(
                        "SELECT 1 AS taken FROM users WHERE phone_number = $1 AND id <> $2",
                        args![claimant.phone_number, user_id],
                    )
                    .await?;
                if taken.is_some() {
                    audit::write(&mut work, now, &name, "phone_change_refused_taken", &name, "{}")
                        .await?;
                    work.done().await?;
                    return Ok(Ok(PhoneChangeOutcome::Taken));
                }
                let row = work
                    .optional(
                        concat!(
                            "UPDATE users SET phone_number = $2, country = $3, updated_at = $4
                         WHERE id = $1 AND blocked_at IS NULL RETURNING ",
                            user_returning!()
                        ),
                        args![user_id, claimant.phone_number, change.country, now],
                    )
                    .await;
                // A sign-up with that number came in between. The code is not used; a retry uses it.
                if let Err(sqlx::Error::Database(error)) = &row
                    && error.is_unique_violation()
                {
                    work.undo().await?;
                    return Ok(Ok(PhoneChangeOutcome::Taken));
                }
                let row = row?;
                let Some(user) = row.as_ref().map(users::user).transpose()? else {
                    work.undo().await?;
                    return Ok(Err(Denied::AccountGone));
                };
                sign_in::forget_failures(&mut work, &attempt).await?;
                let others = Ending::others(change.keep, "phone_changed");
                sessions::end(&mut work, user_id, others, None, now).await?;
                if let Some(undo) = change.undo {
                    undo.write(&mut work, user_id, now).await?;
                }
                let verified = OtpVerified {
                    request_id: change.request_id,
                    purpose: Purpose::PhoneChange,
                    user_id,
                    country: change.country.to_owned(),
                    verified_at: now,
                };
                Prepared::of(now, None, verified)?.write(&mut work, now).await?;
                if let Some(notice) = change.notice {
                    notice.write_for(&mut work, user_id, now).await?;
                }
                audit::write(&mut work, now, &name, "phone_changed", &name, "{}").await?;
                work.done().await?;
                Ok(Ok(PhoneChangeOutcome::Changed(user)))
            })
            .await
    }
}
