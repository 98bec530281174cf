//! `POST /v1/otp`: requests a code for a phone; a repeated call is the resend. `GET /v1/otp/{request_id}`: its status.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use config::UnknownPhone;
use domain::event::OtpRequested;
use domain::ids::RequestId;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use serde::Serialize;
use store::{RequestStatus, Scope};

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::Device;
use crate::codes::request::RequestView;
use crate::codes::request::{NewCodeRequest, read_channel, request_code};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::path_params::PathId;
use crate::http::validate;
use crate::openapi::params::IdempotencyKey;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// The body of a code request.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "phone_number": "+14155552671", "channel": "sms" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct CodeRequestBody {
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
    /// The language of the text; without it, the account's or the server's own.
    #[schema(value_type = words::Locale, required = false)]
    locale: Option<String>,
    /// `sms` if it is left out. A server that makes no calls refuses `voice`.
    #[schema(value_type = words::Channel, required = false)]
    channel: Option<String>,
    #[schema(value_type = words::DeviceToken, required = false)]
    device_token: Option<String>,
}

refusals!(CodeRequestRefused: Body, InvalidPhoneNumber, PhoneNumberNotSupported, IdempotencyKeyReused, ResendTooSoon,
    TooManyRequests, OtpAttemptsExhausted);

/// Requests a code. The answer is the same whether or not the phone has an account (P6).
#[utoipa::path(
    post, path = "/v1/otp", tag = "codes", operation_id = "requestCode",
    summary = "Request a code",
    description = "Sends a code to the phone. The same call again is the resend: within its life the same code is \
        sent, by another channel if wanted. The answer does not tell whether the number has an account.",
    params(IdempotencyKey),
    request_body(content = CodeRequestBody, description = "Where the code goes."),
    responses(
        (status = 202, description = "The request is accepted and kept: it reaches a final status.", body = RequestView),
        CodeRequestRefused,
    ),
)]
pub(crate) async fn request(
    State(app): State<App>,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    let writing = fields.string("phone_number");
    let locale = fields.optional_checked("locale", validate::locale);
    let channel = read_channel(&app, &mut fields);
    let device_token = fields.optional_string("device_token");
    fields.finish()?;
    let phone = app.phone(&writing)?;
    // Checked by its signature alone: no account is looked up (P6).
    let known_device = Device::by_signature(&app, &phone, device_token.as_deref());
    let wanted = NewCodeRequest {
        phone,
        scope: Scope::Login,
        route: "otp",
        profile: None,
        locale,
        channel,
        known_device,
    };
    request_code::<OtpRequested>(&app, &caller, wanted).await
}

/// Where a code request stands.
#[derive(Serialize, ToSchema)]
#[schema(as = CodeRequestStatus, examples(json!({
    "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "status": "sent",
    "updated_at": "2026-11-30T10:15:01.204Z",
    "expires_at": "2026-11-30T10:20:00.000Z",
    "next_channels": ["voice"],
})))]
pub(crate) struct StatusView {
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    #[schema(value_type = words::Status)]
    status: Status,
    /// When the status was reached.
    #[schema(value_type = words::Time)]
    updated_at: Timestamp,
    /// When the code expires.
    #[schema(value_type = words::Time)]
    expires_at: Timestamp,
    /// Only where a text or call did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = words::Reason, required = false)]
    reason: Option<Reason>,
    /// By what else the code can be sent.
    #[schema(value_type = Vec<words::Channel>)]
    next_channels: Vec<Channel>,
    /// Whether no later status is visible to the requester.
    #[serde(skip)]
    pub(crate) is_last: bool,
}

impl StatusView {
    pub(crate) fn rank(&self) -> u8 {
        self.status.rank()
    }
}

refusals!(StatusRefused: NoBody, NotFound);

#[utoipa::path(
    get, path = "/v1/otp/{request_id}", tag = "codes", operation_id = "getCodeRequest",
    summary = "The status of a code request",
    description = "Who made the request knows its id; there is no other way to it. A status is kept until the code \
        expires.",
    params(("request_id" = uuid::Uuid, Path, description = "The `request_id` of the answer to a code request.")),
    responses((status = 200, description = "The status.", body = StatusView), StatusRefused),
)]
pub(crate) async fn status(
    State(app): State<App>,
    PathId(request): PathId<RequestId>,
) -> Result<Json<StatusView>, ApiError> {
    let found = app.statuses.get(request).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(view(&app, request, found, hidden_for(&app, request))))
}

/// For this long a request in `silent` mode is shown as `accepted`. Until then the text for a known phone is being
/// handed over, which takes time from whatever runs beside it; an unknown phone has no such text (contract, ruling 46).
const HIDDEN_MS: i64 = 100;

/// How long the progress of this request stays hidden.
pub(crate) fn hidden_for(app: &App, request: RequestId) -> Duration {
    let age_ms = app.engines.clock.now_ms() - request.made_at_ms();
    // A request from far ahead was made by a gateway whose clock is fast: to hide it would take too long. An id made in
    // a busy moment is a little ahead of every clock.
    if app.config.unknown_phone != UnknownPhone::Silent || age_ms < -HIDDEN_MS {
        return Duration::ZERO;
    }
    Duration::from_millis((HIDDEN_MS - age_ms).clamp(0, HIDDEN_MS).unsigned_abs())
}

/// What the requester may see. In `silent` mode only that the request was processed: after that a known phone's status
/// advances step by step with the provider, while an unknown phone's stays the same (P6).
pub(crate) fn view(
    app: &App,
    request_id: RequestId,
    found: RequestStatus,
    hidden_for: Duration,
) -> StatusView {
    let RequestStatus { mut status, mut reason, mut updated_at, expires_at, channel, .. } =
        found.shown();
    let mut is_last = status.is_end();
    if app.config.unknown_phone == UnknownPhone::Silent {
        is_last = status != Status::Accepted && hidden_for.is_zero();
        status = if is_last { Status::Sent } else { Status::Accepted };
        reason = None;
        // The time of a hidden change would reveal it.
        updated_at = Timestamp::from_ms(request_id.made_at_ms());
    }
    let next_channels = match channel {
        Channel::Sms if app.config.sms.voice && status != Status::Verified => vec![Channel::Voice],
        _ => Vec::new(),
    };
    StatusView { request_id, status, updated_at, expires_at, reason, next_channels, is_last }
}
