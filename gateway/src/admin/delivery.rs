//! `/admin/v1/pulse` and `/admin/v1/delivery`: whether everything is as usual, and who delivers where.

use axum::Json;
use axum::extract::State;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::params::DeliveryFilters;
use crate::openapi::refusals::refusals;
use crate::staff::delivery::{
    self, DOUBTFUL_UNDER, DeliveryFilter, DeliveryView, MOST_HOURS, USUAL_HOURS,
};
use crate::staff::pages::MOST_ROWS;
use crate::staff::pulse::{self, PulseView};
use crate::staff::rights::Act;

refusals!(Refused: Admin);

#[utoipa::path(
    get, path = "/admin/v1/pulse", tag = "delivery", operation_id = "getPulse",
    summary = "Is everything as usual?",
    description = "Each figure for an hour, a day and a week, beside the same span a week before.",
    responses((status = 200, description = "The figures.", body = PulseView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn pulse(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<PulseView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    let now = app.engines.clock.now();
    Ok(Json(Box::pin(pulse::read(&app, now)).await?))
}

#[utoipa::path(
    get, path = "/admin/v1/delivery", tag = "delivery", operation_id = "getDelivery",
    summary = "See who delivers where",
    description = "Messages by country and provider: how many arrived and how fast, and how many of the country's codes are \
        used. At most 200 rows of a country and a provider, those with the most messages first; `left_out` says how many \
        more there are. A provider is doubtful where fewer than 20 of 100 codes are used. Without pages.",
    params(DeliveryFilters),
    responses((status = 200, description = "Who delivers where.", body = DeliveryView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn delivery(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<DeliveryView>, ApiError> {
    by.may(Act::See)?;
    let read = |text: &str| text.parse().ok().filter(|hours| (1..=MOST_HOURS).contains(hours));
    let hours = query.read("hours", "Send a whole number from 1 to 720.", read);
    let (country, provider) = (query.text("country"), query.text("provider"));
    query.finish()?;
    let filter = DeliveryFilter {
        hours: hours.unwrap_or(USUAL_HOURS),
        country: country.as_deref(),
        provider: provider.as_deref(),
        doubtful_under: DOUBTFUL_UNDER,
        most: MOST_ROWS as usize,
    };
    let now = app.engines.clock.now();
    Ok(Json(Box::pin(delivery::read(&app, filter, now)).await?))
}
