//! `/console/requests`: every text and call, from the ledger.

pub(crate) mod meaning;
pub(crate) mod one;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::{MessageId, RequestId, UserId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use ledger::{Cursor, Message, MessageFilter};

use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::{Params, cut};
use crate::console::refused::Refused;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;

pub(crate) const PATH: &str = "/console/requests";
/// The spans that the list offers, in hours, and what it shows when none is chosen.
const SPANS: [(&str, &str); 4] =
    [("1", "the last hour"), ("24", "the last day"), ("168", "the last week"), ("720", "30 days")];
const USUAL_SPAN: &str = "24";

#[derive(Template)]
#[template(path = "console/requests/list.html")]
struct ListPage<'a> {
    frame: Frame,
    params: &'a Params,
    rows: Vec<Row>,
    next: Option<String>,
    span: &'a str,
    spans: [(&'static str, &'static str); 4],
    statuses: [&'static str; 5],
    reasons: [&'static str; 7],
    as_of: Moment,
}

/// The statuses that a message in the ledger has.
const STATUSES: [&str; 5] = [
    Status::Sending.as_str(),
    Status::Sent.as_str(),
    Status::Delivered.as_str(),
    Status::Undelivered.as_str(),
    Status::Failed.as_str(),
];

/// A message in a list.
pub(crate) struct Row {
    /// The address of its time line.
    pub address: String,
    pub at: Moment,
    pub phone: String,
    pub country: String,
    pub channel: &'static str,
    pub provider: String,
    pub status: &'static str,
    pub class: &'static str,
    pub reason: Option<&'static str>,
    /// Whether it tells an account's owner of a change, and holds no code.
    pub is_notice: bool,
}

impl Row {
    pub fn of(message: &Message, now: Timestamp) -> Self {
        let id = message.request_id.map_or(message.id.uuid(), RequestId::uuid);
        Self {
            address: format!("{PATH}/{id}"),
            at: Moment::of(message.created_at, now),
            phone: masked(message.phone_number.as_ref()),
            country: message.country.clone(),
            channel: channel(message.channel),
            provider: message.provider.clone().unwrap_or_default(),
            status: message.status.as_str(),
            class: class(message.status),
            reason: message.reason.map(meaning::of_reason),
            is_notice: message.request_id.is_none(),
        }
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let span = params.get("since").filter(|span| SPANS.iter().any(|(hours, _)| hours == span));
    let span = span.unwrap_or(USUAL_SPAN);
    let hours: i64 = span.parse().unwrap_or(24);
    let number = phone_of(&app, &params).await?;
    let filter = MessageFilter {
        status: params.parsed("status"),
        reason: params.parsed("reason"),
        provider: params.get("provider"),
        country: params.get("country"),
        channel: params.parsed("channel"),
        since: Some(now.plus_secs(-hours * 3600)),
        phone_number: number.as_ref(),
    };
    let rows = params.rows();
    let found = app.ledger.page(filter, cursor(&params), rows + 1).await?;
    let (found, more) = cut(found, rows);
    let next = found.last().filter(|_| more).map(|last| {
        let Cursor { created_at, id } = last.cursor();
        params.link(PATH, "before", &format!("{}.{id}", created_at.ms()))
    });
    html(&ListPage {
        frame: Frame::new(&staff, PATH, "Requests"),
        rows: found.iter().map(|message| Row::of(message, now)).collect(),
        next,
        span,
        spans: SPANS,
        statuses: STATUSES,
        reasons: Reason::ALL.map(Reason::as_str),
        as_of: Moment::of(now, now),
        params: &params,
    })
}

/// The number of the account that the list is about: an address holds its id, and no number.
async fn phone_of(app: &App, params: &Params) -> Result<Option<E164>, ApiError> {
    let Some(id) = params.get("user") else { return Ok(None) };
    let id: UserId = id.parse().map_err(|_| ApiError::NotFound)?;
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    Ok(Some(user.phone_number))
}

fn cursor(params: &Params) -> Option<Cursor> {
    let (at, id) = params.get("before")?.split_once('.')?;
    let id: MessageId = id.parse().ok()?;
    Some(Cursor { created_at: Timestamp::from_ms(at.parse().ok()?), id })
}

pub(super) fn masked(number: Option<&E164>) -> String {
    number.map_or_else(|| "(erased)".to_owned(), E164::to_string)
}

pub(super) const fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "text",
        Channel::Voice => "call",
    }
}

/// How a status looks.
pub(super) const fn class(status: Status) -> &'static str {
    match status {
        Status::Delivered | Status::Verified => "good",
        Status::Undelivered | Status::Failed => "bad",
        Status::Expired | Status::Superseded => "warn",
        Status::Accepted | Status::Issued | Status::Sending | Status::Sent => "",
    }
}
