//! `GET /admin/v1/audit`: who did what to whom; as CSV for whoever accepts it.

use accounts::AuditFilter;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::params::AuditFilters;
use crate::openapi::refusals::refusals;
use crate::staff::audit::{self, AuditList};
use crate::staff::rights::Act;

refusals!(ListRefused: Admin);

#[utoipa::path(
    get, path = "/admin/v1/audit", tag = "audit", operation_id = "listAudit",
    summary = "Read the audit",
    description = "Entries by pages, the newest first. With `Accept: text/csv` all that the filters find as CSV, 10,000 \
        entries at most and without pages: that takes the role `operator`, and is itself in the audit.",
    params(AuditFilters),
    responses((status = 200, description = "A page of the audit.", content(
        (AuditList = "application/json"),
        (String = "text/csv", example = "id,at,actor,act,subject,detail\r\n"),
    )), ListRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    by: ByKey,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, ApiError> {
    let wants_csv = wants_csv(&headers);
    by.may(if wants_csv { Act::ExportLists } else { Act::See })?;
    let names = ["subject", "actor", "act"];
    let [subject, actor, act] = names.map(|name| query.text(name));
    let wanted = "Send a day, such as 2026-11-30, or an RFC 3339 time.";
    let [since, until] = ["since", "until"].map(|name| query.read(name, wanted, audit::time));
    let rows = query.rows();
    let before = query.read("before", "Send the `next` of a page.", |text| text.parse().ok());
    query.finish()?;
    let filter = AuditFilter {
        subject: subject.as_deref(),
        actor: actor.as_deref(),
        act: act.as_deref(),
        since,
        until,
    };
    if !wants_csv {
        let list = audit::list(&app, filter, before, rows).await?;
        return Ok(([(VARY, "accept")], Json(list)).into_response());
    }
    let set = [subject.is_some(), actor.is_some(), act.is_some(), since.is_some(), until.is_some()];
    let all = ["subject", "actor", "act", "since", "until"];
    let set: Vec<&'static str> =
        all.into_iter().zip(set).filter(|(_, it)| *it).map(|(it, _)| it).collect();
    let csv = audit::export(&app, by.actor(), filter, &set).await?;
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8"), (VARY, "accept")], csv).into_response())
}

/// Whether CSV is what the caller names first.
fn wants_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let first = accept.split([',', ';']).next().unwrap_or_default();
    first.trim().eq_ignore_ascii_case("text/csv")
}
