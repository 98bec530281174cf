//! Run-time blocks: phones, prefixes, addresses and countries that may not request codes until further notice.

use serde_json::json;

use super::outbox::new_id;
use super::{Blocks, audit};
use domain::engine_error::EngineError;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Row, args};

string_enum! {
    /// What a block stops.
    pub enum BlockKind {
        Phone = "phone",
        /// The digits that a number starts with.
        Prefix = "prefix",
        /// An address or a range of addresses.
        Ip = "ip",
        /// ISO 3166 region.
        Country = "country",
    }
}

/// A block. For a phone, `value` is its key and `display` its masked form; otherwise both are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub kind: BlockKind,
    pub value: String,
    pub display: String,
    pub reason: String,
    pub owner: String,
    /// `None`: until it is removed.
    pub until: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Blocks {
    /// Sets a block. Replaces one of the same kind and value. `created_at` is now.
    pub async fn add(&self, block: &Block, actor: &str) -> Result<(), EngineError> {
        let now = block.created_at;
        self.pool.transaction("set a block", async |work| {
            work.run(
                "INSERT INTO blocks (id, kind, value, display, reason, owner, until, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (kind, value) DO UPDATE SET display = EXCLUDED.display, reason = EXCLUDED.reason,
                     owner = EXCLUDED.owner, until = EXCLUDED.until, created_at = EXCLUDED.created_at",
                args![
                    new_id(now),
                    block.kind.as_str(),
                    &block.value,
                    &block.display,
                    &block.reason,
                    &block.owner,
                    block.until,
                    now,
                ],
            )
            .await?;
            let detail = json!({ "kind": block.kind.as_str(), "reason": block.reason, "owner": block.owner,
                                 "until": block.until })
            .to_string();
            audit::write(work, now, actor, "block_added", &block.value, &detail).await
        })
        .await
    }

    /// Removes a block. Returns whether there was one.
    pub async fn remove(
        &self,
        kind: BlockKind,
        value: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        self.pool
            .transaction("remove a block", async |work| {
                let sql = "DELETE FROM blocks WHERE kind = $1 AND value = $2";
                let removed = work.run(sql, args![kind.as_str(), value]).await?;
                if removed > 0 {
                    let detail = json!({ "kind": kind.as_str() }).to_string();
                    audit::write(work, now, actor, "block_removed", value, &detail).await?;
                }
                Ok(removed > 0)
            })
            .await
    }

    /// All blocks, including expired ones, newest first.
    pub async fn all(&self) -> Result<Vec<Block>, EngineError> {
        self.blocks_until(None).await
    }

    /// The blocks in force: admission keeps them in memory and reloads them every few seconds.
    pub async fn active(&self, now: Timestamp) -> Result<Vec<Block>, EngineError> {
        self.blocks_until(Some(now)).await
    }

    async fn blocks_until(&self, after: Option<Timestamp>) -> Result<Vec<Block>, EngineError> {
        let sql = "SELECT kind, value, display, reason, owner, until, created_at FROM blocks
             WHERE $1 IS NULL OR until IS NULL OR until > $1 ORDER BY created_at DESC, id DESC";
        self.pool.rows("read the blocks", sql, args![after], block).await
    }
}

fn block(row: &Row) -> Result<Block, sqlx::Error> {
    Ok(Block {
        kind: row.word("kind")?,
        value: row.get("value")?,
        display: row.get("display")?,
        reason: row.get("reason")?,
        owner: row.get("owner")?,
        until: row.maybe_time("until")?,
        created_at: row.time("created_at")?,
    })
}
