//! `/console/providers`: how the providers do now, which of them sends to which numbers, and who shut one by hand.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use config::ProviderName;
use domain::timestamp::Timestamp;
use http::StatusCode;

use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::ids::short;
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::console::time::{Moment, short_span};
use crate::http::error::ApiError;
use crate::http::validate::visible;
use crate::staff::name_of;
use crate::staff::processes::{Route, WorkerProvider};
use crate::staff::providers::{self, LastError, ProviderView, ProvidersView, Shut};
use crate::staff::requests::meaning;
use crate::staff::rights::Act;

const PATH: &str = "/console/providers";
/// For how long the form shuts a provider, in minutes.
const LIVES: [(&str, &str); 5] = [
    ("15", "15 minutes"),
    ("60", "1 hour"),
    ("240", "4 hours"),
    ("1440", "1 day"),
    ("10080", "1 week"),
];

#[derive(Template)]
#[template(path = "console/providers/list.html")]
struct ProvidersPage {
    frame: Frame,
    minutes: u32,
    is_cut: bool,
    providers: Vec<Row>,
    routes: Vec<RouteRow>,
    may_shut: bool,
    lives: &'static [(&'static str, &'static str)],
    done: Option<&'static str>,
    error: Option<String>,
    as_of: Moment,
}

struct Row {
    name: String,
    /// Its texts and calls.
    address: String,
    state: &'static str,
    class: &'static str,
    shut: Option<ShutRow>,
    workers: Vec<WorkerRow>,
    outcomes: Vec<(&'static str, u32)>,
    calls: u32,
    latency: Option<(String, String)>,
    last_error: Option<(Moment, String)>,
    receipts: Option<String>,
}

struct ShutRow {
    until: Option<Moment>,
    since: Moment,
    reason: String,
    owner: String,
}

/// One sms-worker.
struct WorkerRow {
    instance: String,
    circuit: &'static str,
    class: &'static str,
    until: Option<Moment>,
    since: Option<Moment>,
    running: u32,
    limit: u32,
    paused: Option<Moment>,
}

struct RouteRow {
    to: String,
    providers: String,
    voice: bool,
    /// All of its providers are shut: its texts wait, and fail when their codes' lives are over.
    is_stranded: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let done = match params.get("done") {
        Some("shut") => {
            Some("The provider is shut. It is in force in every sms-worker within 10 seconds.")
        }
        Some("opened") => {
            Some("The provider is open again, in every sms-worker within 10 seconds.")
        }
        Some("nothing") => Some("Nothing had to be done: it was so already."),
        _ => None,
    };
    page(&app, &staff, done, None).await
}

async fn page(
    app: &App,
    staff: &Staff,
    done: Option<&'static str>,
    error: Option<String>,
) -> Result<Response, Refused> {
    let ProvidersView { as_of: now, minutes, is_cut, providers, routes } =
        providers::read(app).await?;
    let shut: Vec<&str> = providers
        .iter()
        .filter(|one| one.shut.is_some())
        .map(|one| one.provider.as_str())
        .collect();
    let routes = routes.iter().map(|route| RouteRow::of(route, &shut)).collect();
    html(&ProvidersPage {
        frame: Frame::new(staff, PATH, "Providers"),
        minutes,
        is_cut,
        routes,
        providers: providers.into_iter().map(|provider| Row::of(provider, now)).collect(),
        may_shut: staff.can(Act::ShutProvider),
        lives: &LIVES,
        done,
        error,
        as_of: Moment::of(now, now),
    })
}

/// `POST /console/providers`: shuts one or opens it.
pub(crate) async fn act(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::ShutProvider)?;
    match done(&app, &staff, &form).await {
        Ok(done) => Ok(Redirect::to(&format!("{PATH}?done={done}")).into_response()),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let page = page(&app, &staff, None, Some(in_words(&error))).await?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
    }
}

async fn done(app: &App, staff: &Staff, form: &Form) -> Result<&'static str, ApiError> {
    let provider: ProviderName = form
        .text("provider")
        .parse()
        .map_err(|_| ApiError::field("provider", "invalid", "Choose a provider."))?;
    match form.text("act") {
        "open" => {
            let was_shut = providers::open(app, &staff.actor(), provider).await?;
            Ok(if was_shut { "opened" } else { "nothing" })
        }
        "shut" => {
            let (reason, owner) = (form.reason()?, name_of(&staff.user));
            // A word is refused as a number out of range is.
            let minutes = form.text("minutes").parse().unwrap_or(0);
            providers::shut(app, &staff.actor(), &owner, provider, minutes, reason).await?;
            Ok("shut")
        }
        _ => Err(ApiError::NotFound),
    }
}

impl Row {
    fn of(view: ProviderView, now: Timestamp) -> Self {
        let (state, class) = state(&view);
        let calls = view.outcomes.iter().map(|it| it.calls).sum();
        let receipts = (view.accepted > 0).then(|| {
            let share = view.receipts * 100 / view.accepted;
            match view.receipt_p50_ms {
                Some(ms) => {
                    format!("{share} % of {}, half within {}", view.accepted, short_span(ms))
                }
                None => format!("none of {} yet", view.accepted),
            }
        });
        let latency = view.p50_ms.zip(view.p95_ms);
        let workers = view.workers.iter();
        Self {
            address: format!("/console/requests?provider={}", view.provider),
            state,
            class,
            calls,
            receipts,
            workers: workers.map(|it| WorkerRow::of(short(&it.instance), &it.seen, now)).collect(),
            outcomes: view.outcomes.iter().map(|it| (it.outcome, it.calls)).collect(),
            latency: latency.map(|(p50, p95)| (short_span(p50), short_span(p95))),
            last_error: view
                .last_error
                .map(|it| (Moment::of(it.at, now), error(&view.provider, &it))),
            shut: view.shut.as_ref().map(|shut| ShutRow::of(shut, now)),
            name: view.provider,
        }
    }
}

/// A provider in one word: as staff left it, or else as the worst sms-worker sees it.
fn state(view: &ProviderView) -> (&'static str, &'static str) {
    let any = |word: &str| view.workers.iter().any(|it| it.seen.circuit == word);
    match () {
        () if view.shut.is_some() => ("shut by hand", "bad"),
        () if any("open") => ("circuit open", "bad"),
        () if any("half_open") => ("circuit half-open", "warn"),
        () if view.workers.is_empty() => ("no sms-worker runs", "warn"),
        () => ("works", "good"),
    }
}

fn error(provider: &str, error: &LastError) -> String {
    let words = match error.outcome {
        "throttled" => "Too many calls at once",
        "unavailable" => "The provider was not available",
        "rejected" => "The provider refused the text",
        "filtered" => "The provider filtered the text",
        _ => "Nobody knows whether the provider took the text",
    };
    match &error.code {
        Some(code) => format!("{words}. {}", visible(&meaning::of_code(provider, code))),
        None => format!("{words}."),
    }
}

impl ShutRow {
    fn of(shut: &Shut, now: Timestamp) -> Self {
        Self {
            until: Moment::maybe(shut.until, now),
            since: Moment::of(shut.since, now),
            reason: visible(&shut.reason),
            owner: visible(&shut.owner),
        }
    }
}

impl WorkerRow {
    fn of(instance: String, seen: &WorkerProvider, now: Timestamp) -> Self {
        let (circuit, class) = match seen.circuit.as_str() {
            "closed" => ("closed", "good"),
            "open" => ("open", "bad"),
            _ => ("half-open", "warn"),
        };
        Self {
            instance,
            circuit,
            class,
            until: Moment::maybe(seen.until, now),
            since: Moment::maybe(seen.since, now),
            running: seen.running,
            limit: seen.limit,
            paused: Moment::maybe(seen.paused_until, now),
        }
    }
}

impl RouteRow {
    fn of(route: &Route, shut: &[&str]) -> Self {
        Self {
            to: route.prefix.as_ref().map_or_else(|| "any other".to_owned(), |it| format!("+{it}")),
            providers: route.providers.join(", then "),
            voice: route.voice,
            is_stranded: route.providers.iter().all(|name| shut.contains(&name.as_str())),
        }
    }
}
