//! `/console/requests/{id}`: where is my text? One request from its beginning to its end, as the store and the ledger have it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::{MessageId, RequestId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Status;
use ledger::{AttemptEntry, AttemptState, Change, Message};
use store::RequestStatus;

use super::{PATH, channel, class, masked, meaning};
use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::PageId;
use crate::console::refused::Refused;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::console::time::{Moment, short_span};
use crate::http::error::ApiError;

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
    as_of: Moment,
}

/// A step of the time line.
struct Step {
    at: Timestamp,
    /// Its place: its time, and never before what led to it. The clocks of two services may differ by a little.
    place: i64,
    shown: Moment,
    /// Since the step before.
    after: Option<String>,
    class: &'static str,
    what: String,
    detail: String,
}

/// The steps of a request, as they are gathered.
struct Line {
    now: Timestamp,
    steps: Vec<Step>,
    /// The place of what leads to the steps that are added next.
    cause: i64,
}

impl Line {
    /// Adds a step; returns its place.
    fn add(
        &mut self,
        at: Timestamp,
        class: &'static str,
        what: impl Into<String>,
        detail: String,
    ) -> i64 {
        let (shown, place, what) = (Moment::of(at, self.now), at.ms().max(self.cause), what.into());
        self.steps.push(Step { at, place, shown, after: None, class, what, detail });
        place
    }

    /// In the order of time; what happened at one moment stays in the order in which it was added.
    fn in_order(mut self) -> Vec<Step> {
        self.steps.sort_by_key(|step| step.place);
        for next in 1..self.steps.len() {
            let ms = self.steps[next].place - self.steps[next - 1].place;
            self.steps[next].after = Some(short_span(ms));
        }
        self.steps
    }
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    PageId(id): PageId<RequestId>,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let mut messages = app.ledger.of_request(id).await?;
    let is_notice = messages.is_empty();
    if is_notice {
        messages.extend(app.ledger.message(MessageId::of_request(id)).await?);
    }
    let is_notice = is_notice && !messages.is_empty();
    let status = if is_notice { None } else { app.statuses.get(id).await? };
    if messages.is_empty() && status.is_none() {
        return Err(ApiError::NotFound.into());
    }
    let steps = line(&app, id, is_notice, &messages, status.as_ref(), now).await?;
    let first = messages.first();
    let user = match first.and_then(|message| message.phone_number.as_ref()) {
        Some(number) => app.accounts.by_phone(number).await?.map(|user| user.id.to_string()),
        None => None,
    };
    let shown = status.map(RequestStatus::shown);
    let word = shown.as_ref().map(|shown| shown.status).or(first.map(|first| first.status));
    let word = word.unwrap_or(Status::Accepted);
    let expires = shown.as_ref().map(|shown| shown.expires_at).or(first.map(|it| it.not_after));
    html(&RequestPage {
        frame: Frame::new(&staff, PATH, if is_notice { "Notice" } else { "Request" }),
        id: id.to_string(),
        is_notice,
        phone: first
            .map_or_else(|| "not known here".to_owned(), |it| masked(it.phone_number.as_ref())),
        country: first.map(|it| it.country.clone()).unwrap_or_default(),
        user,
        status: word.as_str(),
        class: class(word),
        channel: first.map(|it| it.channel).or(shown.map(|it| it.channel)).map_or("", channel),
        requested: Moment::maybe(steps.first().map(|step| step.at), now),
        expires: Moment::maybe(expires.filter(|_| !is_notice), now),
        facts: facts(&messages, &steps),
        steps,
        as_of: Moment::of(now, now),
    })
}

async fn line(
    app: &App,
    id: RequestId,
    is_notice: bool,
    messages: &[Message],
    status: Option<&RequestStatus>,
    now: Timestamp,
) -> Result<Vec<Step>, ApiError> {
    let mut line = Line { now, steps: Vec::new(), cause: i64::MIN };
    if !is_notice {
        let at = Timestamp::from_ms(id.made_at_ms());
        let detail = "Admitted by every limit, and handed to the queue.".to_owned();
        line.cause = line.add(at, "", "Requested", detail);
    }
    let requested = line.cause;
    for message in messages {
        let name = channel(message.channel);
        let what = if is_notice { "Notice taken up" } else { "Code issued, its message taken up" };
        line.cause = requested;
        let taken_up =
            line.add(message.created_at, "", what, format!("By sms-worker, as a {name}."));
        for attempt in app.ledger.attempts(message.id).await? {
            line.cause = taken_up;
            add_attempt(&mut line, &attempt);
        }
        line.cause = taken_up;
        for change in app.ledger.history(message.id).await? {
            add_change(&mut line, &change);
        }
    }
    line.cause = requested;
    if let Some(found) = status {
        add_status(&mut line, found, messages.is_empty());
    }
    Ok(line.in_order())
}

/// A change of a message's state, unless the attempts tell it.
fn add_change(line: &mut Line, change: &Change) {
    match change.status {
        Status::Sending | Status::Sent | Status::Accepted | Status::Issued => {}
        Status::Delivered => {
            let detail = "The provider's receipt says so.".to_owned();
            line.add(change.at, "good", "Delivered", detail);
        }
        status => {
            let why = change.reason.map(meaning::of_reason).unwrap_or_default();
            line.add(change.at, class(status), capital(status.as_str()), sentence(why));
        }
    }
}

/// What the store knows of the request and the ledger does not.
fn add_status(line: &mut Line, found: &RequestStatus, is_unsent: bool) {
    let shown = found.clone().shown();
    let (class, what, detail) = match shown.status {
        Status::Verified => ("good", "Verified", "The code signed in."),
        Status::Expired => ("warn", "Expired", "Nobody signed in with the code in time."),
        Status::Superseded => {
            ("warn", "Superseded", "A newer request for this number was sent first.")
        }
        Status::Issued if is_unsent => ("", "Code issued", "The text waits for sms-worker."),
        _ => return,
    };
    line.add(shown.updated_at, class, what, detail.to_owned());
}

fn add_attempt(line: &mut Line, attempt: &AttemptEntry) {
    let AttemptEntry { provider, number, .. } = attempt;
    let begun = format!("Attempt {number}: handed to {provider}");
    line.cause = line.add(attempt.started_at, "", begun, String::new());
    let Some(ended) = attempt.ended_at else { return };
    let took = short_span(ended.ms() - attempt.started_at.ms());
    let code = attempt.provider_code.as_deref().map(|code| meaning::of_code(provider, code));
    let said = code.map(|code| sentence(&code)).unwrap_or_default();
    let (class, what) = match attempt.state {
        Some(AttemptState::Accepted) => ("", format!("{provider} took it")),
        Some(AttemptState::Throttled) => ("warn", format!("{provider} asked to wait")),
        Some(AttemptState::Unavailable) => ("warn", format!("{provider} could not be reached")),
        Some(AttemptState::Rejected) => ("bad", format!("{provider} refused it")),
        Some(AttemptState::Filtered) => ("bad", format!("{provider} filtered it")),
        Some(AttemptState::Unknown) => ("warn", format!("Nobody knows whether {provider} took it")),
        Some(AttemptState::Begun) | None => ("", format!("{provider} was called")),
    };
    let id = attempt.provider_message_id.as_deref();
    let id = id.map(|id| format!(" Its id is {id}.")).unwrap_or_default();
    let detail = format!("{said} Answered after {took}.{id}");
    line.add(ended, class, what, detail.trim().to_owned());
}

fn sentence(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{}.", capital(text).trim_end_matches('.'))
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How long the stages took.
fn facts(messages: &[Message], steps: &[Step]) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let at = |name: &str| steps.iter().find(|step| step.what.ends_with(name)).map(|step| step.at);
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
        from.zip(to).map(|(from, to)| (to.ms() - from.ms()).max(0))
    };
    let begun = steps.first().map(|step| step.at);
    for (name, ms) in [
        ("Requested to taken by the provider", between(begun, at("took it"))),
        ("Taken to delivered", between(at("took it"), at("Delivered"))),
        ("Requested to verified", between(begun, at("Verified"))),
    ] {
        facts.extend(ms.map(|ms| (name, short_span(ms))));
    }
    for message in messages {
        facts.extend(message.segments.map(|segments| ("Segments", segments.to_string())));
    }
    facts
}
