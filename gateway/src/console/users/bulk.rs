//! `POST /console/users/bulk`: one act on the accounts that are ticked in the list, and a page that says what became of each.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::UserId;

use super::PATH;
use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, html};
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::http::error::ApiError;
use crate::staff::users::bulk::{self, BulkAct, BulkResult};

/// What the name of a ticked account's field begins with.
const TICKED: &str = "user_";

#[derive(Template)]
#[template(path = "console/users/bulk.html")]
struct BulkPage {
    frame: Frame,
    what: &'static str,
    done: usize,
    rows: Vec<Line>,
}

struct Line {
    id: String,
    words: &'static str,
    class: &'static str,
}

pub(crate) async fn act(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    let refuse = || ApiError::field("act", "invalid", "Choose what to do.");
    let act: BulkAct = form.text("act").parse().map_err(|_| refuse())?;
    staff.may(act.right())?;
    let reason = match act {
        BulkAct::Block => form.reason()?,
        BulkAct::Unblock | BulkAct::EndSessions => "",
    };
    let ids: Vec<UserId> =
        form.names().filter_map(|name| name.strip_prefix(TICKED)?.parse().ok()).collect();
    if ids.is_empty() {
        return Err(ApiError::field("users", "required", "Tick at least one user.").into());
    }
    let results = bulk::act(&app, &staff.authority(), act, &ids, reason).await?;
    page(&staff, act, &results)
}

fn page(staff: &Staff, act: BulkAct, results: &bulk::BulkResults) -> Result<Response, Refused> {
    let line = |item: &bulk::BulkItem| {
        let (class, words) = words(item.result);
        Line { id: item.id.to_string(), words, class }
    };
    html(&BulkPage {
        frame: Frame::new(staff, PATH, "Many users"),
        what: match act {
            BulkAct::Block => "Block",
            BulkAct::Unblock => "Unblock",
            BulkAct::EndSessions => "End all sessions",
        },
        done: results.items.iter().filter(|item| item.result == BulkResult::Done).count(),
        rows: results.items.iter().map(line).collect(),
    })
}

const fn words(result: BulkResult) -> (&'static str, &'static str) {
    match result {
        BulkResult::Done => ("good", "done"),
        BulkResult::Unchanged => ("", "it was so already"),
        BulkResult::NotFound => ("warn", "there is no such user"),
        BulkResult::HigherRole => ("bad", "their role is higher than yours"),
        BulkResult::NotDone => ("bad", "not done: try again"),
    }
}
