//! `GET /admin/v1/staff`: who has which role. No key changes a role: an owner does at the console, or the command does.

use axum::Json;
use axum::extract::State;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::params::StaffPages;
use crate::openapi::refusals::refusals;
use crate::staff::members::{self, StaffView};
use crate::staff::rights::Act;

refusals!(Refused: Admin);

#[utoipa::path(
    get, path = "/admin/v1/staff", tag = "staff", operation_id = "listStaff",
    summary = "See who has which role",
    description = "Accounts with a role by pages, in the order of their ids, with their live sessions at the console; and what \
        each role may do. No key changes a role, so that a stolen key makes no staff: an owner does it at the console, or \
        `latchkey staff` on the server.",
    params(StaffPages),
    responses((status = 200, description = "A page of staff.", body = StaffView), Refused),
    security(("AdminKey" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<StaffView>, ApiError> {
    by.may(Act::See)?;
    let rows = query.rows();
    let after = query.read("before", "Send the `next` of a page.", |text| text.parse().ok());
    query.finish()?;
    Ok(Json(members::read(&app, after, rows).await?))
}
