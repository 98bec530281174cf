//! `/admin/v1/limits`: every limit in effect, and what would answer a phone or an address now. A phone is in a body and in no
//! address; looking counts nothing.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff::limits::{self, Asked, Explained, LimitsView};
use crate::staff::rights::Act;

/// Whose limits: a phone's, an address's, or those of a request for the phone from the address.
#[derive(ToSchema)]
#[schema(as = LimitsToExplain, examples(json!({ "phone_number": "+14155552671", "address": "203.0.113.7" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct ExplainBody {
    #[schema(value_type = words::AnyPhoneNumber, required = false)]
    phone_number: String,
    /// IPv4 or IPv6.
    #[schema(required = false, max_length = 45)]
    address: String,
}

refusals!(ReadRefused: Admin);
refusals!(ExplainRefused: AdminBody, InvalidPhoneNumber, PhoneNumberNotSupported);

#[utoipa::path(
    get, path = "/admin/v1/limits", tag = "limits", operation_id = "listLimits",
    summary = "See the limits in effect",
    description = "Every limit, its setting and how often the gateway that answers refused for it since it started. Without \
        pages.",
    responses((status = 200, description = "The limits.", body = LimitsView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    query: Query,
) -> Result<Json<LimitsView>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    Ok(Json(limits::read(&app)))
}

#[utoipa::path(
    post, path = "/admin/v1/limits/explain", tag = "limits", operation_id = "explainLimits",
    summary = "What would be answered now?",
    description = "What would answer a code request and a sign-in of a device that is not known: each limit that judges them, \
        in this order, with its count. Nothing is counted by looking. The audit has the look-up about the account, without \
        the number.",
    request_body(content = ExplainBody, description = "A phone, an address or both."),
    responses((status = 200, description = "What would judge them.", body = Explained), ExplainRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn explain(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Explained>, ApiError> {
    by.may(Act::See)?;
    let phone = fields.optional_string("phone_number");
    let address: Option<IpAddr> =
        fields.optional_parsed("address", "Send an address, such as 203.0.113.7.");
    fields.finish()?;
    let phone = phone.map(|writing| app.phone(&writing)).transpose()?;
    if phone.is_none() && address.is_none() {
        return Err(ApiError::body("required", "Send `phone_number`, `address` or both."));
    }
    Ok(Json(limits::explain(&app, by.actor(), &Asked { phone, address }).await?))
}
