//! `/console/audit`: who did what to whom. Every filter is in the address, so that what was found can be sent to someone.

pub(crate) mod lines;

use accounts::AuditFilter;
use askama::Template;
use axum::extract::State;
use axum::response::Response;

use self::lines::Line;
use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, csv, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::staff::audit;
use crate::staff::rights::Act;

pub(crate) const PATH: &str = "/console/audit";
const EXPORT: &str = "/console/audit/export";
const FILTERS: [&str; 5] = ["subject", "actor", "act", "since", "until"];

#[derive(Template)]
#[template(path = "console/audit/list.html")]
struct AuditPage<'a> {
    frame: Frame,
    params: &'a Params,
    rows: Vec<Line>,
    next: Option<String>,
    /// Where it is exported; `None`: the role does not allow it.
    export: Option<String>,
    as_of: Moment,
}

fn filter(params: &Params) -> AuditFilter<'_> {
    AuditFilter {
        subject: params.get("subject"),
        actor: params.get("actor"),
        act: params.get("act"),
        since: params.get("since").and_then(audit::time),
        until: params.get("until").and_then(audit::time),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let found = audit::list(&app, filter(&params), params.parsed("before"), params.rows()).await?;
    html(&AuditPage {
        frame: Frame::new(&staff, PATH, "Audit"),
        next: found.next.map(|next| params.link(PATH, "before", &next)),
        rows: lines::of(found.items, found.as_of),
        export: staff.can(Act::ExportLists).then(|| format!("{EXPORT}?{}", params.query())),
        as_of: Moment::of(found.as_of, found.as_of),
        params: &params,
    })
}

/// `POST /console/audit/export`: what the filter finds, as CSV. A form and no link, because it is an act: the audit has it.
pub(crate) async fn export(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form: _ }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ExportLists)?;
    let set = params.set_of(&FILTERS);
    let text = audit::export(&app, &staff.actor(), filter(&params), &set).await?;
    Ok(csv("audit.csv", text))
}
