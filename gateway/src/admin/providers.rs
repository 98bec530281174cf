//! `/admin/v1/providers`: the providers that carry texts, and staff who shut one.

use axum::Json;
use axum::extract::State;
use config::ProviderName;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use super::users::Changed;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;
use crate::http::validate;
use crate::openapi::params::ProviderInPath;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::providers::{self, LONGEST_MINUTES, ProvidersView, Shut};
use crate::staff::rights::Act;

/// How long a provider is to be shut, and why.
#[derive(ToSchema)]
#[schema(as = ProviderToShut, examples(json!({
    "minutes": 60,
    "reason": "no receipts since 10:00, ticket 4711",
    "owner": "ops",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct ShutBody {
    /// A week at most; then it opens by itself.
    #[schema(minimum = 1, maximum = 10080)]
    minutes: i64,
    #[schema(value_type = words::StaffReason)]
    reason: String,
    /// Whom to ask about it; the key's name if it is left out.
    #[schema(value_type = words::Name, required = false)]
    owner: String,
}

refusals!(ReadRefused: Admin);
refusals!(ShutRefused: AdminBody, NotFound);
refusals!(OpenRefused: Admin, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/providers", tag = "providers", operation_id = "listProviders",
    summary = "See how the providers do",
    description = "Every provider that a route names, that was called in the last 15 minutes, or that is shut: who shut it, \
        how each sms-worker sees it, how its calls ended and how long they took. Then the routes. Without pages.",
    responses((status = 200, description = "The providers and the routes.", body = ProvidersView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<ProvidersView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(providers::read(&app).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/providers/{provider}/shut", tag = "providers", operation_id = "shutProvider",
    summary = "Shut a provider",
    description = "Shuts a provider for so many minutes, or changes how long it is shut: texts go by the next provider of \
        their route, or wait. It is in force in every sms-worker within 10 seconds.",
    params(ProviderInPath),
    request_body(content = ShutBody, description = "How long, and why."),
    responses((status = 200, description = "The provider is shut.", body = Shut), ShutRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn shut(
    State(app): State<App>,
    by: ByKey,
    PathId(provider): PathId<ProviderName>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Shut>, ApiError> {
    by.may(Act::ShutProvider)?;
    let minutes = fields.whole("minutes", 1..=LONGEST_MINUTES, "Send 1 to 10,080: a week at most.");
    let reason = fields.string("reason");
    let owner = fields.optional_checked("owner", validate::name);
    fields.finish()?;
    let owner = owner.unwrap_or_else(|| by.0.name.clone());
    let reason = staff::reason(&reason)?;
    Ok(Json(providers::shut(&app, by.actor(), &owner, provider, minutes, reason).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/providers/{provider}/open", tag = "providers", operation_id = "openProvider",
    summary = "Open a provider",
    description = "Opens a provider that was shut, in every sms-worker within 10 seconds.",
    params(ProviderInPath),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), OpenRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn open(
    State(app): State<App>,
    by: ByKey,
    PathId(provider): PathId<ProviderName>,
) -> Result<Json<Changed>, ApiError> {
    by.may(Act::ShutProvider)?;
    Ok(Json(Changed { changed: providers::open(&app, by.actor(), provider).await? }))
}
