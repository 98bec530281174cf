//! `/console/guard`: what the pumping guard saw and blocks, and what another rule would have blocked. A replay is in the
//! address, so that it can be sent to someone; it changes nothing.

use ::guard::Kind;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::timestamp::Timestamp;
use http::StatusCode;

use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::staff::guard::{self, Conversion, GuardNet, ReplayView, StopView};
use crate::staff::pages;
use crate::staff::rights::Act;

const PATH: &str = "/console/guard";
const STATES: [(&str, &str); 4] =
    [("", "any state"), ("blocked", "blocked"), ("probing", "probing"), ("open", "open again")];
/// The periods that a replay offers, in days.
const DAYS: [i64; 4] = [1, 7, 30, 90];

#[derive(Template)]
#[template(path = "console/guard/list.html")]
struct GuardPage<'a> {
    frame: Frame,
    params: &'a Params,
    mode: &'static str,
    meaning: &'static str,
    in_force: String,
    rows: Vec<NetLine>,
    next: Option<String>,
    states: &'static [(&'static str, &'static str)],
    countries: Vec<ConversionLine>,
    refused: Vec<ConversionLine>,
    days: &'static [i64],
    chosen: i64,
    replay: Option<ReplayLines>,
    may_open: bool,
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

struct NetLine {
    /// As it is stored.
    kind: String,
    key: String,
    name: String,
    country: String,
    state: String,
    class: &'static str,
    /// A block that is over: the next request decides.
    is_over: bool,
    mode: String,
    sends: i64,
    verified: i64,
    share: String,
    level: i64,
    until: Option<Moment>,
    changed: Moment,
}

struct ConversionLine {
    name: String,
    sends: i64,
    verified: i64,
    share: String,
    refused: i64,
}

struct ReplayLines {
    rule: String,
    from: Moment,
    to: Moment,
    is_cut: bool,
    requests: u64,
    verified: u64,
    stopped: u64,
    turned_away: u64,
    blocks: usize,
    stops: Vec<StopLine>,
}

struct StopLine {
    name: String,
    from: Moment,
    opened: Option<Moment>,
    sends: u64,
    verified: u64,
    blocks: u32,
    stopped: u64,
    turned_away: u64,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let view = guard::read(&app).await?;
    let chosen: Option<i64> = params.parsed("days");
    let (replay, error) = match chosen {
        None => (None, None),
        Some(days) => match guard::replay(&app, params.shown("rule"), days).await {
            Ok(replay) => (Some(lines(replay, now)), None),
            Err(error) if error.status().is_server_error() => return Err(error.into()),
            Err(error) => (None, Some(in_words(&error))),
        },
    };
    let is_refused = error.is_some();
    let (rows, next) = nets(view.nets, &params, now);
    let mut page = html(&GuardPage {
        frame: Frame::new(&staff, PATH, "Guard"),
        params: &params,
        mode: view.mode,
        meaning: match view.mode {
            "off" => "Nothing is counted, and nothing is blocked.",
            "record" => "What it would block is shown here, and nothing is refused.",
            _ => "A request for a blocked net is refused.",
        },
        in_force: view.rule,
        rows,
        next,
        states: &STATES,
        countries: view.countries.into_iter().map(conversion).collect(),
        refused: view.refused.into_iter().map(conversion).collect(),
        days: &DAYS,
        chosen: chosen.unwrap_or(7),
        replay,
        may_open: staff.can(Act::OpenNet),
        done: match params.get("done") {
            Some("opened") => {
                Some("The net is open, and counts anew. The list has it within seconds.")
            }
            Some("nothing") => Some("The net was open already."),
            _ => None,
        },
        error,
        as_of: Moment::of(now, now),
    })?;
    if is_refused {
        *page.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(page.into_response())
}

/// `POST /console/guard/open`: opens a net now, with a reason.
pub(crate) async fn open(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::OpenNet)?;
    let reason = form.reason()?;
    let kind: Kind = form.text("kind").parse().map_err(|_| ApiError::NotFound)?;
    let opened = guard::open(&app, &staff.actor(), (kind, form.text("name")), reason).await?;
    let done = if opened { "opened" } else { "nothing" };
    Ok(Redirect::to(&format!("{PATH}?done={done}")).into_response())
}

/// The nets in the state that is asked for, from where the last page ended, and the address of the next one.
fn nets(nets: Vec<GuardNet>, params: &Params, now: Timestamp) -> (Vec<NetLine>, Option<String>) {
    let (state, shown) = (params.shown("state"), params.rows());
    let skipped: u32 = params.parsed("before").unwrap_or_default();
    let found = nets.into_iter().filter(|net| state.is_empty() || net.state == state);
    let found: Vec<_> =
        found.skip(skipped as usize).take(shown as usize + 1).map(|it| net(it, now)).collect();
    let (rows, next) = pages::cut(found, shown, |_| skipped.saturating_add(shown).to_string());
    (rows, next.map(|next| params.link(PATH, "before", &next)))
}

fn net(net: GuardNet, now: Timestamp) -> NetLine {
    let is_over = net.state == "blocked" && net.until.is_none_or(|until| until <= now);
    NetLine {
        name: if net.kind == "prefix" { net.name.clone() } else { format!("all of {}", net.name) },
        kind: net.kind,
        key: net.name,
        class: match net.state.as_str() {
            "blocked" if is_over => "warn",
            "blocked" => "bad",
            "probing" => "warn",
            _ => "good",
        },
        is_over,
        country: net.country,
        state: net.state,
        mode: net.mode,
        share: share(net.verified, net.sends),
        sends: net.sends,
        verified: net.verified,
        level: net.level,
        until: Moment::maybe(net.until, now),
        changed: Moment::of(net.changed_at, now),
    }
}

/// How many of a hundred.
fn share(part: i64, all: i64) -> String {
    if all > 0 { format!("{} %", part.saturating_mul(100) / all) } else { String::new() }
}

fn conversion(row: Conversion) -> ConversionLine {
    ConversionLine {
        name: row
            .prefix
            .map_or_else(|| row.country.clone(), |prefix| format!("{prefix} ({})", row.country)),
        share: share(row.verified, row.sends),
        sends: row.sends,
        verified: row.verified,
        refused: row.refused,
    }
}

fn lines(replay: ReplayView, now: Timestamp) -> ReplayLines {
    let line = |stop: StopView| StopLine {
        name: stop.prefix.map_or_else(
            || format!("all of {}", stop.country),
            |prefix| format!("{prefix} ({})", stop.country),
        ),
        from: Moment::of(stop.from, now),
        opened: Moment::maybe(stop.opened, now),
        sends: stop.sends,
        verified: stop.verified,
        blocks: stop.blocks,
        stopped: stop.stopped,
        turned_away: stop.turned_away,
    };
    ReplayLines {
        rule: replay.rule,
        from: Moment::of(replay.from, now),
        to: Moment::of(replay.to, now),
        is_cut: replay.is_cut,
        requests: replay.requests,
        verified: replay.verified,
        stopped: replay.stopped,
        turned_away: replay.turned_away,
        blocks: replay.blocks,
        stops: replay.stops.into_iter().map(line).collect(),
    }
}
