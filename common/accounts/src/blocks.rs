//! Run-time blocks: phones, prefixes, addresses and countries that may not request codes until further notice, and
//! providers that carry no texts.
//!
//! Providers stand in a table of their own: a program of the release before refuses a whole list of blocks that has a kind
//! which it does not know.

use serde_json::json;

use super::outbox::new_id;
use super::{Blocks, audit};
use domain::engine_error::EngineError;
use domain::string_enum;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

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
        /// A provider that staff shut by hand: texts go by the next one of their route, or wait.
        Provider = "provider",
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
            if block.kind == BlockKind::Provider {
                shut(work, block).await?;
                return noted(work, block, actor).await;
            }
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
            noted(work, block, actor).await
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
                let removed = if kind == BlockKind::Provider {
                    let sql = "DELETE FROM shut_providers WHERE provider = $1";
                    work.run(sql, args![value]).await?
                } else {
                    let sql = "DELETE FROM blocks WHERE kind = $1 AND value = $2";
                    work.run(sql, args![kind.as_str(), value]).await?
                };
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
        self.with_providers(None).await
    }

    /// All blocks in force, newest first.
    pub async fn active(&self, now: Timestamp) -> Result<Vec<Block>, EngineError> {
        self.with_providers(Some(now)).await
    }

    /// The blocks in force that stop code requests: admission keeps them in memory and reloads them every few seconds.
    pub async fn of_requests(&self, now: Timestamp) -> Result<Vec<Block>, EngineError> {
        self.blocks_until(Some(now)).await
    }

    /// The providers that are shut.
    pub async fn of_providers(&self, now: Timestamp) -> Result<Vec<Block>, EngineError> {
        self.providers_until(Some(now)).await
    }

    async fn with_providers(&self, after: Option<Timestamp>) -> Result<Vec<Block>, EngineError> {
        let mut blocks = self.providers_until(after).await?;
        blocks.extend(self.blocks_until(after).await?);
        blocks.sort_by_key(|block| std::cmp::Reverse(block.created_at));
        Ok(blocks)
    }

    async fn blocks_until(&self, after: Option<Timestamp>) -> Result<Vec<Block>, EngineError> {
        let sql = "SELECT kind, value, display, reason, owner, until, created_at FROM blocks
             WHERE $1 IS NULL OR until IS NULL OR until > $1 ORDER BY created_at DESC, id DESC";
        let blocks = self.pool.rows("read the blocks", sql, args![after], block).await?;
        Ok(blocks.into_iter().flatten().collect())
    }

    async fn providers_until(&self, after: Option<Timestamp>) -> Result<Vec<Block>, EngineError> {
        let sql = "SELECT provider, reason, owner, until, created_at FROM shut_providers
             WHERE $1 IS NULL OR until IS NULL OR until > $1 ORDER BY created_at DESC, id DESC";
        self.pool.rows("read the shut providers", sql, args![after], provider).await
    }
}

async fn shut(work: &mut Work, block: &Block) -> Result<(), sqlx::Error> {
    work.run(
        "INSERT INTO shut_providers (id, provider, reason, owner, until, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (provider) DO UPDATE SET reason = EXCLUDED.reason, owner = EXCLUDED.owner,
             until = EXCLUDED.until, created_at = EXCLUDED.created_at",
        args![
            new_id(block.created_at),
            &block.value,
            &block.reason,
            &block.owner,
            block.until,
            block.created_at,
        ],
    )
    .await
    .map(drop)
}

async fn noted(work: &mut Work, block: &Block, actor: &str) -> Result<(), sqlx::Error> {
    let detail = json!({ "kind": block.kind.as_str(), "reason": block.reason, "owner": block.owner,
                         "until": block.until })
    .to_string();
    audit::write(work, block.created_at, actor, "block_added", &block.value, &detail).await
}

/// `None`: of a kind that a newer version sets.
fn block(row: &Row) -> Result<Option<Block>, sqlx::Error> {
    let Ok(kind) = row.get::<String>("kind")?.parse() else { return Ok(None) };
    Ok(Some(Block {
        kind,
        value: row.get("value")?,
        display: row.get("display")?,
        reason: row.get("reason")?,
        owner: row.get("owner")?,
        until: row.maybe_time("until")?,
        created_at: row.time("created_at")?,
    }))
}

fn provider(row: &Row) -> Result<Block, sqlx::Error> {
    let name: String = row.get("provider")?;
    Ok(Block {
        kind: BlockKind::Provider,
        display: name.clone(),
        value: name,
        reason: row.get("reason")?,
        owner: row.get("owner")?,
        until: row.maybe_time("until")?,
        created_at: row.time("created_at")?,
    })
}
