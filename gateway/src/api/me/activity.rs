//! `GET /v1/me/activity`: what happened to the account, for its owner (contract, ruling 38).

use accounts::SecurityEvent;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use domain::ids::SessionId;
use domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::params::{self, Proof};
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// How many events a page has, unless the caller says otherwise, and how many it may have.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<usize>,
    before: Option<String>,
}

/// A page of the account's last 100 security events, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Activity, examples(json!({
    "items": [{
        "id": "b54c1b1fd1a0e7b2c8a54f0d3e6f9b17",
        "type": "session.started",
        "at": "2026-11-30T10:15:20.117Z",
        "session_id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "device": "Example/4.2 (Android 16)",
        "ip": "203.0.113.0",
        "method": "sms",
    }],
    "next": null,
})))]
pub(crate) struct ActivityView {
    items: Vec<EventView>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    next: Option<String>,
}

/// A security event of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = ActivityEvent)]
struct EventView {
    id: String,
    #[serde(rename = "type")]
    #[schema(value_type = words::ActivityType)]
    kind: &'static str,
    #[schema(value_type = words::Time)]
    at: Timestamp,
    /// The session that was started or ended, or that made the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = uuid::Uuid, required = false)]
    session_id: Option<SessionId>,
    /// Of the session, while it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    device: Option<String>,
    /// The cut address of the session, while it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    ip: Option<String>,
    /// How the session was started: `sms`, `call` or `pwd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    method: Option<String>,
    /// Why the session ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    reason: Option<String>,
}

refusals!(ActivityRefused: Reading);

/// The last 100 events are read on each call, and the page is cut from them.
#[utoipa::path(
    get, path = "/v1/me/activity", tag = "account", operation_id = "listActivity",
    summary = "What happened to the account",
    description = "The last 100 security events, newest first, by pages: sign-ins, refused sign-ins after a right \
        code, changes, and ended sessions with the reason.",
    params(params::Page, Proof),
    responses((status = 200, description = "A page of the activity.", body = ActivityView), ActivityRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<ActivityView>, ApiError> {
    let refusal = || {
        ApiError::field(
            "limit",
            "invalid",
            "Send `limit`, 1 to 100, and `before`, each at most once.",
        )
    };
    let Query(page) = page.map_err(|_| refusal())?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(refusal());
    }
    let user = signed_in.user.id;
    let id_of = |event: &SecurityEvent| {
        app.engines.keys.index("activity", &format!("{user} {}", event.key))
    };
    let mut events = app.accounts.activity(user).await?;
    if let Some(before) = page.before {
        // An event that is no longer among the last 100 has none after it either.
        let at = events.iter().position(|event| id_of(event) == before);
        events.drain(..at.map_or(events.len(), |at| at + 1));
    }
    let next = (events.len() > limit).then(|| id_of(&events[limit - 1]));
    events.truncate(limit);
    let view = |event: SecurityEvent| EventView {
        id: id_of(&event),
        kind: event.kind,
        at: event.at,
        session_id: event.session,
        device: event.device,
        ip: event.ip,
        method: event.method,
        reason: event.reason,
    };
    Ok(Json(ActivityView { items: events.into_iter().map(view).collect(), next }))
}
