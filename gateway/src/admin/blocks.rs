//! `/admin/v1/blocks`: who and what may not request codes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use domain::timestamp::Timestamp;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use super::users::Changed;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::openapi::params::BlockPages;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::blocks::{self, BlockList, BlockRow, NewBlock};
use crate::staff::rights::Act;

/// A block to be set.
#[derive(ToSchema)]
#[schema(as = NewBlock, examples(json!({
    "kind": "prefix",
    "value": "98912",
    "reason": "pumping, ticket 4711",
    "owner": "ops",
    "until": "2026-12-01T10:15:00.000Z",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct NewBlockBody {
    #[schema(value_type = words::BlockKind)]
    kind: String,
    /// A number, its first digits, an address or a range, or a region (ISO 3166).
    #[schema(max_length = 64)]
    value: String,
    #[schema(value_type = words::StaffReason)]
    reason: String,
    /// Whom to ask about it; the key's name if it is left out.
    #[schema(value_type = words::Name, required = false)]
    owner: String,
    /// Its end; without it, it stays until it is ended.
    #[schema(value_type = words::Time, required = false)]
    until: String,
}

/// A block to be ended.
#[derive(ToSchema)]
#[schema(as = BlockToEnd, examples(json!({ "kind": "prefix", "value": "98912" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct BlockToEnd {
    #[schema(value_type = words::BlockKind)]
    kind: String,
    /// The `value` of the block in a list, or the value that it was set with.
    value: String,
}

refusals!(ListRefused: Admin);
refusals!(SetRefused: AdminBody);
refusals!(EndRefused: AdminBody);

#[utoipa::path(
    get, path = "/admin/v1/blocks", tag = "blocks", operation_id = "listBlocks",
    summary = "List blocks",
    description = "Phones, prefixes, addresses and countries that may not request codes, by pages, the newest first.",
    params(BlockPages),
    responses((status = 200, description = "A page of blocks.", body = BlockList), ListRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<BlockList>, ApiError> {
    by.may(Act::See)?;
    let rows = query.rows();
    let before = query.read("before", "Send the `next` of a page.", blocks::cursor);
    query.finish()?;
    Ok(Json(blocks::list(&app, before, rows).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/blocks", tag = "blocks", operation_id = "setBlock",
    summary = "Set a block",
    description = "Sets a block, or changes the one of the same value. It is in force everywhere within 10 seconds.",
    request_body(content = NewBlockBody, description = "The block."),
    responses((status = 201, description = "The block is set.", body = BlockRow), SetRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn set(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    by.may(Act::SetBlocks)?;
    let (kind, value) = (fields.string("kind"), fields.string("value"));
    let reason = fields.string("reason");
    let owner = fields.optional_checked("owner", validate::name);
    let until = fields.optional_string("until");
    let end = until.as_deref().and_then(Timestamp::parse);
    if until.is_some() && end.is_none_or(|end| end <= app.engines.clock.now()) {
        fields.refuse("until", "invalid", "Send an RFC 3339 time that is still to come.");
    }
    fields.finish()?;
    let owner = owner.unwrap_or_else(|| by.0.name.clone());
    let new = NewBlock {
        kind: &kind,
        value: &value,
        reason: staff::reason(&reason)?,
        owner: &owner,
        until: end,
    };
    let row = blocks::set(&app, by.actor(), &new).await?;
    Ok((StatusCode::CREATED, Json(row)).into_response())
}

#[utoipa::path(
    post, path = "/admin/v1/blocks/end", tag = "blocks", operation_id = "endBlock",
    summary = "End a block",
    description = "Ends a block. A phone is named in the body, so that no log of a proxy has it.",
    request_body(content = BlockToEnd, description = "Which one."),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), EndRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn end(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Changed>, ApiError> {
    by.may(Act::SetBlocks)?;
    let (kind, value) = (fields.string("kind"), fields.string("value"));
    fields.finish()?;
    Ok(Json(Changed { changed: blocks::end(&app, by.actor(), &kind, &value).await? }))
}
