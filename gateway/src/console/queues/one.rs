//! `/console/queues/{queue}/{id}`: one dead letter.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use bus::Queue;

use super::{LetterRow, PATH, address, done_words, error_words, trouble};
use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::{PagePair, Params};
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::validate::visible;
use crate::staff::queues::{self, LetterDetail, LetterId};
use crate::staff::rights::Act;

#[derive(Template)]
#[template(path = "console/queues/one.html")]
struct LetterPage {
    frame: Frame,
    row: LetterRow,
    first: Option<Moment>,
    not_after: Option<Moment>,
    bytes: u64,
    trace: Option<String>,
    headers: Vec<(String, String)>,
    /// `None`: it cannot be read.
    body: Option<String>,
    may_act: bool,
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

#[derive(Template)]
#[template(path = "console/queues/absent.html")]
struct AbsentPage {
    frame: Frame,
    queue: &'static str,
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    params: Params,
    PagePair(queue, LetterId(id)): PagePair<Queue, LetterId>,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let frame = Frame::new(&staff, PATH, "Dead letter");
    let done = params.get("done").and_then(done_words);
    let error = params.get("done").and_then(error_words);
    let LetterDetail { letter, headers, body, trace_id } =
        match queues::letter(&app, queue, &id).await? {
            Ok(Some(detail)) => detail,
            absent => {
                let why = absent.err().and_then(trouble);
                let done = done.or(if why.is_none() { done_words("nothing") } else { None });
                return html(&AbsentPage {
                    frame,
                    queue: queue.as_str(),
                    done,
                    error: error.or(why).map(str::to_owned),
                    as_of: Moment::of(now, now),
                });
            }
        };
    let body = (!body.is_null()).then(|| serde_json::to_string_pretty(&body).unwrap_or_default());
    html(&LetterPage {
        frame,
        row: LetterRow::of(&letter, now),
        first: Moment::maybe(letter.first_at, now),
        not_after: Moment::maybe(letter.not_after, now),
        bytes: letter.bytes,
        trace: trace_id,
        headers: headers.iter().map(|(name, value)| (visible(name), visible(value))).collect(),
        body: body.map(|body| body.lines().map(visible).collect::<Vec<_>>().join("\n")),
        may_act: staff.can(Act::ReplayDead),
        done,
        error: error.map(str::to_owned),
        as_of: Moment::of(now, now),
    })
}

/// Where an act on one letter leads: to its page while it is there, else to the list.
pub(super) fn after(queue: Queue, id: &str, done: &str) -> String {
    match done {
        "replayed" | "dropped" | "nothing" => format!("{PATH}?done={done}"),
        _ => format!("{}?done={done}", address(queue.as_str(), id)),
    }
}
