//! Texts that tell an account's owner of a change (contract, ruling 38; ASVS 6.3.7): each is an event that is written with
//! the change, so it is sent if and only if the change is committed.

use super::outbox::{Prepared, new_id};
use super::{Accounts, audit};
use domain::clock::Clock;
use domain::engine_error::EngineError;
use domain::event::{Envelope, SmsRequested, Text};
use domain::ids::{MessageId, UserId};
use domain::keys::{Keys, PhoneKey};
use domain::phone::Phone;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::Channel;
use sql::{Work, args};

/// How long a notice is worth sending: one that comes late is better than none.
const LIFE_SECS: i64 = 6 * 60 * 60;
const DAY_SECS: i64 = 24 * 60 * 60;

/// A notice that is ready to be written with what it tells.
#[derive(Clone, Debug)]
pub struct OwnerNotice {
    pub event: Prepared,
    /// The key of the number that it goes to.
    pub phone: PhoneKey,
}

/// What a notice is about. Each has a count of its own: changes of the password, which cost nothing, must not make the
/// loss of the number or of the account pass in silence.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// A change of the password, or a lock.
    Password,
    Phone,
    Deletion,
}

impl About {
    /// Its name in the table, and the most notices about it to one number within a day: more would be a way to spend
    /// money and to annoy.
    const fn most(self) -> (&'static str, i64) {
        match self {
            Self::Password => ("password", 3),
            Self::Phone => ("phone", 1),
            Self::Deletion => ("deletion", 1),
        }
    }
}

/// A notice to this number. `of_deleted`: its account is deleted, so that nothing keeps the number.
///
/// # Errors
/// If it cannot be sealed, or is too large for an event.
pub fn prepare(
    keys: &Keys,
    clock: &Clock,
    to: &Phone,
    text: String,
    of_deleted: bool,
) -> anyhow::Result<OwnerNotice> {
    // By the store's time, which sms-worker uses too.
    let not_after = clock.now().plus_secs(LIFE_SECS);
    let phone = keys.phone_key(to.e164());
    let text = Text { phone_number: to.e164().clone(), text, of_deleted };
    let requested = SmsRequested {
        message_id: MessageId::new(clock),
        request_id: None,
        channel: Channel::Sms,
        country: to.region().to_owned(),
        not_after,
        requested_at: None,
        sealed: Sealed::none(),
    };
    let event = Envelope::<SmsRequested>::sealing(keys, clock, "gateway", None, requested, &text)?;
    Ok(OwnerNotice { event: Prepared::new(&event)?, phone })
}

/// A lock is told once in this time, however often it happens: an attacker decides how often.
const LOCK_TOLD_SECS: i64 = 7 * DAY_SECS;

impl Accounts {
    /// Writes the notice of a lock, unless this phone's owner was told of one in the last week, or of three such
    /// things today.
    pub async fn tell_of_lock(
        &self,
        user: UserId,
        phone: &PhoneKey,
        notice: &OwnerNotice,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        self.pool
            .transaction("tell of a lock", async |work| {
                let sql = "UPDATE users SET updated_at = updated_at WHERE id = $1";
                let is_there = work.run(sql, args![user]).await? > 0;
                let sql = "SELECT 1 AS told FROM audit WHERE subject = $1 AND act = 'lock_told' AND at > $2";
                let since = now.plus_secs(-LOCK_TOLD_SECS);
                let told = work.optional(sql, args![phone.as_str(), since]).await?;
                // Only a lock that a text was sent of counts as told.
                if !is_there || told.is_some()
                    || !count(work, notice, About::Password, now).await?
                {
                    return Ok(());
                }
                notice.event.write_for(work, user, now).await?;
                audit::write(work, now, "system", "lock_told", phone.as_str(), "{}").await
            })
            .await
    }
}

/// Writes a notice, unless its number had all of this kind for the day. The caller holds the lock of the account's row,
/// and no two accounts have one number.
pub(super) async fn write(
    work: &mut Work,
    user: UserId,
    notice: Option<&OwnerNotice>,
    about: About,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    match notice {
        Some(notice) if count(work, notice, about, now).await? => {
            notice.event.write_for(work, user, now).await
        }
        _ => Ok(()),
    }
}

/// Counts a notice by its number, over all accounts that had it. Returns whether it may be sent.
pub(super) async fn count(
    work: &mut Work,
    notice: &OwnerNotice,
    about: About,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (kind, most) = about.most();
    let sql = "INSERT INTO notices (id, phone_key, about, at) SELECT $1, $2, $3, $4
         WHERE (SELECT COUNT(*) FROM notices WHERE phone_key = $2 AND about = $3 AND at > $5) < $6";
    let since = now.plus_secs(-DAY_SECS);
    let args = args![new_id(now), notice.phone.as_str(), kind, now, since, most];
    Ok(work.run(sql, args).await? > 0)
}
