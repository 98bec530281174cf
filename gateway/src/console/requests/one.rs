//! `/console/requests/{id}`: where is my text?

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::RequestId;

use super::{PATH, class, masked};
use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::PageId;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::{Moment, short_span};
use crate::staff::requests::one::{self, RequestView, Tone, by};
use crate::staff::rights::Act;

#[derive(Template)]
#[template(path = "console/requests/one.html")]
struct RequestPage {
    frame: Frame,
    id: String,
    is_notice: bool,
    phone: String,
    country: String,
    user: Option<String>,
    status: &'static str,
    class: &'static str,
    channel: &'static str,
    requested: Option<Moment>,
    expires: Option<Moment>,
    steps: Vec<Step>,
    facts: Vec<(&'static str, String)>,
    /// For a ticket or a mail to the provider.
    summary: String,
    as_of: Moment,
}

/// A step of the time line.
struct Step {
    shown: Moment,
    /// Since the step before.
    after: Option<String>,
    class: &'static str,
    what: String,
    detail: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    PageId(id): PageId<RequestId>,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let view = one::read(&app, id).await?;
    let now = view.as_of;
    let phone = match view.country {
        Some(_) => masked(view.phone_number.as_deref()),
        None => "not known here".to_owned(),
    };
    let step = |step: one::Step| Step {
        shown: Moment::of(step.at, now),
        after: step.after_ms.map(short_span),
        class: look(step.tone),
        what: step.title,
        detail: step.detail,
    };
    html(&RequestPage {
        frame: Frame::new(&staff, PATH, if view.is_notice { "Notice" } else { "Request" }),
        id: id.to_string(),
        is_notice: view.is_notice,
        user: view.user_id.map(|id| id.to_string()),
        status: view.status.as_str(),
        class: class(view.status),
        channel: view.channel.map_or("", by),
        requested: Moment::maybe(view.began_at, now),
        expires: Moment::maybe(view.expires_at, now),
        facts: facts(&view),
        summary: summary(id, &phone, &view),
        phone,
        country: view.country.unwrap_or_default(),
        steps: view.steps.into_iter().map(step).collect(),
        as_of: Moment::of(now, now),
    })
}

const fn look(tone: Tone) -> &'static str {
    match tone {
        Tone::Neutral => "",
        Tone::Good => "good",
        Tone::Warning => "warn",
        Tone::Bad => "bad",
    }
}

/// The time line as plain text, with nothing in it that a ticket must not hold.
fn summary(id: RequestId, phone: &str, view: &RequestView) -> String {
    let country = view.country.as_deref().unwrap_or("-");
    let mut lines = vec![
        format!("Request {id}"),
        format!("Phone {phone}, country {country}, status {}", view.status),
    ];
    lines.extend(view.steps.iter().map(|step| {
        format!("{}  {}. {}", step.at, step.title, step.detail)
            .trim_end_matches([' ', '.'])
            .to_owned()
    }));
    lines.push(format!("As of {}", view.as_of));
    lines.join("\n")
}

/// How long the stages took.
fn facts(view: &RequestView) -> Vec<(&'static str, String)> {
    let stages = [
        ("Requested to taken by the provider", view.taken_ms),
        ("Taken to delivered", view.delivered_ms),
        ("Requested to verified", view.verified_ms),
    ];
    let stages = stages.into_iter().filter_map(|(name, ms)| Some((name, short_span(ms?))));
    let segments = view.segments.iter().map(|segments| ("Segments", segments.to_string()));
    stages.chain(segments).collect()
}
