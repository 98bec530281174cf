//! `/console/blocks`: phones, prefixes, addresses and countries that may not request codes (contract, rulings 7 and 27). A
//! block is in force everywhere within 10 s.

use accounts::{Block, BlockKind, Blocks};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::timestamp::Timestamp;
use http::StatusCode;
use service::block_target::BlockTarget;

use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, html, name_of};
use crate::console::params::Params;
use crate::console::refused::{Refused, in_words};
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;

const PATH: &str = "/console/blocks";
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
    may_set: bool,
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
    page(&app, &staff, None, done, None).await
}

async fn page(
    app: &App,
    staff: &Staff,
    form: Option<&Form>,
    done: Option<&'static str>,
    error: Option<String>,
) -> Result<Response, Refused> {
    let now = app.engines.clock.now();
    let row = |block: Block| Row {
        kind: block.kind.as_str(),
        in_force: block.until.is_none_or(|until| until > now),
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
        rows: Blocks::new(&app.engines.sql).all().await?.into_iter().map(row).collect(),
        may_set: staff.can(Act::SetBlocks),
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
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::SetBlocks)?;
    match set(&app, &staff, &form).await {
        Ok(()) => Ok(Redirect::to("/console/blocks?done=added").into_response()),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let page = page(&app, &staff, Some(&form), None, Some(in_words(&error))).await?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
    }
}

async fn set(app: &App, staff: &Staff, form: &Form) -> Result<(), ApiError> {
    let now = app.engines.clock.now();
    let reason = form.reason()?;
    let target = target(app, form, now)?;
    let hours: i64 = match form.text("hours").parse() {
        Ok(hours) if (0..=8760).contains(&hours) => hours,
        _ => return Err(ApiError::field("hours", "invalid", "Choose how long the block lasts.")),
    };
    let block = Block {
        kind: target.kind,
        value: target.value,
        display: target.display,
        reason: reason.to_owned(),
        owner: name_of(&staff.user),
        until: (hours > 0).then(|| now.plus_secs(hours * 3600)),
        created_at: now,
    };
    Ok(Blocks::new(&app.engines.sql).add(&block, &staff.actor()).await?)
}

fn target(app: &App, form: &Form, now: Timestamp) -> Result<BlockTarget, ApiError> {
    let kind: BlockKind = form
        .text("kind")
        .parse()
        .map_err(|_| ApiError::field("kind", "invalid", "Choose what the block is about."))?;
    let keys = &app.engines.keys;
    BlockTarget::of(keys, &app.phones, kind, form.text("value"), now)
        .map_err(|wrong| ApiError::field("value", "invalid", format!("This is {wrong}.")))
}

pub(crate) async fn end(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::SetBlocks)?;
    let kind: BlockKind = form.text("kind").parse().map_err(|_| ApiError::NotFound)?;
    let now = app.engines.clock.now();
    let blocks = Blocks::new(&app.engines.sql);
    let ended = blocks.remove(kind, form.text("value"), &staff.actor(), now).await?;
    let done = if ended { "ended" } else { "nothing" };
    Ok(Redirect::to(&format!("{PATH}?done={done}")).into_response())
}
