//! Staff operations on accounts: roles, blocks of accounts.

use serde_json::json;

use super::sessions::{self, Ending};
use super::users::{self, User, select_users};
use super::{Accounts, audit};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Work, args};

string_enum! {
    /// What a member of staff may do at the console, least first: each may do what the one before may (contract, ruling
    /// 65).
    #[derive(PartialOrd, Ord)]
    pub enum StaffRole { Viewer = "viewer", Support = "support", Operator = "operator", Owner = "owner" }
}

impl StaffRole {
    /// The role of this name, as it is stored or as an operator writes it; `admin` is the former name of `owner`.
    pub fn named(name: &str) -> Option<Self> {
        if name == "admin" { Some(Self::Owner) } else { name.parse().ok() }
    }
}

impl User {
    /// The role of a member of staff. An account with a role that this version does not know is none.
    pub fn staff_role(&self) -> Option<StaffRole> {
        StaffRole::named(self.role.as_deref()?)
    }
}

/// A change of a role at the console.
#[derive(Clone, Copy, Debug)]
pub struct RoleChange<'a> {
    /// The owner who makes it.
    pub by: UserId,
    pub user: UserId,
    /// `None` removes the role.
    pub role: Option<StaffRole>,
    /// For the audit.
    pub reason: &'a str,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChanged {
    Done,
    /// The account has this role already, or none that could be removed.
    Unchanged,
    /// There is no such account.
    Unknown,
    /// Nobody changes their own role: so at least one owner always stays.
    Own,
    /// Whoever makes it is no owner any more.
    NotOwner,
}

impl Accounts {
    /// Gives or removes a role in the name of an owner, whose own role is read in the same transaction: of two owners who
    /// remove each other at once, one stays. A removed role ends the account's sessions at the console.
    pub async fn change_role(
        &self,
        change: RoleChange<'_>,
        now: Timestamp,
    ) -> Result<RoleChanged, EngineError> {
        let RoleChange { by, user, role, reason } = change;
        if by == user {
            return Ok(RoleChanged::Own);
        }
        self.pool
            .transaction("change a role", async |work| {
                let sql = locking!(
                    work,
                    select_users!("WHERE u.id = $1 OR u.id = $2 ORDER BY u.id"),
                    " FOR UPDATE",
                    ""
                );
                let rows = work.rows(sql, args![by, user]).await?;
                let both: Vec<User> = rows.iter().map(users::user).collect::<Result<_, _>>()?;
                let find = |id: UserId| both.iter().find(|account| account.id == id);
                let is_owner = |account: &User| {
                    account.staff_role() == Some(StaffRole::Owner) && !account.blocked
                };
                if !find(by).is_some_and(is_owner) {
                    return Ok(RoleChanged::NotOwner);
                }
                let Some(account) = find(user) else { return Ok(RoleChanged::Unknown) };
                if account.role.is_none() && role.is_none()
                    || role.is_some() && account.staff_role() == role
                {
                    return Ok(RoleChanged::Unchanged);
                }
                let detail = json!({ "before": account.role, "reason": reason });
                write_role(work, user, role, &by.to_string(), detail, now).await?;
                Ok(RoleChanged::Done)
            })
            .await
    }

    /// Gives an account a role, replacing any previous one. Returns whether the account exists.
    pub async fn grant_role(
        &self,
        user: UserId,
        role: StaffRole,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.set_role(user, Some(role), actor, now).await
    }

    /// Removes an account's role. Returns whether it had one.
    pub async fn revoke_role(
        &self,
        user: UserId,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.set_role(user, None, actor, now).await
    }

    async fn set_role(
        &self,
        user: UserId,
        role: Option<StaffRole>,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("set a role", async |work| {
                write_role(work, user, role, actor, json!({}), now).await
            })
            .await
    }

    /// Accounts with a role in the order of their ids, starting after `after`.
    pub async fn staff_page(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, EngineError> {
        let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
        let sql = select_users!("WHERE u.role IS NOT NULL AND u.id > $1 ORDER BY u.id LIMIT $2");
        self.pool.rows("list staff", sql, args![after, limit], users::user).await
    }

    pub async fn staff(&self) -> Result<Vec<User>, EngineError> {
        let sql = select_users!("WHERE u.role IS NOT NULL ORDER BY u.id");
        self.pool.rows("list staff", sql, &[], users::user).await
    }

    /// Blocks an account, ends its sessions and knows its devices no more. Returns whether it existed and was not blocked.
    pub async fn block(
        &self,
        user: UserId,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool.transaction("block an account", async |work| {
            let sql = "UPDATE users SET blocked_at = $2, blocked_by = $3, block_reason = $4, updated_at = $2
                 WHERE id = $1 AND blocked_at IS NULL";
            let blocked = work.run(sql, args![user, now, actor, reason]).await?;
            if blocked > 0 {
                let all = Ending::all("account_blocked").with_devices();
                sessions::end(work, user, all, Some(actor), now).await?;
                let detail = json!({ "reason": reason }).to_string();
                audit::write(work, now, actor, "user_blocked", &user.to_string(), &detail).await?;
            }
            Ok(blocked > 0)
        })
        .await
    }

    /// Returns whether it was blocked.
    pub async fn unblock(
        &self,
        user: UserId,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool.transaction("unblock an account", async |work| {
            let sql = "UPDATE users SET blocked_at = NULL, blocked_by = NULL, block_reason = NULL, updated_at = $2
                 WHERE id = $1 AND blocked_at IS NOT NULL";
            let unblocked = work.run(sql, args![user, now]).await?;
            if unblocked > 0 {
                audit::write(work, now, actor, "user_unblocked", &user.to_string(), "{}").await?;
            }
            Ok(unblocked > 0)
        })
        .await
    }
}

/// Writes a role and its entry in the audit; `None` removes it, and the account's sessions at the console with it. Returns
/// whether there was something to write.
async fn write_role(
    work: &mut Work,
    user: UserId,
    role: Option<StaffRole>,
    actor: &str,
    mut detail: serde_json::Value,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let role = role.map(StaffRole::as_str);
    let sql = "UPDATE users SET role = $2, updated_at = $3
         WHERE id = $1 AND ($2 IS NOT NULL OR role IS NOT NULL)";
    if work.run(sql, args![user, role, now]).await? == 0 {
        return Ok(false);
    }
    if role.is_none() {
        let sql = "DELETE FROM console_sessions WHERE user_id = $1";
        work.run(sql, args![user]).await?;
    }
    let act = if role.is_some() { "role_granted" } else { "role_revoked" };
    detail["role"] = json!(role);
    audit::write(work, now, actor, act, &user.to_string(), &detail.to_string()).await?;
    Ok(true)
}
