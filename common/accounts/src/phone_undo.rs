//! Restores a changed number: by staff, for a day, if the change was not made by its owner.

use uuid::Uuid;

use super::outbox::new_id;
use super::sessions::{self, Ending};
use super::users::{self, User, user_returning};
use super::{Accounts, audit};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// How long a change can be undone. The old number is notified at once; a day leaves time to read it and to call.
pub const UNDO_SECS: i64 = 24 * 60 * 60;

/// What a change keeps of the replaced number.
#[derive(Clone, Copy)]
pub struct Undo<'a> {
    /// Sealed by the caller, so that no dump shows it.
    pub old_sealed: &'a str,
    pub until: Timestamp,
}

impl Undo<'_> {
    pub(super) async fn write(
        self,
        work: &mut Work,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO phone_changes (id, user_id, old_sealed, changed_at, undo_until)
             VALUES ($1, $2, $3, $4, $5)";
        work.run(sql, args![new_id(now), user, self.old_sealed, now, self.until]).await.map(drop)
    }
}

/// A number that an account had and can have again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedPhone {
    pub id: Uuid,
    pub old_sealed: String,
    pub changed_at: Timestamp,
    pub undo_until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoOutcome {
    Undone(User),
    /// Another account has the old number now. Nothing changed.
    Taken,
    /// The account is gone, or the time to undo is over. Nothing changed.
    Gone,
}

impl Accounts {
    /// The numbers that an account had and can have again, the last replaced first.
    pub async fn replaced_phones(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<ReplacedPhone>, EngineError> {
        let sql = "SELECT id, old_sealed, changed_at, undo_until FROM phone_changes
             WHERE user_id = $1 AND undo_until > $2 ORDER BY changed_at DESC, id DESC";
        self.pool.rows("read replaced numbers", sql, args![user, now], replaced_phone).await
    }

    /// Restores the number that the change `id` replaced. Whoever made the change may be signed in and may have set a
    /// password: all sessions end, no device is known any more, and the password is removed.
    pub async fn undo_phone(
        &self,
        user: UserId,
        id: Uuid,
        (old_number, country): (&E164, &str),
        actor: &str,
        now: Timestamp,
    ) -> Result<UndoOutcome, EngineError> {
        self.pool.transaction("undo a change of phone", async |work| {
            let sql = "DELETE FROM phone_changes WHERE id = $1 AND user_id = $2 AND undo_until > $3";
            let undone = users::lock_user(work, user).await?.is_some()
                && work.run(sql, args![id, user, now]).await? > 0;
            if !undone {
                work.undo().await?;
                return Ok(UndoOutcome::Gone);
            }
            if users::is_taken(work, old_number, user).await? {
                work.undo().await?;
                return Ok(UndoOutcome::Taken);
            }
            let sql = concat!(
                "UPDATE users SET phone_number = $2, country = $3, password_hash = NULL, updated_at = $4
                 WHERE id = $1 RETURNING ",
                user_returning!()
            );
            let row = work.one(sql, args![user, old_number, country, now]).await;
            if users::lost_the_number(&row) {
                work.undo().await?;
                return Ok(UndoOutcome::Taken);
            }
            let changed = users::user(&row?)?;
            let all = Ending::all("phone_change_undone").with_devices();
            sessions::end(work, user, all, Some(actor), now).await?;
            let name = user.to_string();
            audit::write(work, now, actor, "phone_change_undone", &name, "{}").await?;
            Ok(UndoOutcome::Undone(changed))
        })
        .await
    }
}

fn replaced_phone(row: &Row) -> Result<ReplacedPhone, sqlx::Error> {
    Ok(ReplacedPhone {
        id: row.get("id")?,
        old_sealed: row.get("old_sealed")?,
        changed_at: row.time("changed_at")?,
        undo_until: row.time("undo_until")?,
    })
}
