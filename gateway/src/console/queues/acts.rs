//! What staff do to dead letters: replay or drop one, those of one reason, or all of a queue.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use bus::Queue;
use http::StatusCode;

use super::one::after;
use super::{AWAY, PATH, REFUSED};
use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, html};
use crate::console::params::{PagePair, Params};
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::http::validate::visible;
use crate::staff::queues::{
    Done, DoneLetter, LetterId, MOST_AT_ONCE, Pick, Stopped, drop_letters, replay,
};
use crate::staff::rights::Act;

/// The most letters whose results are shown: a page must not be heavy.
const SHOWN: usize = 200;

/// What became of each letter of an act on several.
#[derive(Template)]
#[template(path = "console/queues/results.html")]
struct ResultsPage {
    frame: Frame,
    queue: &'static str,
    is_replay: bool,
    total: usize,
    rows: Vec<ResultRow>,
    /// Those that are not shown.
    more: usize,
    stopped: Option<String>,
    error: Option<String>,
    as_of: Moment,
}

struct ResultRow {
    id: String,
    kind: String,
    reason: String,
}

/// `POST /console/queues/{queue}/{id}`: the act is a field of the form.
pub(crate) async fn one(
    State(app): State<App>,
    PagePair(queue, LetterId(id)): PagePair<Queue, LetterId>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ReplayDead)?;
    let pick = Pick::One(id.clone());
    let (word, done) = match form.text("act") {
        "replay" => ("replayed", replay(&app, &staff.actor(), queue, &pick).await?),
        "drop" => {
            let why = form.reason()?;
            ("dropped", drop_letters(&app, &staff.actor(), queue, &pick, why).await?)
        }
        _ => return Err(ApiError::NotFound.into()),
    };
    let word = match (done.letters.is_empty(), done.stopped) {
        (false, _) => word,
        (true, None | Some(Stopped::Bound)) => "nothing",
        (true, Some(Stopped::Away)) => "away",
        (true, Some(Stopped::Refused)) => "refused",
    };
    Ok(Redirect::to(&after(queue, &id, word)).into_response())
}

/// `POST /console/queues?for=reason`: an act on all letters of a queue, or on those of one reason. The answer tells what became of each;
/// it leads nowhere, because an address cannot hold it.
pub(crate) async fn several(
    State(app): State<App>,
    params: Params,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ReplayDead)?;
    let queue: Queue = form.text("queue").parse().map_err(|_| ApiError::NotFound)?;
    let pick = params.get("for").map_or(Pick::All, |reason| Pick::Reason(reason.to_owned()));
    let is_replay = match form.text("act") {
        "replay" => true,
        "drop" => false,
        _ => return Err(ApiError::NotFound.into()),
    };
    match act(&app, &staff, &form, queue, &pick, is_replay).await {
        Ok(done) => results(&app, &staff, queue, is_replay, done, None),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let nothing = Done { queue: queue.as_str(), letters: Vec::new(), stopped: None };
            let why = Some(in_words(&error));
            let page = results(&app, &staff, queue, is_replay, nothing, why)?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
    }
}

async fn act(
    app: &App,
    staff: &Staff,
    form: &Form,
    queue: Queue,
    pick: &Pick,
    is_replay: bool,
) -> Result<Done, ApiError> {
    if is_replay {
        return replay(app, &staff.actor(), queue, pick).await;
    }
    drop_letters(app, &staff.actor(), queue, pick, form.reason()?).await
}

fn results(
    app: &App,
    staff: &Staff,
    queue: Queue,
    is_replay: bool,
    done: Done,
    error: Option<String>,
) -> Result<Response, Refused> {
    let now = app.engines.clock.now();
    let stopped = done.stopped.map(|stopped| match stopped {
        Stopped::Bound => format!(
            "More may be left: one act does {MOST_AT_ONCE} letters at most, and takes a second. Go back and repeat it."
        ),
        Stopped::Away => AWAY.to_owned(),
        Stopped::Refused => REFUSED.to_owned(),
    });
    let row = |letter: DoneLetter| ResultRow {
        id: visible(&letter.id),
        kind: visible(&letter.kind),
        reason: visible(&letter.reason),
    };
    html(&ResultsPage {
        frame: Frame::new(staff, PATH, "Dead letters"),
        queue: queue.as_str(),
        is_replay,
        total: done.letters.len(),
        more: done.letters.len().saturating_sub(SHOWN),
        rows: done.letters.into_iter().take(SHOWN).map(row).collect(),
        stopped,
        error,
        as_of: Moment::of(now, now),
    })
}
