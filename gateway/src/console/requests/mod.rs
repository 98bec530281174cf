//! `/console/requests`: every text and call, from the ledger.

pub(crate) mod one;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};

use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, csv, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::staff::requests::one::by;
use crate::staff::requests::{self, Filter, MessageRow, STATUSES, export, meaning};
use crate::staff::rights::Act;

pub(crate) const PATH: &str = "/console/requests";
const EXPORT: &str = "/console/requests/export";
const FILTERS: [&str; 9] =
    ["status", "reason", "provider", "country", "channel", "since", "user", "prefix", "outcome"];
/// The spans that the list offers, in hours, and what it shows when none is chosen.
const SPANS: [(&str, &str); 4] =
    [("1", "the last hour"), ("24", "the last day"), ("168", "the last week"), ("720", "30 days")];
/// The outcome of what was sent and never used.
const UNVERIFIED: &str = "unverified";
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
    /// Until when was looked, if that was not far enough.
    looked_until: Option<Moment>,
    /// What was given for a prefix is none.
    is_no_prefix: bool,
    /// Where it is exported; `None`: the role does not allow it.
    export: Option<String>,
    as_of: Moment,
}

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
    pub fn of(message: &MessageRow, now: Timestamp) -> Self {
        Self {
            address: format!("{PATH}/{}", message.id),
            at: Moment::of(message.created_at, now),
            phone: masked(message.phone_number.as_deref()),
            country: message.country.clone(),
            channel: by(message.channel),
            provider: message.provider.clone().unwrap_or_default(),
            status: message.status.as_str(),
            class: class(message.status),
            reason: message.reason.map(meaning::of_reason),
            is_notice: message.is_notice,
        }
    }
}

/// What the address asks for, and the span of time that it chose.
fn filter(params: &Params, now: Timestamp) -> Result<(Filter<'_>, &str), Refused> {
    let span = params.get("since").filter(|span| SPANS.iter().any(|(hours, _)| hours == span));
    let span = span.unwrap_or(USUAL_SPAN);
    let hours: i64 = span.parse().unwrap_or(24);
    let user = match params.get("user") {
        Some(id) => Some(id.parse().map_err(|_| ApiError::NotFound)?),
        None => None,
    };
    let filter = Filter {
        status: params.parsed("status"),
        reason: params.parsed("reason"),
        provider: params.get("provider"),
        country: params.get("country"),
        channel: params.parsed("channel"),
        since: Some(now.plus_secs(-hours * 3600)),
        user,
        prefix: params.get("prefix").and_then(requests::prefix),
        is_unverified: params.get("outcome") == Some(UNVERIFIED),
    };
    Ok((filter, span))
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let (filter, span) = filter(&params, app.engines.clock.now())?;
    let before = params.get("before").and_then(requests::cursor);
    let found = Box::pin(requests::list(&app, filter, before, params.rows())).await?;
    html(&ListPage {
        frame: Frame::new(&staff, PATH, "Requests"),
        rows: found.items.iter().map(|message| Row::of(message, found.as_of)).collect(),
        next: found.next.map(|next| params.link(PATH, "before", &next)),
        span,
        spans: SPANS,
        statuses: STATUSES.map(Status::as_str),
        reasons: Reason::ALL.map(Reason::as_str),
        looked_until: Moment::maybe(found.looked_until, found.as_of),
        is_no_prefix: params.get("prefix").is_some() && filter.prefix.is_none(),
        export: staff.can(Act::ExportLists).then(|| format!("{EXPORT}?{}", params.query())),
        as_of: Moment::of(found.as_of, found.as_of),
        params: &params,
    })
}

/// `POST /console/requests/export`: what the filter finds, as CSV. What cannot be read of it is refused where it would let
/// everything through.
pub(crate) async fn export(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form: _ }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ExportLists)?;
    let (filter, _) = filter(&params, app.engines.clock.now())?;
    if params.get("prefix").is_some() && filter.prefix.is_none() {
        let detail = "A prefix is a calling code and digits, 8 at most.";
        return Err(ApiError::field("prefix", "invalid", detail).into());
    }
    let (actor, set) = (staff.actor(), params.set_of(&FILTERS));
    let exported = Box::pin(export::export(&app, &actor, filter, &set)).await?;
    Ok(csv(&file_name(exported.looked_until), exported.csv))
}

/// The name of a file tells whoever opens it how far was looked, if that was not far enough.
fn file_name(looked_until: Option<Timestamp>) -> String {
    match looked_until {
        Some(until) => format!("requests-back-to-{}.csv", until.to_string().replace(':', "-")),
        None => "requests.csv".to_owned(),
    }
}

fn masked(number: Option<&str>) -> String {
    number.unwrap_or("(erased)").to_owned()
}

/// How a status looks.
const fn class(status: Status) -> &'static str {
    match status {
        Status::Delivered | Status::Verified => "good",
        Status::Undelivered | Status::Failed => "bad",
        Status::Expired | Status::Superseded => "warn",
        Status::Accepted | Status::Issued | Status::Sending | Status::Sent => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_how_far_was_looked_if_that_was_not_far_enough() {
        assert_eq!(file_name(None), "requests.csv");
        let until = Timestamp::parse("2026-11-30T10:15:00.000Z");
        assert_eq!(file_name(until), "requests-back-to-2026-11-30T10-15-00.000Z.csv");
    }
}
