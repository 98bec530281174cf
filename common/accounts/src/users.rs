//! Accounts.

use super::{Accounts, Directory};
use std::fmt;

use serde_json::json;

use super::outbox::{self, Prepared};
use super::sessions::Ending;
use super::{audit, sessions};
use domain::engine_error::EngineError;
use domain::event::{UserCreated, UserDeleted};
use domain::ids::UserId;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use ledger::erase;
use sql::{Row, Work, args};

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub phone_number: E164,
    /// Empty for an account without names, like the last name.
    pub first_name: String,
    pub last_name: String,
    pub locale: String,
    /// ISO 3166 region of the number.
    pub country: String,
    /// `admin` or `support`, for staff.
    pub role: Option<String>,
    pub created_at: Timestamp,
    pub blocked: bool,
}

impl fmt::Debug for User {
    /// Shows neither number nor names (P10).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("country", &self.country)
            .field("role", &self.role)
            .field("created_at", &self.created_at)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

/// The columns that [`user`] reads, of a table or subquery named `u`.
macro_rules! user_columns {
    () => {
        "u.id AS u_id, u.phone_number, u.first_name, u.last_name, u.locale, u.country, u.role, \
         u.created_at AS u_created_at, u.blocked_at IS NOT NULL AS blocked"
    };
}
/// The same columns in a `RETURNING` clause.
macro_rules! user_returning {
    () => {
        "id AS u_id, phone_number, first_name, last_name, locale, country, role, \
         created_at AS u_created_at, blocked_at IS NOT NULL AS blocked"
    };
}
pub(super) use {user_columns, user_returning};

pub(super) fn user(row: &Row) -> Result<User, sqlx::Error> {
    Ok(User {
        id: UserId::from_uuid(row.get("u_id")?),
        phone_number: row.e164("phone_number")?,
        first_name: row.get("first_name")?,
        last_name: row.get("last_name")?,
        locale: row.get("locale")?,
        country: row.get("country")?,
        role: row.get("role")?,
        created_at: row.time("u_created_at")?,
        blocked: row.get("blocked")?,
    })
}

/// A user's changes to their own profile. `None` leaves a field as it is.
#[derive(Clone, Copy, Default)]
pub struct Changes<'a> {
    pub first_name: Option<&'a str>,
    pub last_name: Option<&'a str>,
    pub locale: Option<&'a str>,
}

impl Changes<'_> {
    /// The names of the changed fields: the audit records no more, because it outlives the account.
    fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("first_name", self.first_name),
            ("last_name", self.last_name),
            ("locale", self.locale),
        ];
        fields.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect()
    }
}

/// An account created by staff or by an import; users create their own at their first sign-in.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    pub id: UserId,
    pub phone_number: &'a E164,
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub locale: &'a str,
    pub country: &'a str,
    /// In PHC form.
    pub password_hash: Option<&'a str>,
    pub created_at: Timestamp,
    /// Why the account is blocked from the start; `None` if it is not blocked.
    pub block_reason: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    Created(User),
    /// The number or the id already has an account. Nothing changed.
    Exists,
}

impl Accounts {
    pub async fn get(&self, id: UserId) -> Result<Option<User>, EngineError> {
        self.pool
            .within("read an account", async {
                let mut work = self.pool.reading().await?;
                let row = work
                    .optional(
                        concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1"),
                        args![id],
                    )
                    .await?;
                work.done().await?;
                row.as_ref().map(user).transpose()
            })
            .await
    }

    pub async fn by_phone(&self, phone_number: &E164) -> Result<Option<User>, EngineError> {
        self.pool
            .within("find an account", async {
                let mut work = self.pool.reading().await?;
                let row = work
                    .optional(
                        concat!(
                            "SELECT ",
                            user_columns!(),
                            " FROM users u WHERE u.phone_number = $1"
                        ),
                        args![phone_number],
                    )
                    .await?;
                work.done().await?;
                row.as_ref().map(user).transpose()
            })
            .await
    }

    /// Accounts in the order of their ids, starting after `after`: for the export.
    pub async fn page(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, EngineError> {
        self.pool
            .within("list accounts", async {
                let mut work = self.pool.reading().await?;
                let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
                let rows = work
                    .rows(
                        concat!(
                            "SELECT ",
                            user_columns!(),
                            " FROM users u WHERE u.id > $1 ORDER BY u.id LIMIT $2"
                        ),
                        args![after, limit],
                    )
                    .await?;
                work.done().await?;
                rows.iter().map(user).collect()
            })
            .await
    }

    /// Creates an account without a sign-in: for staff and imports.
    pub async fn create(
        &self,
        new: NewUser<'_>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Creation, EngineError> {
        self.pool.within("create an account", async {
            let mut work = self.pool.transaction().await?;
            let row = work
                .optional(
                    concat!(
                        "INSERT INTO users (id, phone_number, first_name, last_name, locale, country,
                             password_hash, created_at, updated_at, last_seen_at,
                             blocked_at, blocked_by, block_reason)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $10, $11, $12)
                         ON CONFLICT DO NOTHING RETURNING ",
                        user_returning!()
                    ),
                    args![
                        new.id,
                        new.phone_number,
                        new.first_name,
                        new.last_name,
                        new.locale,
                        new.country,
                        new.password_hash,
                        new.created_at,
                        now,
                        new.block_reason.map(|_| now),
                        new.block_reason.map(|_| actor),
                        new.block_reason,
                    ],
                )
                .await?;
            let Some(row) = row else {
                work.undo().await?;
                return Ok(Creation::Exists);
            };
            let made = UserCreated {
                user_id: new.id,
                created_at: new.created_at,
                country: new.country.to_owned(),
            };
            Prepared::of(now, None, made)?.write(&mut work, now).await?;
            audit::write(&mut work, now, actor, "user_created", &new.id.to_string(), "{}").await?;
            work.done().await?;
            user(&row).map(Creation::Created)
        })
        .await
    }

    /// `None` if the account is gone.
    pub async fn update_profile(
        &self,
        id: UserId,
        changes: Changes<'_>,
        now: Timestamp,
    ) -> Result<Option<User>, EngineError> {
        self.pool
            .within("change a profile", async {
                let mut work = self.pool.transaction().await?;
                let row = work
                    .optional(
                        concat!(
                            "UPDATE users SET first_name = COALESCE($2, first_name),
                             last_name = COALESCE($3, last_name), locale = COALESCE($4, locale),
                             updated_at = $5
                         WHERE id = $1 RETURNING ",
                            user_returning!()
                        ),
                        args![id, changes.first_name, changes.last_name, changes.locale, now],
                    )
                    .await?;
                let fields = changes.fields();
                if row.is_some() && !fields.is_empty() {
                    let (id, detail) = (id.to_string(), json!({ "fields": fields }).to_string());
                    audit::write(&mut work, now, &id, "profile_changed", &id, &detail).await?;
                }
                work.done().await?;
                row.as_ref().map(user).transpose()
            })
            .await
    }

    /// Deletes the account, its sessions, its number wherever it is stored, and messages to it that the broker has not
    /// taken yet. Returns whether it existed.
    ///
    /// What stays: the fence (a code's id), the counts of attempts and the run-time blocks (the phone's key, because
    /// deleting an account must not reset either), and the audit. The audit names the account by `pseudonym`, in
    /// earlier entries too: an HMAC that only the holder of the key can compute. `former` are the account's former
    /// numbers, as far as they are known ([`Db::replaced_phones`]). The id stays in the deletion's event until the
    /// broker has it.
    pub async fn delete(
        &self,
        id: UserId,
        pseudonym: &str,
        former: &[E164],
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let deleted = self
            .pool
            .within("delete an account", async {
                let mut work = self.pool.transaction().await?;
                let Some(phone_number) = lock_user(&mut work, id).await? else {
                    work.undo().await?;
                    return Ok(false);
                };
                sessions::end(&mut work, id, Ending::all("account_deleted"), None, now).await?;
                work.run("DELETE FROM users WHERE id = $1", args![id]).await?;
                erase::phone(&mut work, &phone_number).await?;
                for number in former {
                    erase::phone(&mut work, number).await?;
                }
                outbox::take_back_texts(&mut work, id).await?;
                let gone = UserDeleted { user_id: id, deleted_at: now };
                Prepared::of(now, None, gone)?.write(&mut work, now).await?;
                let own = actor == id.to_string();
                let actor = if own { pseudonym } else { actor };
                audit::write(&mut work, now, actor, "user_deleted", pseudonym, "{}").await?;
                audit::rename(&mut work, &id.to_string(), pseudonym).await?;
                work.done().await?;
                Ok(true)
            })
            .await?;
        if deleted {
            self.pool.forget_log().await;
        }
        Ok(deleted)
    }
}

impl Directory {
    /// Whether an account has this number.
    pub async fn knows(&self, phone_number: &E164) -> Result<bool, EngineError> {
        Ok(Accounts::new(&self.pool).by_phone(phone_number).await?.is_some())
    }
}

/// Returns the account's number, and locks the account until the transaction's end: sign-ins and endings queue behind
/// it.
pub(super) async fn lock_user(work: &mut Work, id: UserId) -> Result<Option<E164>, sqlx::Error> {
    let row = work
        .optional(
            "UPDATE users SET updated_at = updated_at WHERE id = $1 RETURNING phone_number",
            args![id],
        )
        .await?;
    row.map(|row| row.e164("phone_number")).transpose()
}
