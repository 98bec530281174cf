//! `/console/staff`: who has which role and where they are signed in, what each role may do; an owner grants and removes
//! roles here.

use accounts::StaffRole;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::ids::UserId;
use domain::timestamp::Timestamp;

use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::staff::members::{self, MemberView, RightView};
use crate::staff::rights::Act;

const PATH: &str = "/console/staff";

#[derive(Template)]
#[template(path = "console/members/list.html")]
struct StaffPage<'a> {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    /// An act, and whether each role may do it.
    rights: Vec<(&'static str, [bool; 4])>,
    roles: [&'static str; 4],
    may_change: bool,
    is_fresh: bool,
    who: &'a str,
    reason: &'a str,
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

struct Row {
    id: String,
    name: String,
    phone: String,
    role: String,
    is_blocked: bool,
    is_own: bool,
    last_sign_in: Option<Moment>,
    sessions: Vec<Session>,
}

struct Session {
    device: String,
    ip: String,
    began: Moment,
    last_seen: Moment,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let done = match params.get("done") {
        Some("granted") => Some("The role is granted. It holds from now on."),
        Some("removed") => Some("The role is removed, and the sessions at the console have ended."),
        Some("nothing") => Some("Nothing had to be done: it was so already."),
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
    let now = app.engines.clock.now();
    let view = members::read(app, params.parsed("after"), params.rows()).await?;
    let field = |name| form.map_or("", |form| form.text(name));
    html(&StaffPage {
        frame: Frame::new(staff, PATH, "Staff"),
        next: view.next.map(|next| params.link(PATH, "after", &next)),
        rows: view.items.into_iter().map(|member| row(member, staff, now)).collect(),
        rights: view.rights.iter().map(right).collect(),
        roles: StaffRole::ALL.map(StaffRole::as_str),
        may_change: staff.can(Act::SetRoles),
        is_fresh: staff.is_fresh(now),
        who: field("user"),
        reason: field("reason"),
        done,
        error,
        as_of: Moment::of(now, now),
    })
}

fn right(right: &RightView) -> (&'static str, [bool; 4]) {
    let least = StaffRole::named(right.least);
    (right.words, StaffRole::ALL.map(|role| least.is_some_and(|least| least <= role)))
}

fn row(member: MemberView, staff: &Staff, now: Timestamp) -> Row {
    let sessions = member.sessions.into_iter().map(|session| Session {
        device: session.device,
        ip: session.ip,
        began: Moment::of(session.began_at, now),
        last_seen: Moment::of(session.last_seen_at, now),
    });
    Row {
        is_own: member.id == staff.user.id.to_string(),
        name: if member.name.is_empty() { member.phone_number.clone() } else { member.name },
        id: member.id,
        phone: member.phone_number,
        role: member.role,
        is_blocked: member.blocked,
        last_sign_in: Moment::maybe(member.last_sign_in, now),
        sessions: sessions.collect(),
    }
}

/// `POST /console/staff`: gives the account of a phone or an id a role, or removes it.
pub(crate) async fn change(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::SetRoles)?;
    staff.must_be_fresh(app.engines.clock.now())?;
    match changed(&app, &staff, &form).await {
        Ok(done) => Ok(Redirect::to(&format!("{PATH}?done={done}")).into_response()),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let words = match error {
                ApiError::NotFound => {
                    "There is no such account. Whoever is to be staff signs in to the app once, or \
                     is created."
                        .to_owned()
                }
                ref other => in_words(other),
            };
            let mut page = page(&app, &staff, &params, Some(&form), None, Some(words)).await?;
            *page.status_mut() = error.status();
            Ok(page)
        }
    }
}

async fn changed(app: &App, staff: &Staff, form: &Form) -> Result<&'static str, ApiError> {
    let role = match form.text("role") {
        "none" => None,
        name => Some(
            name.parse::<StaffRole>()
                .map_err(|_| ApiError::field("role", "invalid", "Choose a role."))?,
        ),
    };
    let reason = form.reason()?;
    let user = user(app, form.text("user")).await?;
    let done = members::change_role(app, staff.user.id, user, role, reason).await?;
    Ok(match (done, role) {
        (false, _) => "nothing",
        (true, Some(_)) => "granted",
        (true, None) => "removed",
    })
}

/// The account of an id, or of a phone in any writing.
async fn user(app: &App, who: &str) -> Result<UserId, ApiError> {
    if let Ok(id) = who.parse() {
        return Ok(id);
    }
    let served = app.phones.as_ref().clone().everywhere();
    let phone = served
        .parse(who, app.engines.clock.now())
        .map_err(|_| ApiError::InvalidPhoneNumber { field: "user" })?;
    Ok(app.accounts.by_phone(phone.e164()).await?.ok_or(ApiError::NotFound)?.id)
}
