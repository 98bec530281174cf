//! Phones, prefixes, addresses and countries that may not request codes (contract, rulings 7 and 27). A block is in force
//! everywhere within 10 s.

use accounts::{Block, BlockKind, Blocks};
use domain::timestamp::Timestamp;
use serde::Serialize;
use service::block_target::BlockTarget;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::export::{self, Export};
use crate::staff::pages;

/// A block.
#[derive(Serialize, ToSchema)]
#[schema(as = Block, examples(json!({
    "kind": "prefix",
    "value": "98912",
    "display": "98912",
    "reason": "pumping, ticket 4711",
    "owner": "ops",
    "created_at": "2026-11-30T10:15:00.000Z",
    "until": "2026-12-01T10:15:00.000Z",
    "is_in_force": true,
})))]
pub(crate) struct BlockRow {
    /// `phone`, `prefix`, `ip` or `country`.
    #[schema(value_type = words::BlockKind)]
    pub kind: &'static str,
    /// As it is stored, to end the block by: of a phone its key, which is no number.
    pub value: String,
    /// As it is shown: a phone masked.
    pub display: String,
    pub reason: String,
    /// Whom to ask about it.
    pub owner: String,
    #[schema(value_type = words::Time)]
    pub created_at: Timestamp,
    /// Null: until it is ended.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub until: Option<Timestamp>,
    pub is_in_force: bool,
}

/// A page of blocks, the newest first, those included whose time is over.
#[derive(Serialize, ToSchema)]
#[schema(as = BlockList, examples(json!({
    "items": [{
        "kind": "country",
        "value": "IR",
        "display": "IR",
        "reason": "pumping, ticket 4711",
        "owner": "ops",
        "created_at": "2026-11-30T10:15:00.000Z",
        "until": null,
        "is_in_force": true,
    }],
    "next": null,
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct BlockList {
    pub items: Vec<BlockRow>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    pub next: Option<String>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

/// Where a page of blocks ends: when the last one was set, its kind and its value.
pub(crate) type Cursor = (Timestamp, String, String);

impl BlockRow {
    fn of(block: Block, now: Timestamp) -> Self {
        Self {
            kind: block.kind.as_str(),
            is_in_force: block.until.is_none_or(|until| until > now),
            value: block.value,
            display: block.display,
            reason: block.reason,
            owner: block.owner,
            created_at: block.created_at,
            until: block.until,
        }
    }

    fn cursor(&self) -> Cursor {
        (self.created_at, self.kind.to_owned(), self.value.clone())
    }
}

/// Reads a page of blocks: `rows` of them, after the cursor. They are few: all are read.
pub(crate) async fn list(
    app: &App,
    before: Option<Cursor>,
    rows: u32,
) -> Result<BlockList, ApiError> {
    let now = app.engines.clock.now();
    let all = Blocks::new(&app.engines.sql).all().await?;
    let mut found: Vec<_> = all.into_iter().map(|block| BlockRow::of(block, now)).collect();
    found.sort_by_key(|row| std::cmp::Reverse(row.cursor()));
    found.retain(|row| before.as_ref().is_none_or(|before| row.cursor() < *before));
    found.truncate(rows as usize + 1);
    let (items, next) = pages::cut(found, rows, |last| {
        let (at, kind, value) = last.cursor();
        format!("{}.{kind}.{value}", at.ms())
    });
    Ok(BlockList { items, next, as_of: now })
}

/// The blocks as CSV, the newest first, 10,000 at most.
pub(crate) async fn export(app: &App, actor: &str) -> Result<String, ApiError> {
    let found = list(app, None, export::MOST).await?.items;
    let export = Export { actor, act: "blocks_exported", filtered_by: &[] };
    let columns = ["kind", "value", "reason", "owner", "created_at", "until", "is_in_force"];
    export
        .write(app, columns, &found, |block| {
            let until = block.until.map(|until| until.to_string());
            [
                block.kind.to_owned(),
                // As a page shows it: what is stored of a phone is a key to more than this list.
                block.display.clone(),
                block.reason.clone(),
                block.owner.clone(),
                block.created_at.to_string(),
                until.unwrap_or_default(),
                block.is_in_force.to_string(),
            ]
        })
        .await
}

/// Reads a cursor that a page gave as its `next`.
pub(crate) fn cursor(text: &str) -> Option<Cursor> {
    let mut parts = text.splitn(3, '.');
    let at = Timestamp::from_ms(parts.next()?.parse().ok()?);
    Some((at, parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// A block to be set.
pub(crate) struct NewBlock<'a> {
    /// `phone`, `prefix`, `ip` or `country`.
    pub kind: &'a str,
    pub value: &'a str,
    /// Checked: [`super::reason`].
    pub reason: &'a str,
    /// Whom to ask about it.
    pub owner: &'a str,
    /// `None`: until it is ended.
    pub until: Option<Timestamp>,
}

/// Sets a block, or changes the one of the same value.
///
/// # Errors
/// If there is no such kind, or the value is none of its kind.
pub(crate) async fn set(app: &App, actor: &str, new: &NewBlock<'_>) -> Result<BlockRow, ApiError> {
    let now = app.engines.clock.now();
    let target = target(app, new.kind, new.value, now)?;
    let block = Block {
        kind: target.kind,
        value: target.value,
        display: target.display,
        reason: new.reason.to_owned(),
        owner: new.owner.to_owned(),
        until: new.until,
        created_at: now,
    };
    Blocks::new(&app.engines.sql).add(&block, actor).await?;
    Ok(BlockRow::of(block, now))
}

fn target(app: &App, kind: &str, value: &str, now: Timestamp) -> Result<BlockTarget, ApiError> {
    BlockTarget::of(&app.engines.keys, &app.phones, kind_of(kind)?, value, now)
        .map_err(|wrong| ApiError::field("value", "invalid", format!("This is {wrong}.")))
}

fn kind_of(kind: &str) -> Result<BlockKind, ApiError> {
    let refuse = || ApiError::field("kind", "invalid", "Choose what the block is about.");
    kind.parse().map_err(|_| refuse())
}

/// Ends a block, by its value as a list has it, or as it was written. Returns whether there was one.
///
/// # Errors
/// If there is no such kind.
pub(crate) async fn end(app: &App, actor: &str, kind: &str, value: &str) -> Result<bool, ApiError> {
    let (kind_of, now) = (kind_of(kind)?, app.engines.clock.now());
    let blocks = Blocks::new(&app.engines.sql);
    let mut ended = blocks.remove(kind_of, value, actor, now).await?;
    if let (false, Ok(target)) = (ended, target(app, kind, value, now)) {
        for stored in [Some(target.value), target.former].into_iter().flatten() {
            ended |= blocks.remove(kind_of, &stored, actor, now).await?;
        }
    }
    Ok(ended)
}
