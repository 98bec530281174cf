//! The marks that a phone's failures leave (contract, ruling 43): at the tenth in a row, at each lock and at its end. No
//! more of them, because anybody can fail: the audit is never swept.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::audit;
use super::outbox::{CutEvent, Prepared};
use super::throttle::{Attempt, Opened};
use domain::event::{PhoneLocked, PhoneUnlocked};
use domain::ids::UserId;
use sql::{Work, args};

/// The audit's actor: nobody is known.
const ACTOR: &str = "system";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// From here on attempts wait.
    Slowed,
    Locked,
    Unlocked(Opened),
}

/// Entries by their name, as `latchkey_lock_mark_2` looks them up.
pub(super) type Entries = BTreeMap<&'static str, Entry>;

/// What a mark writes.
#[derive(Serialize)]
pub(super) struct Entry {
    act: &'static str,
    detail: String,
    /// Cut where the account's id belongs, if there is an account.
    event: Option<CutEvent>,
}

impl Mark {
    const fn name(self) -> &'static str {
        match self {
            Self::Slowed => "slowed",
            Self::Locked => "locked",
            Self::Unlocked(opened) => opened.as_str(),
        }
    }

    fn entry(self, attempt: &Attempt<'_>) -> Result<Entry, sqlx::Error> {
        let Attempt { now, kind, .. } = *attempt;
        let subject = attempt.phone_key.get(..8).unwrap_or(attempt.phone_key).to_owned();
        // An id that occurs nowhere else.
        let owner = UserId::from_uuid(super::outbox::new_id(now));
        let (user_id, kind_) = (Some(owner), kind.to_owned());
        let cut = |event| CutEvent::at(&[member(Some(owner))], event);
        Ok(match self {
            Self::Slowed => Entry {
                act: "phone_slowed",
                detail: json!({ "kind": kind, "failures": attempt.free_failures }).to_string(),
                event: None,
            },
            Self::Locked => {
                let failures = u32::try_from(attempt.lock_at).unwrap_or(u32::MAX);
                let until = (attempt.reset_ms > 0).then(|| now.plus_ms(attempt.reset_ms));
                let event =
                    PhoneLocked { subject, user_id, kind: kind_, failures, locked_at: now, until };
                Entry {
                    act: "phone_locked",
                    detail: json!({ "kind": kind, "failures": failures }).to_string(),
                    event: Some(cut(Prepared::of(now, None, event)?)),
                }
            }
            Self::Unlocked(opened) => {
                let reason = opened.as_str().to_owned();
                let event =
                    PhoneUnlocked { subject, user_id, kind: kind_, reason, unlocked_at: now };
                Entry {
                    act: "phone_unlocked",
                    detail: json!({ "kind": kind, "reason": opened.as_str() }).to_string(),
                    event: Some(cut(Prepared::of(now, None, event)?)),
                }
            }
        })
    }
}

/// The member of an event that names the account.
fn member(owner: Option<UserId>) -> String {
    owner.map_or_else(String::new, |owner| format!(",\"user_id\":\"{owner}\""))
}

/// What PostgreSQL writes of these marks, if it comes to one.
pub(super) fn prepare(attempt: &Attempt<'_>, marks: &[Mark]) -> Result<Entries, sqlx::Error> {
    marks.iter().map(|mark| Ok((mark.name(), mark.entry(attempt)?))).collect()
}

/// The steps of `lock_marks.postgres.sql`.
pub(super) async fn write(
    work: &mut Work,
    attempt: &Attempt<'_>,
    mark: Mark,
) -> Result<(), sqlx::Error> {
    tell(work, attempt, mark).await?;
    let Entry { act, detail, .. } = mark.entry(attempt)?;
    audit::write(work, attempt.now, ACTOR, act, attempt.phone_key, &detail).await
}

/// Writes the event alone: for an act that has an entry of its own.
pub(super) async fn tell(
    work: &mut Work,
    attempt: &Attempt<'_>,
    mark: Mark,
) -> Result<(), sqlx::Error> {
    let Some(event) = mark.entry(attempt)?.event else { return Ok(()) };
    let sql = "SELECT id FROM users WHERE phone_number = $1";
    let row = work.optional(sql, args![attempt.phone_number]).await?;
    let owner = row.map(|row| row.get("id").map(UserId::from_uuid)).transpose()?;
    CutEvent::write_all(work, &[event], &member(owner), attempt.now).await
}

/// Resets the consecutive failures after a success, also those under the previous secret. `opened`: the lock that it
/// ended.
pub(super) async fn reset(
    work: &mut Work,
    attempt: &Attempt<'_>,
    opened: Option<Opened>,
) -> Result<(), sqlx::Error> {
    if let Some(opened) = opened {
        write(work, attempt, Mark::Unlocked(opened)).await?;
    }
    let sql = "DELETE FROM guesses WHERE kind = $2 AND (phone_key = $1 OR phone_key = $3)";
    work.run(sql, args![attempt.phone_key, attempt.kind, attempt.former_key]).await.map(drop)
}
