//! `/console/limits`: every limit in effect, and an explanation: what would answer this phone or address now. The phone
//! comes by a form, so that it stands in no address; looking counts nothing.

use std::net::IpAddr;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use domain::timestamp::Timestamp;
use http::StatusCode;

use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, html};
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::{Moment, span};
use crate::http::error::ApiError;
use crate::staff::limits::{self, Asked, Explained, Judge, LimitView};
use crate::staff::rights::Act;

const PATH: &str = "/console/limits";

#[derive(Template)]
#[template(path = "console/limits/list.html")]
struct LimitsPage<'a> {
    frame: Frame,
    rows: Vec<Row>,
    started: Moment,
    phone: &'a str,
    address: &'a str,
    answer: Option<Answer>,
    error: Option<String>,
    as_of: Moment,
}

struct Row {
    name: &'static str,
    value: String,
    source: String,
    doc: String,
    refused: u64,
}

/// What was asked, and what would be answered.
struct Answer {
    phone: Option<String>,
    address: Option<String>,
    user: Option<String>,
    is_proven: bool,
    is_test: bool,
    /// What would be judged, by whom, and the first that refuses.
    judged: Vec<(&'static str, Vec<JudgeRow>, Option<JudgeRow>)>,
}

#[derive(Clone)]
struct JudgeRow {
    name: &'static str,
    of: String,
    count: String,
    frees: Option<Moment>,
    refuses: bool,
}

pub(crate) async fn list(State(app): State<App>, staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    page(&app, &staff, None, None, None)
}

/// `POST /console/limits`: what would answer the phone, the address or both.
pub(crate) async fn explain(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    match explained(&app, &staff, &form).await {
        Ok(explained) => page(&app, &staff, Some(&form), Some(explained), None),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let page = page(&app, &staff, Some(&form), None, Some(in_words(&error)))?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
    }
}

async fn explained(app: &App, staff: &Staff, form: &Form) -> Result<Explained, ApiError> {
    let (phone, address) = (form.text("phone"), form.text("address"));
    let phone = match phone {
        "" => None,
        writing => Some(app.phone(writing)?),
    };
    let address: Option<IpAddr> = match address {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            ApiError::field("address", "invalid", "This is not an address, such as 203.0.113.7.")
        })?),
    };
    if phone.is_none() && address.is_none() {
        return Err(ApiError::field("phone", "required", "Enter a phone, an address or both."));
    }
    limits::explain(app, &staff.actor(), &Asked { phone, address }).await
}

fn page(
    app: &App,
    staff: &Staff,
    form: Option<&Form>,
    explained: Option<Explained>,
    error: Option<String>,
) -> Result<Response, Refused> {
    let now = app.engines.clock.now();
    let view = limits::read(app);
    // What was typed comes back only where it could not be read: a number that was found is masked from then on.
    let field = |name| form.filter(|_| error.is_some()).map_or("", |form| form.text(name));
    html(&LimitsPage {
        frame: Frame::new(staff, PATH, "Limits"),
        rows: view.limits.iter().map(row).collect(),
        started: Moment::of(view.started_at, now),
        phone: field("phone"),
        address: field("address"),
        answer: explained.map(answer),
        error,
        as_of: Moment::of(now, now),
    })
}

fn row(limit: &LimitView) -> Row {
    let window = limit.window_secs.map(|secs| span(secs * 1000));
    Row {
        name: limit.limit,
        value: match (limit.value, window) {
            (None, _) => "set at run time".to_owned(),
            (Some(0), _) => "off".to_owned(),
            (Some(value), Some(window)) => format!("{value} in {window}"),
            (Some(value), None) if limit.limit == "cooldown" => format!("{value} s at first"),
            (Some(value), None) => value.to_string(),
        },
        source: match (limit.variable, limit.source) {
            (Some(variable), Some("default")) => format!("{variable}, by default"),
            (Some(variable), Some(source)) => format!("{variable}, {source}"),
            _ => "built in".to_owned(),
        },
        doc: limit.doc.replace('`', ""),
        refused: limit.refused,
    }
}

fn answer(explained: Explained) -> Answer {
    let at = explained.at;
    let rows = |judges: &[Judge]| judges.iter().map(|judge| judged(judge, at)).collect();
    let first = |judge: Option<&Judge>| judge.map(|judge| judged(judge, at));
    let judged = vec![
        ("A code request", rows(&explained.requests), first(explained.answers_request())),
        ("A sign-in", rows(&explained.sign_ins), first(explained.answers_sign_in())),
    ];
    Answer {
        judged,
        phone: explained.phone_number,
        address: explained.address,
        user: explained.user_id,
        is_proven: explained.is_proven,
        is_test: explained.is_test,
    }
}

fn judged(judge: &Judge, at: Timestamp) -> JudgeRow {
    JudgeRow {
        name: judge.name,
        of: judge.of.clone(),
        count: match (judge.count, judge.most) {
            (Some(count), Some(most)) => format!("{count} of {most}"),
            (Some(count), None) => count.to_string(),
            _ => String::new(),
        },
        frees: Moment::maybe(judge.frees_at, at),
        refuses: judge.refuses,
    }
}
