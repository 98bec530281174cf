//! Deletes an account, and its number wherever it is stored.

use super::notice::{About, OwnerNotice};
use super::outbox::{self, Prepared};
use super::sessions::{self, Ending};
use super::{Accounts, audit, notice, throttle, users};
use domain::engine_error::EngineError;
use domain::event::UserDeleted;
use domain::ids::{SessionId, UserId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use ledger::erase;
use serde_json::json;
use sql::{Work, args};

/// Who deletes an account.
#[derive(Clone, Copy)]
pub enum Deleter<'a> {
    /// Its user, in this session, which must still be live.
    User(SessionId),
    /// The name of a member of staff.
    Staff(&'a str),
    /// The same, and why.
    StaffFor { actor: &'a str, reason: &'a str },
}

impl Accounts {
    /// Deletes the account, its sessions, its number wherever it is stored, and messages to it that the broker has not
    /// taken yet. Returns whether it did: `false` if the account is gone, or the session of its user has ended.
    ///
    /// What stays: the fence (a code's id), the counts of attempts and notices and the run-time blocks (the phone's key,
    /// because deleting an account must not reset them), and the audit. The audit names the account by `pseudonym`, in
    /// earlier entries too: an HMAC that only the holder of the key can compute. Notes about it lose their text, and
    /// reasons stay. `former` are the account's former numbers, as far as they are known
    /// ([`Accounts::replaced_phones`]). The id stays in the deletion's event until the broker has it. `notice` tells the
    /// number's owner.
    pub async fn delete(
        &self,
        by: Deleter<'_>,
        id: UserId,
        pseudonym: &str,
        former: &[E164],
        notice: Option<&OwnerNotice>,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let deleted = self
            .pool
            .transaction("delete an account", async |work| {
                let Some(phone_number) = users::lock_user(work, id).await? else {
                    work.undo().await?;
                    return Ok(false);
                };
                if let Deleter::User(session) = by
                    && !sessions::lock_live(work, id, session, now).await?
                {
                    work.undo().await?;
                    return Ok(false);
                }
                sessions::end(work, id, Ending::all("account_deleted"), None, now).await?;
                let told = match notice {
                    Some(notice) => {
                        notice::count(work, notice, About::Deletion, now).await?.then_some(notice)
                    }
                    None => None,
                };
                delete_row(work, id, pseudonym).await?;
                let sql = "DELETE FROM device_guesses WHERE device = $1";
                work.run(sql, args![throttle::all_devices_of(id).as_str()]).await?;
                erase::phone(work, &phone_number).await?;
                for number in former {
                    erase::phone(work, number).await?;
                }
                outbox::take_back_texts(work, id).await?;
                if let Some(notice) = told {
                    // For no account: none is there any more.
                    notice.event.write(work, now).await?;
                }
                let gone = UserDeleted { user_id: id, deleted_at: now };
                Prepared::of(now, None, gone)?.write(work, now).await?;
                let (actor, detail) = match by {
                    Deleter::User(_) => (pseudonym, json!({})),
                    Deleter::Staff(actor) => (actor, json!({})),
                    Deleter::StaffFor { actor, reason } => (actor, json!({ "reason": reason })),
                };
                let detail = detail.to_string();
                audit::write(work, now, actor, "user_deleted", pseudonym, &detail).await?;
                Ok(true)
            })
            .await?;
        if deleted {
            self.pool.forget_log().await;
        }
        Ok(deleted)
    }
}

/// Deletes the account's row, puts `pseudonym` in the place of its id in the audit and empties the notes about it. On
/// PostgreSQL a function does the former two (`0013_audit_of_deleted.sql`) and a trigger the last (`0024_notes.sql`): a
/// gateway with a login of its own has no right to change the audit.
async fn delete_row(work: &mut Work, id: UserId, pseudonym: &str) -> Result<(), sqlx::Error> {
    if work.is_postgres() {
        let sql = "SELECT latchkey_delete_user($1, $2)";
        return work.run(sql, args![id, pseudonym]).await.map(drop);
    }
    let sql = "DELETE FROM users WHERE id = $1";
    work.run(sql, args![id]).await?;
    audit::rename(work, &id.to_string(), pseudonym).await
}
