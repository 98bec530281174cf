//! `/console/users`: accounts in a list, found and created.

pub(crate) mod acts;
pub(crate) mod create;
pub(crate) mod one;
mod standing;

use accounts::{AttemptKind, Find, Person};
use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::console::page::{Frame, html, name_of};
use crate::console::params::{Params, cut};
use crate::console::refused::Refused;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;

pub(crate) const PATH: &str = "/console/users";

#[derive(Template)]
#[template(path = "console/users/list.html")]
struct ListPage<'a> {
    frame: Frame,
    params: &'a Params,
    rows: Vec<Line>,
    next: Option<String>,
    may_create: bool,
    as_of: Moment,
}

struct Line {
    id: String,
    phone: String,
    name: String,
    country: String,
    created: Moment,
    last_seen: Moment,
    sessions: i64,
    has_password: bool,
    role: Option<String>,
    state: (&'static str, &'static str),
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let find = match (params.get("digits"), params.get("name")) {
        (Some(digits), _) => Find::LastDigits(digits),
        (None, Some(name)) => Find::Name(name),
        (None, None) => Find::All,
    };
    let rows = params.rows();
    let people = app.accounts.people(find, params.parsed("before"), rows + 1, now).await?;
    let (people, more) = cut(people, rows);
    let last = people.last().filter(|_| more).map(|last| last.user.id.to_string());
    let next = last.map(|last| params.link(PATH, "before", &last));
    html(&ListPage {
        frame: Frame::new(&staff, PATH, "Users"),
        rows: lines(&app, people).await?,
        next,
        may_create: staff.can(Act::CreateUser),
        as_of: Moment::of(now, now),
        params: &params,
    })
}

async fn lines(app: &App, people: Vec<Person>) -> Result<Vec<Line>, ApiError> {
    let now = app.engines.clock.now();
    let keys: Vec<_> =
        people.iter().map(|person| app.engines.keys.phone_key(&person.user.phone_number)).collect();
    let phones: Vec<_> =
        people.iter().zip(&keys).map(|(person, key)| (&person.user.phone_number, key)).collect();
    let limits = app.attempt_limits();
    let throttles = app.attempts.throttles(&phones, AttemptKind::Code, limits, now).await?;
    let line = |(person, throttle): (Person, Option<accounts::Throttle>)| Line {
        id: person.user.id.to_string(),
        phone: person.user.phone_number.to_string(),
        name: name_of(&person.user),
        country: person.user.country.clone(),
        created: Moment::of(person.user.created_at, now),
        last_seen: Moment::of(person.last_seen, now),
        sessions: person.live_sessions,
        has_password: person.has_password,
        role: person.user.role.clone(),
        state: match throttle {
            _ if person.user.blocked => ("blocked", "bad"),
            Some(accounts::Throttle::Locked { .. }) => ("locked", "bad"),
            Some(accounts::Throttle::Delayed { .. }) => ("slowed", "warn"),
            None => ("active", "good"),
        },
    };
    Ok(people.into_iter().zip(throttles).map(line).collect())
}
