//! Replaces the old number by a proven new one.

use serde_json::json;

use super::notice::{About, OwnerNotice};
use super::outbox::Prepared;
use super::phone_undo::Undo;
use super::redeem::{Denied, UsedCode, redeem};
use super::sessions::{self, Ending};
use super::throttle::{Attempt, AttemptKind, AttemptLimits, Claimant};
use super::users::{self, User, user_returning};
use super::{Accounts, audit, lock_marks, notice};
use domain::engine_error::EngineError;
use domain::event::OtpVerified;
use domain::ids::{RequestId, SessionId, UserId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Purpose;
use sql::{Work, args};

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
    /// The session that makes the change, if it is still live: the others end.
    pub keep: SessionId,
    /// The notice to the old number, written only together with the change.
    pub notice: Option<&'a OwnerNotice>,
    /// The old number, kept for a while so that staff can restore it.
    pub undo: Option<Undo<'a>>,
    pub now: Timestamp,
}

impl PhoneChange<'_> {
    /// What belongs to a change: the old number for the undo, the event, and the notice.
    async fn write_events(&self, work: &mut Work) -> Result<(), sqlx::Error> {
        let Self { user_id, now, .. } = *self;
        if let Some(undo) = self.undo {
            undo.write(work, user_id, now).await?;
        }
        let verified = OtpVerified {
            request_id: self.request_id,
            purpose: Purpose::PhoneChange,
            user_id,
            country: self.country.to_owned(),
            verified_at: now,
        };
        Prepared::of(now, None, verified)?.write(work, now).await?;
        notice::write(work, user_id, self.notice, About::Phone, now).await
    }
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
            .transaction("change a phone", async |work| {
                let judged = match redeem(work, &attempt, change.code).await? {
                    Ok(judged) => judged,
                    Err(denied) => {
                        work.undo().await?;
                        return Ok(Err(denied));
                    }
                };
                if !sessions::lock_live(work, user_id, change.keep, now).await? {
                    work.undo().await?;
                    return Ok(Err(Denied::SessionEnded));
                }
                let name = user_id.to_string();
                if users::is_taken(work, claimant.phone_number, user_id).await? {
                    audit::write(work, now, &name, "phone_change_refused_taken", &name, "{}")
                        .await?;
                    return Ok(Ok(PhoneChangeOutcome::Taken));
                }
                let sql = concat!(
                    "UPDATE users SET phone_number = $2, country = $3, updated_at = $4
                     WHERE id = $1 AND blocked_at IS NULL RETURNING ",
                    user_returning!()
                );
                let args = args![user_id, claimant.phone_number, change.country, now];
                let row = work.optional(sql, args).await;
                // The code is not used; a retry uses it.
                if users::lost_the_number(&row) {
                    work.undo().await?;
                    return Ok(Ok(PhoneChangeOutcome::Taken));
                }
                let Some(user) = row?.as_ref().map(users::user).transpose()? else {
                    work.undo().await?;
                    return Ok(Err(Denied::SessionEnded));
                };
                lock_marks::reset(work, &attempt, judged.opened).await?;
                let others = Ending::others(change.keep, "phone_changed");
                sessions::end(work, user_id, others, None, now).await?;
                change.write_events(work).await?;
                let detail = json!({ "session": change.keep }).to_string();
                audit::write(work, now, &name, "phone_changed", &name, &detail).await?;
                Ok(Ok(PhoneChangeOutcome::Changed(user)))
            })
            .await
    }
}
