//! `/console/users`: accounts in a list, found and created.

pub(crate) mod acts;
pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod one;
mod standing;

use accounts::Find;
use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::staff::rights::Act;
use crate::staff::users::{self, UserRow, UserState};

pub(crate) const PATH: &str = "/console/users";
/// What the list's address says after an account was deleted.
const DELETED: &str = "deleted";

#[derive(Template)]
#[template(path = "console/users/list.html")]
struct ListPage<'a> {
    frame: Frame,
    params: &'a Params,
    rows: Vec<Line>,
    next: Option<String>,
    done: Option<&'static str>,
    may_create: bool,
    /// May end sessions of many accounts.
    may_end: bool,
    /// May block many.
    may_block: bool,
    as_of: Moment,
}

struct Line {
    user: UserRow,
    name: String,
    created: Moment,
    last_seen: Moment,
    /// The class of the state.
    class: &'static str,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let find = match (params.get("digits"), params.get("name")) {
        (Some(digits), _) => Find::LastDigits(digits),
        (None, Some(name)) => Find::Name(name),
        (None, None) => Find::All,
    };
    let found = users::list(&app, find, params.parsed("before"), params.rows()).await?;
    let line = |user: UserRow| Line {
        name: name_of(&user),
        created: Moment::of(user.created_at, found.as_of),
        last_seen: Moment::of(user.last_seen_at, found.as_of),
        class: class(user.state),
        user,
    };
    html(&ListPage {
        frame: Frame::new(&staff, PATH, "Users"),
        rows: found.items.into_iter().map(line).collect(),
        next: found.next.map(|next| params.link(PATH, "before", &next)),
        done: (params.get("done") == Some(DELETED)).then_some(
            "The account is deleted, with every trace of its phone. Its sessions have ended.",
        ),
        may_create: staff.can(Act::CreateUser),
        may_end: staff.can(Act::EndSessions),
        may_block: staff.can(Act::BlockUser),
        as_of: Moment::of(found.as_of, found.as_of),
        params: &params,
    })
}

/// The name of an account; its masked number if it has none.
fn name_of(user: &UserRow) -> String {
    let name = format!("{} {}", user.first_name, user.last_name);
    if name.trim().is_empty() { user.phone_number.clone() } else { name.trim().to_owned() }
}

const fn class(state: UserState) -> &'static str {
    match state {
        UserState::Active => "good",
        UserState::Slowed => "warn",
        UserState::Locked | UserState::Blocked => "bad",
    }
}
