//! `/console/blocks`: phones, prefixes, addresses and countries that may not request codes (contract, rulings 7 and 27). A
//! block is in force everywhere within 10 s.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;

use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, csv, html};
use crate::console::params::Params;
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::staff::blocks::{self, BlockRow, NewBlock};
use crate::staff::name_of;
use crate::staff::rights::Act;

const PATH: &str = "/console/blocks";
const EXPORT: &str = "/console/blocks/export";
/// The lives of a block that the form offers, in hours; 0 has no end.
const LIVES: [(&str, &str); 5] = [
    ("1", "1 hour"),
    ("24", "1 day"),
    ("168", "1 week"),
    ("720", "30 days"),
    ("0", "until it is ended"),
];

#[derive(Template)]
#[template(path = "console/blocks/list.html")]
struct BlocksPage<'a> {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    may_set: bool,
    /// Where they are exported; `None`: the role does not allow it.
    export: Option<&'static str>,
    kind: &'a str,
    value: &'a str,
    reason: &'a str,
    lives: &'static [(&'static str, &'static str)],
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

struct Row {
    kind: &'static str,
    /// As it is stored: a phone's key.
    value: String,
    display: String,
    reason: String,
    owner: String,
    since: Moment,
    until: Option<Moment>,
    in_force: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let done = match params.get("done") {
        Some("added") => Some("The block is set. It is in force everywhere within 10 seconds."),
        Some("ended") => Some("The block has ended."),
        Some("nothing") => Some("There was no such block any more."),
        _ => None,
    };
    page(&app, &staff, &params, None, done, None).await
}

async fn page(
    app: &App,
    staff: &Staff,
    params: &Params,
    form: Option<&Form>,
    done: Option<&'static str>,
    error: Option<String>,
) -> Result<Response, Refused> {
    let before = params.get("before").and_then(blocks::cursor);
    let found = blocks::list(app, before, params.rows()).await?;
    let now = found.as_of;
    let row = |block: BlockRow| Row {
        kind: block.kind,
        in_force: block.is_in_force,
        value: block.value,
        display: block.display,
        reason: block.reason,
        owner: block.owner,
        since: Moment::of(block.created_at, now),
        until: Moment::maybe(block.until, now),
    };
    let field = |name| form.map_or("", |form| form.text(name));
    html(&BlocksPage {
        frame: Frame::new(staff, PATH, "Blocks"),
        rows: found.items.into_iter().map(row).collect(),
        next: found.next.map(|next| format!("{PATH}?before={}", escaped(&next))),
        may_set: staff.can(Act::SetBlocks),
        export: staff.can(Act::ExportLists).then_some(EXPORT),
        kind: field("kind"),
        value: field("value"),
        reason: field("reason"),
        lives: &LIVES,
        done,
        error,
        as_of: Moment::of(now, now),
    })
}

pub(crate) async fn add(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::SetBlocks)?;
    match set(&app, &staff, &form).await {
        Ok(()) => Ok(Redirect::to("/console/blocks?done=added").into_response()),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let page =
                page(&app, &staff, &params, Some(&form), None, Some(in_words(&error))).await?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
    }
}

async fn set(app: &App, staff: &Staff, form: &Form) -> Result<(), ApiError> {
    let now = app.engines.clock.now();
    let reason = form.reason()?;
    let hours: i64 = match form.text("hours").parse() {
        Ok(hours) if (0..=8760).contains(&hours) => hours,
        _ => return Err(ApiError::field("hours", "invalid", "Choose how long the block lasts.")),
    };
    let new = NewBlock {
        kind: form.text("kind"),
        value: form.text("value"),
        reason,
        owner: &name_of(&staff.user),
        until: (hours > 0).then(|| now.plus_secs(hours * 3600)),
    };
    blocks::set(app, &staff.actor(), &new).await.map(drop)
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

pub(crate) async fn end(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::SetBlocks)?;
    let (kind, value) = (form.text("kind"), form.text("value"));
    let ended = blocks::end(&app, &staff.actor(), kind, value).await?;
    let done = if ended { "ended" } else { "nothing" };
    Ok(Redirect::to(&format!("{PATH}?done={done}")).into_response())
}

/// `POST /console/blocks/export`: all of them as CSV.
pub(crate) async fn export(
    State(app): State<App>,
    StaffForm { staff, form: _ }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ExportLists)?;
    Ok(csv("blocks.csv", blocks::export(&app, &staff.actor()).await?))
}
