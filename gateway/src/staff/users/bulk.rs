//! One act on many accounts: each in its own transaction, each in the audit, each with its own result.

use std::time::Duration;

use domain::ids::UserId;
use domain::string_enum;
use futures::StreamExt as _;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::acts;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::rights::{Act, Authority, Denied};

/// How many accounts one call may name.
pub(crate) const MOST: usize = 1_000;
/// How many are acted on at once: enough to share the commits of the database, few enough to leave it to others.
const AT_ONCE: usize = 8;
/// After this long no further account is begun: the answer says which are left, and is not late (P12).
const BEGIN_WITHIN: Duration = Duration::from_millis(1_500);

string_enum! {
    /// An act that can be done to many accounts.
    #[derive(Serialize)]
    pub(crate) enum BulkAct { Block = "block", Unblock = "unblock", EndSessions = "end-sessions" }
}

impl BulkAct {
    /// The right that it takes.
    pub const fn right(self) -> Act {
        match self {
            Self::Block | Self::Unblock => Act::BlockUser,
            Self::EndSessions => Act::EndSessions,
        }
    }
}

string_enum! {
    /// What became of one account.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum BulkResult {
        Done = "done",
        /// It was so already.
        Unchanged = "unchanged",
        NotFound = "not_found",
        /// The account is of staff with a higher role.
        HigherRole = "higher_role",
        /// Nothing was done: an engine was away, or the time of one call was over.
        NotDone = "not_done",
    }
}

/// What became of one account.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkItem, examples(json!({ "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54", "result": "done" })))]
pub(crate) struct BulkItem {
    #[schema(value_type = uuid::Uuid)]
    pub id: UserId,
    #[schema(value_type = words::BulkResult)]
    pub result: BulkResult,
}

/// What became of each account, in the order of the call.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkResults, examples(json!({
    "items": [{ "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54", "result": "done" }],
})))]
pub(crate) struct BulkResults {
    pub items: Vec<BulkItem>,
}

/// Does one act to each of these accounts. `reason` is for a block.
///
/// # Errors
/// If the role does not allow the act at all, or nothing was done because an engine is away.
pub(crate) async fn act(
    app: &App,
    by: &Authority,
    act: BulkAct,
    ids: &[UserId],
    reason: &str,
) -> Result<BulkResults, ApiError> {
    let end = Instant::now() + BEGIN_WITHIN;
    let each = ids.iter().copied().map(|id| async move {
        if Instant::now() >= end {
            return (id, Ok(BulkResult::NotDone));
        }
        (id, one(app, by, act, id, reason).await)
    });
    let results: Vec<(UserId, Result<BulkResult, ApiError>)> =
        futures::stream::iter(each).buffered(AT_ONCE).collect().await;
    let mut failed = None;
    let mut items = Vec::with_capacity(results.len());
    for (id, result) in results {
        let result = result.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            BulkResult::NotDone
        });
        items.push(BulkItem { id, result });
    }
    let is_any_done = items.iter().any(|item| item.result != BulkResult::NotDone);
    match failed {
        Some(error) if !is_any_done => Err(error),
        _ => Ok(BulkResults { items }),
    }
}

async fn one(
    app: &App,
    by: &Authority,
    act: BulkAct,
    id: UserId,
    reason: &str,
) -> Result<BulkResult, ApiError> {
    let Some(user) = app.accounts.get(id).await? else { return Ok(BulkResult::NotFound) };
    match by.may_on(act.right(), &user) {
        Ok(()) => {}
        Err(Denied::HigherRole) => return Ok(BulkResult::HigherRole),
        Err(denied @ Denied::Role(..)) => return Err(denied.into()),
    }
    let done = match act {
        BulkAct::Block => acts::block(app, &by.actor, &user, reason).await?,
        BulkAct::Unblock => acts::unblock(app, &by.actor, &user).await?,
        BulkAct::EndSessions => acts::end_sessions(app, &by.actor, &user, None).await? > 0,
    };
    Ok(if done { BulkResult::Done } else { BulkResult::Unchanged })
}
