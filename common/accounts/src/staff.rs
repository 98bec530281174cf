//! Staff operations on accounts: roles, blocks of accounts.

use serde_json::json;

use super::sessions::{self, Ending};
use super::users::{self, User, select_users};
use super::{Accounts, audit};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::args;

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

impl Accounts {
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
                let role = role.map(StaffRole::as_str);
                let sql = "UPDATE users SET role = $2, updated_at = $3
                     WHERE id = $1 AND ($2 IS NOT NULL OR role IS NOT NULL)";
                let set = work.run(sql, args![user, role, now]).await?;
                if set > 0 {
                    let act = if role.is_some() { "role_granted" } else { "role_revoked" };
                    let detail = json!({ "role": role }).to_string();
                    audit::write(work, now, actor, act, &user.to_string(), &detail).await?;
                }
                Ok(set > 0)
            })
            .await
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
