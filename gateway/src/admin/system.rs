//! `/admin/v1/engines`, `/admin/v1/settings` and `/admin/v1/webhook-calls`: what runs, on what, how it is set, and whether
//! Twilio's receipts come through.

use axum::Json;
use axum::extract::State;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::refusals::refusals;
use crate::staff::engines::{self, EnginesView};
use crate::staff::rights::Act;
use crate::staff::settings::{self, SettingsView};
use crate::staff::webhook_calls::{self, WebhookCallsView};

refusals!(Refused: Admin);

#[utoipa::path(
    get, path = "/admin/v1/engines", tag = "system", operation_id = "getEngines",
    summary = "See what runs",
    description = "The engines, measured now by the gateway that answers, and the processes as each says of itself every 5 \
        seconds. Of an engine that is away it is said within a second; without the database there is no answer.",
    responses((status = 200, description = "Engines and processes.", body = EnginesView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn engines(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<EnginesView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(engines::read(&app).await?))
}

#[utoipa::path(
    get, path = "/admin/v1/settings", tag = "system", operation_id = "getSettings",
    summary = "See the settings in effect",
    description = "The settings of the gateway that answers, each with where it comes from, and the keys that sign access \
        tokens. No secret is in it. No call changes a setting: that is done where the gateway is started.",
    responses((status = 200, description = "The settings.", body = SettingsView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn settings(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<SettingsView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(settings::read(&app)))
}

#[utoipa::path(
    get, path = "/admin/v1/webhook-calls", tag = "system", operation_id = "listWebhookCalls",
    summary = "See whether receipts come through",
    description = "The last calls to Twilio's webhook that the gateway that answers received since it started: 20 with a right \
        signature and 20 without, each with its verdict and what to do about it. Of a call without a right signature nothing is \
        kept that its sender chose. Without pages.",
    responses((status = 200, description = "The last calls.", body = WebhookCallsView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn webhook_calls(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<WebhookCallsView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(webhook_calls::read(&app)))
}
