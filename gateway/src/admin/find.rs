//! `GET /admin/v1/find/{id}`: what an id from a log belongs to.

use axum::Json;
use axum::extract::State;
use uuid::Uuid;

use super::by_key::ByKey;
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;
use crate::openapi::refusals::refusals;
use crate::staff::find::{self, Found};
use crate::staff::rights::Act;

refusals!(FindRefused: Admin, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/find/{id}", tag = "find", operation_id = "findId",
    summary = "What does an id belong to?",
    description = "Whether an id from a log is of a user, or of a request or notice. An id of a session finds its user, one of an \
        attempt its request.",
    params(("id" = uuid::Uuid, Path, description = "The id.")),
    responses((status = 200, description = "What it belongs to.", body = Found), FindRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn find(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<Uuid>,
) -> Result<Json<Found>, ApiError> {
    by.may(Act::See)?;
    find::by_id(&app, id).await?.map(Json).ok_or(ApiError::NotFound)
}
