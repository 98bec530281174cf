//! Keys of the admin API: made and revoked by a command, read at each call (contract, ruling 69).

use serde_json::json;

use super::staff::StaffRole;
use super::{AdminKeys, audit};
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::{Row, args};

/// A key's last use is written down once in this time: a call writes next to nothing.
const USED_EVERY_MS: i64 = 60_000;

/// A key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKey {
    /// A part of the key, by which it is found. No secret.
    pub id: String,
    pub name: String,
    /// `None`: a role that this version does not know, which opens nothing.
    pub role: Option<StaffRole>,
    pub created_at: Timestamp,
    /// Who ran the command.
    pub created_by: String,
    /// `None`: it has no end.
    pub expires_at: Option<Timestamp>,
    /// To a minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl AdminKey {
    /// Whether it opens anything at this time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// A key to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewAdminKey<'a> {
    pub id: &'a str,
    pub name: &'a str,
    /// The SHA-256 of the whole key, in hex.
    pub hash: &'a str,
    pub role: StaffRole,
    pub expires_at: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, hash, role, created_at, created_by, expires_at, last_used_at, revoked_at
             FROM admin_keys ",
            $rest
        )
    };
}

impl AdminKeys {
    /// Stores a key. Returns whether the name was free: it stays taken when its key is revoked.
    pub async fn create(
        &self,
        new: NewAdminKey<'_>,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("create a key of the admin API", async |work| {
                let sql = "INSERT INTO admin_keys (id, name, hash, role, created_at, created_by, expires_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
                let role = new.role.as_str();
                let args = args![new.id, new.name, new.hash, role, now, actor, new.expires_at];
                let created = work.run(sql, args).await?;
                if created > 0 {
                    let detail =
                        json!({ "name": new.name, "role": role, "expires_at": new.expires_at });
                    let detail = detail.to_string();
                    audit::write(work, now, actor, "admin_key_created", new.id, &detail).await?;
                }
                Ok(created > 0)
            })
            .await
    }

    /// Revokes the key of this id. Returns whether there was one that was not revoked.
    pub async fn revoke(&self, id: &str, actor: &str, now: Timestamp) -> Result<bool, EngineError> {
        self.pool
            .transaction("revoke a key of the admin API", async |work| {
                let sql =
                    "UPDATE admin_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
                let revoked = work.run(sql, args![id, now]).await?;
                if revoked > 0 {
                    audit::write(work, now, actor, "admin_key_revoked", id, "{}").await?;
                }
                Ok(revoked > 0)
            })
            .await
    }

    /// All keys, the newest first, those that open nothing any more included.
    pub async fn all(&self) -> Result<Vec<AdminKey>, EngineError> {
        let sql = select!("ORDER BY created_at DESC, id");
        let keys = self.pool.rows("list the keys of the admin API", sql, &[], key).await?;
        Ok(keys.into_iter().map(|(key, _)| key).collect())
    }

    /// The key of this id and its hash, whether or not it still opens anything.
    pub async fn by_id(&self, id: &str) -> Result<Option<(AdminKey, String)>, EngineError> {
        let sql = select!("WHERE id = $1");
        self.pool.optional("read a key of the admin API", sql, args![id], key).await
    }

    /// Writes down that the key was used, once a minute at most.
    pub async fn touch(&self, key: &AdminKey, now: Timestamp) -> Result<(), EngineError> {
        let due = now.plus_ms(-USED_EVERY_MS);
        if key.last_used_at.is_some_and(|at| at > due) {
            return Ok(());
        }
        self.pool
            .statement("write down the use of a key", async |work| {
                let sql = "UPDATE admin_keys SET last_used_at = $2
                     WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
                work.run(sql, args![&key.id, now, due]).await.map(drop)
            })
            .await
    }
}

fn key(row: &Row) -> Result<(AdminKey, String), sqlx::Error> {
    let key = AdminKey {
        id: row.get("id")?,
        name: row.get("name")?,
        role: StaffRole::named(&row.get::<String>("role")?),
        created_at: row.time("created_at")?,
        created_by: row.get("created_by")?,
        expires_at: row.maybe_time("expires_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
    };
    Ok((key, row.get("hash")?))
}
