//! One request from its beginning to its end, as the store and the ledger have it.

use domain::ids::{MessageId, RequestId, UserId};
use domain::phone::E164;
use domain::string_enum;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Status};
use ledger::{AttemptEntry, AttemptState, Change, Message};
use serde::Serialize;
use store::RequestStatus;
use utoipa::ToSchema;

use super::meaning;
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// A request, or a notice, which nobody requested.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestView, examples(json!({
    "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "is_notice": false,
    "phone_number": "+1415***71",
    "country": "US",
    "user_id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
    "status": "delivered",
    "channel": "sms",
    "began_at": "2026-11-30T10:15:00.000Z",
    "expires_at": "2026-11-30T10:20:00.000Z",
    "steps": [{
        "at": "2026-11-30T10:15:00.000Z",
        "after_ms": null,
        "kind": "requested",
        "tone": "neutral",
        "title": "Requested",
        "detail": "Admitted by every limit, and handed to the queue.",
    }],
    "taken_ms": 412,
    "delivered_ms": 2210,
    "verified_ms": null,
    "segments": [1],
    "as_of": "2026-11-30T10:24:10.000Z",
})))]
pub(crate) struct RequestView {
    #[schema(value_type = uuid::Uuid)]
    pub id: RequestId,
    /// Whether it tells an account's owner of a change, and holds no code.
    pub is_notice: bool,
    /// Masked; null: no message of it is known yet, or the account was deleted.
    #[schema(required = true)]
    pub phone_number: Option<String>,
    /// ISO 3166; null: no message of it is known yet.
    #[schema(required = true)]
    pub country: Option<String>,
    /// The account that has the number now, if one has.
    #[schema(value_type = Option<uuid::Uuid>, required = true)]
    pub user_id: Option<UserId>,
    #[schema(value_type = words::Status)]
    pub status: Status,
    #[schema(value_type = Option<words::Channel>, required = true)]
    pub channel: Option<Channel>,
    #[schema(value_type = Option<words::Time>, required = true)]
    pub began_at: Option<Timestamp>,
    /// When its code's life ends; null for a notice.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub expires_at: Option<Timestamp>,
    /// The time line, in order.
    pub steps: Vec<Step>,
    /// From the beginning until a provider took it, in milliseconds; null: none did yet.
    #[schema(required = true)]
    pub taken_ms: Option<i64>,
    /// From then until its delivery, in milliseconds; null: no receipt says so.
    #[schema(required = true)]
    pub delivered_ms: Option<i64>,
    /// From the beginning until its code signed in, in milliseconds; null: it did not yet.
    #[schema(required = true)]
    pub verified_ms: Option<i64>,
    /// How many segments each of its texts took, as far as providers said so.
    pub segments: Vec<u32>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
}

string_enum! {
    /// What a step of a time line is.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum StepKind {
        Requested = "requested",
        Issued = "issued",
        TakenUp = "taken_up",
        AttemptBegun = "attempt_begun",
        AttemptAccepted = "attempt_accepted",
        AttemptThrottled = "attempt_throttled",
        AttemptUnavailable = "attempt_unavailable",
        AttemptRejected = "attempt_rejected",
        AttemptFiltered = "attempt_filtered",
        AttemptUnknown = "attempt_unknown",
        AttemptEnded = "attempt_ended",
        Delivered = "delivered",
        Undelivered = "undelivered",
        Failed = "failed",
        Verified = "verified",
        Expired = "expired",
        Superseded = "superseded",
    }
}

string_enum! {
    /// Whether a step is good news.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Tone { Neutral = "neutral", Good = "good", Warning = "warning", Bad = "bad" }
}

/// A step of a time line.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(crate) struct Step {
    #[schema(value_type = words::Time)]
    pub at: Timestamp,
    /// Its place: its time, and never before what led to it. The clocks of two services may differ by a little.
    #[serde(skip)]
    place: i64,
    /// Since the step before, in milliseconds; null for the first.
    #[schema(required = true)]
    pub after_ms: Option<i64>,
    #[schema(value_type = words::StepKind)]
    pub kind: StepKind,
    #[schema(value_type = words::Tone)]
    pub tone: Tone,
    /// What happened, in words.
    pub title: String,
    /// What belongs to it, in words: a provider's code with its meaning, an id. May be empty.
    pub detail: String,
}

/// The steps of a request, as they are gathered.
struct Line {
    steps: Vec<Step>,
    /// The place of what leads to the steps that are added next.
    cause: i64,
}

impl Line {
    /// Adds a step; returns its place.
    fn add(
        &mut self,
        at: Timestamp,
        (kind, tone): (StepKind, Tone),
        title: impl Into<String>,
        detail: String,
    ) -> i64 {
        let place = at.ms().max(self.cause);
        self.steps.push(Step {
            at,
            place,
            after_ms: None,
            kind,
            tone,
            title: title.into(),
            detail,
        });
        place
    }

    /// In the order of time; what happened at one moment stays in the order in which it was added.
    fn in_order(mut self) -> Vec<Step> {
        self.steps.sort_by_key(|step| step.place);
        for next in 1..self.steps.len() {
            self.steps[next].after_ms = Some(self.steps[next].place - self.steps[next - 1].place);
        }
        self.steps
    }
}

/// Reads a request, or a notice.
///
/// # Errors
/// 404 if neither the store nor the ledger knows it (any more).
pub(crate) async fn read(app: &App, id: RequestId) -> Result<RequestView, ApiError> {
    let now = app.engines.clock.now();
    let mut messages = app.ledger.of_request(id).await?;
    let is_notice = messages.is_empty();
    if is_notice {
        messages.extend(app.ledger.message(MessageId::of_request(id)).await?);
    }
    let is_notice = is_notice && !messages.is_empty();
    let status = if is_notice { None } else { app.statuses.get(id).await? };
    if messages.is_empty() && status.is_none() {
        return Err(ApiError::NotFound);
    }
    let steps = line(app, id, is_notice, &messages, status.as_ref()).await?;
    let first = messages.first();
    let user_id = match first.and_then(|message| message.phone_number.as_ref()) {
        Some(number) => app.accounts.by_phone(number).await?.map(|user| user.id),
        None => None,
    };
    let shown = status.map(RequestStatus::shown);
    let word = shown.as_ref().map(|shown| shown.status).or(first.map(|first| first.status));
    let expires = shown.as_ref().map(|shown| shown.expires_at).or(first.map(|it| it.not_after));
    let (began, taken) = (steps.first().map(|step| step.at), at(&steps, StepKind::AttemptAccepted));
    Ok(RequestView {
        id,
        is_notice,
        phone_number: first.and_then(|it| it.phone_number.as_ref()).map(E164::to_string),
        country: first.map(|it| it.country.clone()),
        user_id,
        status: word.unwrap_or(Status::Accepted),
        channel: first.map(|it| it.channel).or(shown.map(|it| it.channel)),
        began_at: began,
        expires_at: expires.filter(|_| !is_notice),
        taken_ms: between(began, taken),
        delivered_ms: between(taken, at(&steps, StepKind::Delivered)),
        verified_ms: between(began, at(&steps, StepKind::Verified)),
        segments: messages.iter().filter_map(|message| message.segments).collect(),
        steps,
        as_of: now,
    })
}

fn at(steps: &[Step], kind: StepKind) -> Option<Timestamp> {
    steps.iter().find(|step| step.kind == kind).map(|step| step.at)
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    from.zip(to).map(|(from, to)| (to.ms() - from.ms()).max(0))
}

async fn line(
    app: &App,
    id: RequestId,
    is_notice: bool,
    messages: &[Message],
    status: Option<&RequestStatus>,
) -> Result<Vec<Step>, ApiError> {
    let mut line = Line { steps: Vec::new(), cause: i64::MIN };
    if !is_notice {
        let at = Timestamp::from_ms(id.made_at_ms());
        let detail = "Admitted by every limit, and handed to the queue.".to_owned();
        line.cause = line.add(at, (StepKind::Requested, Tone::Neutral), "Requested", detail);
    }
    let requested = line.cause;
    for message in messages {
        let name = by(message.channel);
        let what = if is_notice { "Notice taken up" } else { "Code issued, its message taken up" };
        line.cause = requested;
        let detail = format!("By sms-worker, as a {name}.");
        let taken_up =
            line.add(message.created_at, (StepKind::TakenUp, Tone::Neutral), what, detail);
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

/// How it goes out, in a word.
pub(crate) const fn by(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "text",
        Channel::Voice => "call",
    }
}

/// A change of a message's state, unless the attempts tell it.
fn add_change(line: &mut Line, change: &Change) {
    let why = || sentence(change.reason.map(meaning::of_reason).unwrap_or_default());
    let (kind, tone, detail) = match change.status {
        Status::Sending | Status::Sent | Status::Accepted | Status::Issued => return,
        Status::Delivered => {
            (StepKind::Delivered, Tone::Good, "The provider's receipt says so.".to_owned())
        }
        Status::Undelivered => (StepKind::Undelivered, Tone::Bad, why()),
        Status::Failed => (StepKind::Failed, Tone::Bad, why()),
        Status::Verified => (StepKind::Verified, Tone::Good, why()),
        Status::Expired => (StepKind::Expired, Tone::Warning, why()),
        Status::Superseded => (StepKind::Superseded, Tone::Warning, why()),
    };
    line.add(change.at, (kind, tone), capital(change.status.as_str()), detail);
}

/// What the store knows of the request and the ledger does not.
fn add_status(line: &mut Line, found: &RequestStatus, is_unsent: bool) {
    let shown = found.clone().shown();
    let (kind, tone, title, detail) = match shown.status {
        Status::Verified => (StepKind::Verified, Tone::Good, "Verified", "The code signed in."),
        Status::Expired => {
            (StepKind::Expired, Tone::Warning, "Expired", "Nobody signed in with the code in time.")
        }
        Status::Superseded => (
            StepKind::Superseded,
            Tone::Warning,
            "Superseded",
            "A newer request for this number was sent first.",
        ),
        Status::Issued if is_unsent => {
            (StepKind::Issued, Tone::Neutral, "Code issued", "The text waits for sms-worker.")
        }
        _ => return,
    };
    line.add(shown.updated_at, (kind, tone), title, detail.to_owned());
}

fn add_attempt(line: &mut Line, attempt: &AttemptEntry) {
    use StepKind::{
        AttemptAccepted, AttemptBegun, AttemptEnded, AttemptFiltered, AttemptRejected,
        AttemptThrottled, AttemptUnavailable, AttemptUnknown,
    };
    use Tone::{Bad, Neutral, Warning};

    let AttemptEntry { provider, number, .. } = attempt;
    let begun = format!("Attempt {number}: handed to {provider}");
    line.cause = line.add(attempt.started_at, (AttemptBegun, Neutral), begun, String::new());
    let Some(ended) = attempt.ended_at else { return };
    let took = ended.ms() - attempt.started_at.ms();
    let code = attempt.provider_code.as_deref().map(|code| meaning::of_code(provider, code));
    let said = code.map(|code| sentence(&code)).unwrap_or_default();
    let (kind, title) = match attempt.state {
        Some(AttemptState::Accepted) => ((AttemptAccepted, Neutral), "took it"),
        Some(AttemptState::Throttled) => ((AttemptThrottled, Warning), "asked to wait"),
        Some(AttemptState::Unavailable) => ((AttemptUnavailable, Warning), "could not be reached"),
        Some(AttemptState::Rejected) => ((AttemptRejected, Bad), "refused it"),
        Some(AttemptState::Filtered) => ((AttemptFiltered, Bad), "filtered it"),
        Some(AttemptState::Unknown) => ((AttemptUnknown, Warning), ""),
        Some(AttemptState::Begun) | None => ((AttemptEnded, Neutral), "was called"),
    };
    let id = attempt.provider_message_id.as_deref();
    let id = id.map(|id| format!(" Its id is {id}.")).unwrap_or_default();
    let detail = format!("{said} Answered after {}.{id}", span(took));
    let title = match kind.0 {
        AttemptUnknown => format!("Nobody knows whether {provider} took it"),
        _ => format!("{provider} {title}"),
    };
    line.add(ended, kind, title, detail.trim().to_owned());
}

/// A short length of time: an answer of a provider comes within seconds.
fn span(ms: i64) -> String {
    match ms {
        ..=9_999 => format!("{ms} ms"),
        _ => format!("{} s", ms / 1000),
    }
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
