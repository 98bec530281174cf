//! `/console/audit`: who did what to whom. Every filter is in the address, so that what was found can be sent to someone.

mod csv;
pub(crate) mod lines;

use accounts::AuditFilter;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use domain::timestamp::Timestamp;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::json;

use self::lines::Line;
use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, html};
use crate::console::params::{Params, cut};
use crate::console::refused::Refused;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::Moment;

pub(crate) const PATH: &str = "/console/audit";
/// The most entries of one export.
const EXPORTED: u32 = 10_000;

#[derive(Template)]
#[template(path = "console/audit/list.html")]
struct AuditPage<'a> {
    frame: Frame,
    params: &'a Params,
    rows: Vec<Line>,
    next: Option<String>,
    query: String,
    may_export: bool,
    as_of: Moment,
}

fn filter(params: &Params) -> AuditFilter<'_> {
    // A day, or a time with its offset.
    let time = |name: &str, of_day: &str| {
        let text = params.get(name)?;
        Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}{of_day}")))
    };
    AuditFilter {
        subject: params.get("subject"),
        actor: params.get("actor"),
        act: params.get("act"),
        since: time("since", "T00:00:00Z"),
        until: time("until", "T00:00:00Z"),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let rows = params.rows();
    let found = app.audit.search(filter(&params), params.parsed("before"), rows + 1).await?;
    let (found, more) = cut(found, rows);
    let last = found.last().filter(|_| more).map(|last| last.id.to_string());
    html(&AuditPage {
        frame: Frame::new(&staff, PATH, "Audit"),
        next: last.map(|last| params.link(PATH, "before", &last)),
        rows: lines::of(&app, found, now).await?,
        query: params.query(),
        may_export: staff.can(Act::ExportAudit),
        as_of: Moment::of(now, now),
        params: &params,
    })
}

/// `POST /console/audit/export`: what the filter finds, as CSV. A form and no link, because it is an act: the audit has it.
pub(crate) async fn export(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form: _ }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ExportAudit)?;
    let now = app.engines.clock.now();
    let found = app.audit.search(filter(&params), None, EXPORTED).await?;
    // The names of the filters alone: a detail outlives the accounts that a filter may name.
    let detail = json!({ "entries": found.len(), "filtered_by": params.names() });
    app.audit.add(now, &staff.actor(), "audit_exported", "all", &detail).await?;
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    Ok((headers, csv::of(&found)).into_response())
}
