//! `/admin/v1/guard`: what the pumping guard saw and blocks, and what another rule would have blocked.

use ::guard::Kind;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::guard::{self, GuardView, MOST_DAYS, ReplayView};
use crate::staff::rights::Act;

/// A rule, and the days that it is run over.
#[derive(ToSchema)]
#[schema(as = RuleToReplay, examples(json!({
    "rule": "conversion=0.05,window=600",
    "days": 7,
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct ReplayBody {
    /// As `latchkey guard replay` takes it; what it leaves out is as in force.
    #[schema(max_length = 300)]
    rule: String,
    /// The last days of the history.
    #[schema(minimum = 1, maximum = 90)]
    days: i64,
}

/// A net to be opened.
#[derive(ToSchema)]
#[schema(as = NetToOpen, examples(json!({
    "kind": "prefix",
    "name": "989123",
    "reason": "a campaign that was announced, ticket 4711",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct OpenBody {
    #[schema(value_type = words::NetKind)]
    kind: String,
    /// The `name` of the net in the state of the guard.
    #[schema(max_length = 64)]
    name: String,
    #[schema(value_type = words::StaffReason)]
    reason: String,
}

/// Whether a net was closed.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenedNet, examples(json!({ "was_closed": true })))]
pub(super) struct OpenedNet {
    /// False: it was open already. It counts anew all the same, and the audit has it.
    was_closed: bool,
}

refusals!(ReadRefused: Admin);
refusals!(ReplayRefused: AdminBody);
refusals!(OpenRefused: AdminBody, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/guard", tag = "guard", operation_id = "getGuard",
    summary = "See what the guard blocks",
    description = "The mode and the rule in force; the 1,000 nets that changed last; of the last 24 hours the 50 countries with \
        the most sends, and the 50 prefixes with the most refusals. Without pages.",
    responses((status = 200, description = "The state of the guard.", body = GuardView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<GuardView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(guard::read(&app).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/guard/replay", tag = "guard", operation_id = "replayGuard",
    summary = "Run a rule over the history",
    description = "What a rule would have blocked in the last days. It changes nothing. It ends after 2 seconds or 500,000 rows \
        and says how far it came: `latchkey guard replay` has no such bounds.",
    request_body(content = ReplayBody, description = "The rule and the days."),
    responses((status = 200, description = "What it would have done.", body = ReplayView), ReplayRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn replay(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<ReplayView>, ApiError> {
    by.may(Act::See)?;
    let rule = fields.string("rule");
    let days = fields.whole("days", 1..=MOST_DAYS, "Send 1 to 90.");
    fields.finish()?;
    Ok(Json(guard::replay(&app, &rule, days).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/guard/open", tag = "guard", operation_id = "openNet",
    summary = "Open a net of the guard",
    description = "Opens a net that the guard blocks. It counts anew, and blocks again if its codes are not used. A net that \
        was never blocked is `not_found`.",
    request_body(content = OpenBody, description = "Which one, and why."),
    responses((status = 200, description = "The net is open.", body = OpenedNet), OpenRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn open(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<OpenedNet>, ApiError> {
    by.may(Act::OpenNet)?;
    let kind: Option<Kind> = fields.parsed("kind", "Send `prefix` or `country`.");
    let (name, reason) = (fields.string("name"), fields.string("reason"));
    fields.finish()?;
    let (kind, reason) = (kind.ok_or(ApiError::NotFound)?, staff::reason(&reason)?);
    let was_closed = guard::open(&app, by.actor(), (kind, &name), reason).await?;
    Ok(Json(OpenedNet { was_closed }))
}
