//! Accounts.

use std::fmt;

use serde_json::json;

use super::outbox::Prepared;
use super::{Accounts, Directory, audit};
use domain::engine_error::EngineError;
use domain::event::UserCreated;
use domain::ids::UserId;
use domain::phone::E164;
use domain::timestamp::Timestamp;
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
    /// For staff; [`User::staff_role`] reads it.
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
/// A query of accounts.
macro_rules! select_users {
    ($rest:literal) => {
        concat!("SELECT ", crate::users::user_columns!(), " FROM users u ", $rest)
    };
}
/// The same columns in a `RETURNING` clause.
macro_rules! user_returning {
    () => {
        "id AS u_id, phone_number, first_name, last_name, locale, country, role, \
         created_at AS u_created_at, blocked_at IS NOT NULL AS blocked"
    };
}
pub(super) use {select_users, user_columns, user_returning};

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
    /// The names of the fields that change: the audit records no more, because it outlives the account.
    fn fields(&self, user: &User) -> Vec<&'static str> {
        let fields = [
            ("first_name", self.first_name, &user.first_name),
            ("last_name", self.last_name, &user.last_name),
            ("locale", self.locale, &user.locale),
        ];
        let changes = fields.into_iter().filter(|(_, new, old)| new.is_some_and(|new| new != *old));
        changes.map(|(name, ..)| name).collect()
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
        let sql = select_users!("WHERE u.id = $1");
        self.pool.optional("read an account", sql, args![id], user).await
    }

    pub async fn by_phone(&self, phone_number: &E164) -> Result<Option<User>, EngineError> {
        let sql = select_users!("WHERE u.phone_number = $1");
        self.pool.optional("find an account", sql, args![phone_number], user).await
    }

    /// Accounts in the order of their ids, starting after `after`: for the export.
    pub async fn page(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, EngineError> {
        let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
        let sql = select_users!("WHERE u.id > $1 ORDER BY u.id LIMIT $2");
        self.pool.rows("list accounts", sql, args![after, limit], user).await
    }

    /// Creates an account without a sign-in: for staff and imports.
    pub async fn create(
        &self,
        new: NewUser<'_>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Creation, EngineError> {
        self.pool
            .transaction("create an account", async |work| {
                let sql = concat!(
                    "INSERT INTO users (id, phone_number, first_name, last_name, locale, country,
                     password_hash, created_at, updated_at, last_seen_at,
                     blocked_at, blocked_by, block_reason)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $10, $11, $12)
                 ON CONFLICT DO NOTHING RETURNING ",
                    user_returning!()
                );
                let args = args![
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
                ];
                let row = work.optional(sql, args).await?;
                let Some(row) = row else {
                    work.undo().await?;
                    return Ok(Creation::Exists);
                };
                let made = UserCreated {
                    user_id: new.id,
                    created_at: new.created_at,
                    country: new.country.to_owned(),
                };
                Prepared::of(now, None, made)?.write(work, now).await?;
                audit::write(work, now, actor, "user_created", &new.id.to_string(), "{}").await?;
                user(&row).map(Creation::Created)
            })
            .await
    }

    /// Changes what differs; if nothing does, nothing is written (contract, ruling 44). `None` if the account is gone.
    pub async fn update_profile(
        &self,
        id: UserId,
        changes: Changes<'_>,
        now: Timestamp,
    ) -> Result<Option<User>, EngineError> {
        self.pool
            .transaction("change a profile", async |work| {
                let sql = locking!(work, select_users!("WHERE u.id = $1"), " FOR UPDATE", "");
                let row = work.optional(sql, args![id]).await?;
                let before = row.as_ref().map(user).transpose()?;
                let fields = before.as_ref().map(|before| changes.fields(before));
                if fields.as_ref().is_none_or(Vec::is_empty) {
                    work.undo().await?;
                    return Ok(before);
                }
                let sql = concat!(
                    "UPDATE users SET first_name = COALESCE($2, first_name),
                         last_name = COALESCE($3, last_name), locale = COALESCE($4, locale),
                         updated_at = $5
                     WHERE id = $1 RETURNING ",
                    user_returning!()
                );
                let Changes { first_name, last_name, locale } = changes;
                let row = work.one(sql, args![id, first_name, last_name, locale, now]).await?;
                let (id, detail) = (id.to_string(), json!({ "fields": fields }).to_string());
                audit::write(work, now, &id, "profile_changed", &id, &detail).await?;
                user(&row).map(Some)
            })
            .await
    }
}

impl Directory {
    /// Whether an account has this number.
    pub async fn knows(&self, phone_number: &E164) -> Result<bool, EngineError> {
        // One column: the login of otp-worker may read no other of this table (contract, ruling 54).
        let sql = "SELECT 1 AS known FROM users WHERE phone_number = $1";
        let arguments = args![phone_number];
        let known = self.pool.optional("look up a phone", sql, arguments, |_| Ok(())).await?;
        Ok(known.is_some())
    }
}

/// Whether another account has the number.
pub(super) async fn is_taken(
    work: &mut Work,
    phone_number: &E164,
    by_other_than: UserId,
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT 1 AS taken FROM users WHERE phone_number = $1 AND id <> $2";
    Ok(work.optional(sql, args![phone_number, by_other_than]).await?.is_some())
}

/// Whether an account could not get a number because a sign-up with it came in between.
pub(super) fn lost_the_number<T>(written: &Result<T, sqlx::Error>) -> bool {
    matches!(written, Err(sqlx::Error::Database(error)) if error.is_unique_violation())
}

/// Returns the account's number, and locks the account until the transaction's end: sign-ins and endings queue behind
/// it.
pub(super) async fn lock_user(work: &mut Work, id: UserId) -> Result<Option<E164>, sqlx::Error> {
    let sql = "UPDATE users SET updated_at = updated_at WHERE id = $1 RETURNING phone_number";
    let row = work.optional(sql, args![id]).await?;
    row.map(|row| row.e164("phone_number")).transpose()
}
