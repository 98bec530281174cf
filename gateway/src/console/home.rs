//! `/console`: the pulse of the last day, from the ledger; each figure leads to the list behind it.

use accounts::Blocks;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::vocabulary::{Reason, Status};

use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::refused::Refused;
use crate::console::requests::meaning;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::Moment;

/// What the figures cover, in hours: the usual span of the list that they lead to.
const HOURS: i64 = 24;
/// How many reasons are shown.
const REASONS: usize = 5;

#[derive(Template)]
#[template(path = "console/home.html")]
struct HomePage {
    frame: Frame,
    tiles: Vec<Tile>,
    reasons: Vec<(i64, &'static str, String)>,
    as_of: Moment,
}

/// A figure, and the list that it counts.
struct Tile {
    name: &'static str,
    figure: String,
    detail: String,
    address: String,
}

pub(crate) async fn show(State(app): State<App>, staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let totals = app.ledger.totals(now.plus_secs(-HOURS * 3600)).await?;
    let count = |statuses: &[Status]| -> i64 {
        totals.iter().filter(|(it, ..)| statuses.contains(it)).map(|(.., n)| n).sum()
    };
    let list = |status: Status| format!("/console/requests?status={}", status.as_str());
    let all = count(&Status::ALL);
    let share = |part: i64| match all {
        0 => String::new(),
        all => format!("{} % of all", part * 100 / all),
    };
    let tile = |name, status: Status| {
        let part = count(&[status]);
        Tile { name, figure: part.to_string(), detail: share(part), address: list(status) }
    };
    let blocks = Blocks::new(&app.engines.sql).active(now).await?;
    let tiles = vec![
        Tile {
            name: "Texts and calls",
            figure: all.to_string(),
            detail: "in the last day".to_owned(),
            address: "/console/requests".to_owned(),
        },
        tile("On their way", Status::Sending),
        tile("Sent, no receipt yet", Status::Sent),
        tile("Delivered", Status::Delivered),
        tile("Not delivered", Status::Undelivered),
        tile("Failed", Status::Failed),
        Tile {
            name: "Blocks in force",
            figure: blocks.len().to_string(),
            detail: String::new(),
            address: "/console/blocks".to_owned(),
        },
    ];
    html(&HomePage {
        frame: Frame::new(&staff, "/console", "Pulse"),
        tiles,
        reasons: reasons(&totals),
        as_of: Moment::of(now, now),
    })
}

/// The most frequent reasons why messages did not arrive.
fn reasons(totals: &[(Status, Option<Reason>, i64)]) -> Vec<(i64, &'static str, String)> {
    let of = |reason: Reason| -> i64 {
        totals.iter().filter(|(_, it, _)| *it == Some(reason)).map(|(.., n)| n).sum()
    };
    let mut counted: Vec<_> = Reason::ALL
        .into_iter()
        .map(|reason| {
            let address = format!("/console/requests?reason={}", reason.as_str());
            (of(reason), meaning::of_reason(reason), address)
        })
        .filter(|(messages, ..)| *messages > 0)
        .collect();
    counted.sort_by_key(|(messages, ..)| std::cmp::Reverse(*messages));
    counted.truncate(REASONS);
    counted
}
