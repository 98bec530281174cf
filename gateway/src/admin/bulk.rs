//! `POST /admin/v1/users/bulk`: one act on many accounts.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State};
use domain::ids::UserId;
use utoipa::ToSchema;

use super::by_key::ByKey;
use crate::app::App;
use crate::http::body::{self, BodyLimits};
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::users::bulk::{self, BulkAct, BulkResults, MOST};

/// A thousand ids are 40 KB.
const BYTES: usize = 64 * 1024;

/// An act, and the accounts that it is done to.
#[derive(ToSchema)]
#[schema(as = BulkBody, examples(json!({
    "act": "block",
    "user_ids": ["019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54"],
    "reason": "a leaked list, ticket 4711",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct Body {
    #[schema(value_type = words::BulkAct)]
    act: String,
    /// 1 to 1,000, each once.
    #[schema(value_type = Vec<uuid::Uuid>, min_items = 1, max_items = 1000)]
    user_ids: Vec<String>,
    /// For a block: why.
    #[schema(value_type = words::StaffReason, required = false)]
    reason: String,
}

refusals!(Refused: AdminBody);

#[utoipa::path(
    post, path = "/admin/v1/users/bulk", tag = "users", operation_id = "actOnUsers",
    summary = "Do one act to many accounts",
    description = "Blocks, unblocks or ends all sessions of up to 1,000 accounts, each by itself and with its own entry in \
        the audit. The answer says of each what became of it; those that are `not_done` go into another call. The body \
        may have 64 KiB.",
    request_body(content = Body, description = "What to do to whom."),
    responses((status = 200, description = "What became of each.", body = BulkResults), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn act(
    State(app): State<App>,
    by: ByKey,
    request: Request,
) -> Result<Json<BulkResults>, ApiError> {
    let mut fields = read(request).await?;
    let act: Option<BulkAct> =
        fields.optional_parsed("act", "Send `block`, `unblock` or `end-sessions`.");
    if let Some(act) = act {
        by.may(act.right())?;
    } else {
        fields.refuse("act", "required", "This field is required.");
    }
    let ids = ids(&mut fields);
    let reason = fields.optional_string("reason");
    if let (Some(_), Some(BulkAct::Unblock | BulkAct::EndSessions)) = (&reason, act) {
        fields.refuse("reason", "unknown_field", "Only a block takes a reason.");
    }
    fields.finish()?;
    let act = act.ok_or_else(|| ApiError::body("required", "Send `act`."))?;
    let reason = match act {
        BulkAct::Block => staff::reason(reason.as_deref().unwrap_or_default())?.to_owned(),
        BulkAct::Unblock | BulkAct::EndSessions => String::new(),
    };
    Ok(Json(bulk::act(&app, &by.0, act, &ids, &reason).await?))
}

async fn read(request: Request) -> Result<Fields, ApiError> {
    body::check_is_json(request.headers())?;
    let usual = request.extensions().get::<BodyLimits>().copied().unwrap_or_default();
    let (parts, body) = request.into_parts();
    let bytes = body::read_body(parts, body, BodyLimits { bytes: BYTES, ..usual }).await?;
    Fields::parse(&bytes)
}

fn ids(fields: &mut Fields) -> Vec<UserId> {
    let Some(texts) = fields.strings("user_ids") else { return Vec::new() };
    let ids: Vec<UserId> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let different: BTreeSet<UserId> = ids.iter().copied().collect();
    if texts.is_empty() || texts.len() > MOST {
        fields.refuse("user_ids", "invalid", "Send 1 to 1,000 ids.");
    } else if ids.len() < texts.len() {
        fields.refuse("user_ids", "invalid", "Send ids of users.");
    } else if different.len() < ids.len() {
        fields.refuse("user_ids", "duplicate_field", "Send each id once.");
    }
    ids
}
