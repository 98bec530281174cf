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

/// How many events a page has, unless the caller says otherwise, and how many it may have.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<usize>,
    before: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ActivityView {
    items: Vec<EventView>,
    /// The `before` of the next page, if there is one.
    next: Option<String>,
}

#[derive(Serialize)]
struct EventView {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The last 100 events are read on each call, and the page is cut from them.
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
