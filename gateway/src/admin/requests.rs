//! `/admin/v1/requests`: texts and calls, and the time line of each.

use axum::Json;
use axum::extract::State;
use domain::ids::RequestId;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;
use crate::openapi::params::MessageFilters;
use crate::openapi::refusals::refusals;
use crate::staff::audit;
use crate::staff::requests::one::{self, RequestView};
use crate::staff::requests::{self, Filter, MessageList};
use crate::staff::rights::Act;

/// What a list shows when the call does not say since when.
const USUAL_SECS: i64 = 24 * 3600;

refusals!(ListRefused: Admin, NotFound);
refusals!(ReadRefused: Admin, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/requests", tag = "requests", operation_id = "listRequests",
    summary = "List texts and calls",
    description = "Texts and calls of 30 days by pages, the newest first; without `since` those of the last day.",
    params(MessageFilters),
    responses((status = 200, description = "A page of texts and calls.", body = MessageList), ListRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<MessageList>, ApiError> {
    by.may(Act::See)?;
    let now = app.engines.clock.now();
    let (provider, country) = (query.text("provider"), query.text("country"));
    let since =
        query.read("since", "Send a day, such as 2026-11-30, or an RFC 3339 time.", audit::time);
    let prefix = query.read("prefix", "Send a calling code and digits, 8 at most.", |text| {
        requests::prefix(text).map(str::to_owned)
    });
    let filter = Filter {
        status: query.read("status", "Send a status.", |text| text.parse().ok()),
        reason: query.read("reason", "Send a reason.", |text| text.parse().ok()),
        provider: provider.as_deref(),
        country: country.as_deref(),
        channel: query.read("channel", "Send `sms` or `voice`.", |text| text.parse().ok()),
        since: Some(since.unwrap_or(now.plus_secs(-USUAL_SECS))),
        prefix: prefix.as_deref(),
        is_unverified: query
            .read("outcome", "Send `unverified`.", |text| (text == "unverified").then_some(()))
            .is_some(),
        user: query.read("user_id", "Send the id of a user.", |text| text.parse().ok()),
    };
    let rows = query.rows();
    let before = query.read("before", "Send the `next` of a page.", requests::cursor);
    query.finish()?;
    Ok(Json(requests::list(&app, filter, before, rows).await?))
}

#[utoipa::path(
    get, path = "/admin/v1/requests/{request_id}", tag = "requests", operation_id = "getRequest",
    summary = "Where is the text?",
    description = "The time line of a request or a notice: requested, taken up, each call to a provider with its code in \
        plain words, the receipt, the sign-in or the expiry. Neither the text nor its code.",
    params(("request_id" = uuid::Uuid, Path, description = "The id of a request, or of a notice.")),
    responses((status = 200, description = "The request.", body = RequestView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<RequestId>,
) -> Result<Json<RequestView>, ApiError> {
    by.may(Act::See)?;
    Ok(Json(one::read(&app, id).await?))
}
