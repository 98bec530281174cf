//! `/console/queues`: the queues between the services, and the messages that were dead-lettered in them.

pub(crate) mod acts;
pub(crate) mod one;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use bus::Queue;
use domain::timestamp::Timestamp;

use crate::app::App;
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::{Moment, span};
use crate::http::validate::visible;
use crate::staff::queues::{self, Letter, LetterFilter, QueueView, Readable};
use crate::staff::rights::Act;

pub(crate) const PATH: &str = "/console/queues";

#[derive(Template)]
#[template(path = "console/queues/list.html")]
struct QueuesPage<'a> {
    frame: Frame,
    params: &'a Params,
    is_filtered: bool,
    embedded: bool,
    queues: Vec<QueueRow>,
    rows: Vec<LetterRow>,
    next: Option<String>,
    may_act: bool,
    most: usize,
    shown: usize,
    names: [&'static str; Queue::ALL.len()],
    done: Option<String>,
    error: Option<String>,
    as_of: Moment,
}

/// A queue in the list.
struct QueueRow {
    queue: &'static str,
    ready: String,
    unacked: u32,
    oldest: String,
    consumers: String,
    waiting: Vec<(String, u32)>,
    dead: String,
    has_dead: bool,
    trouble: Option<&'static str>,
    reasons: Vec<ReasonRow>,
}

/// A reason for which letters of a queue are dead.
struct ReasonRow {
    reason: String,
    /// Where an act on them is sent.
    act: String,
    address: String,
    letters: u32,
    late: u32,
}

/// A dead letter in the list.
pub(super) struct LetterRow {
    pub queue: &'static str,
    pub address: String,
    pub id: String,
    pub kind: String,
    pub reason: String,
    pub attempts: u32,
    pub dead: Option<Moment>,
    /// The page of its request.
    pub request: Option<String>,
    pub is_late: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let filter = LetterFilter {
        queue: params.parsed("queue"),
        reason: params.get("reason"),
        kind: params.get("type"),
    };
    let view = queues::read(&app, filter).await?;
    let now = view.as_of;
    // The broker has no pages: what is shown is cut out of the letters that were read.
    let from: usize = params.parsed("before").unwrap_or(0);
    let rows = params.rows() as usize;
    let next = from.saturating_add(rows);
    let next = (view.letters.len() > next).then(|| params.link(PATH, "before", &next.to_string()));
    let letters = view.letters.iter().skip(from).take(rows);
    html(&QueuesPage {
        frame: Frame::new(&staff, PATH, "Queues"),
        embedded: view.embedded,
        queues: view.queues.into_iter().map(QueueRow::of).collect(),
        rows: letters.map(|letter| LetterRow::of(letter, now)).collect(),
        next,
        is_filtered: ["queue", "reason", "type"].iter().any(|name| params.get(name).is_some()),
        may_act: staff.can(Act::ReplayDead),
        most: queues::MOST_AT_ONCE,
        shown: queues::MOST_SHOWN,
        names: Queue::ALL.map(Queue::as_str),
        done: params.get("done").and_then(done_words).map(str::to_owned),
        error: params.get("done").and_then(error_words).map(str::to_owned),
        as_of: Moment::of(now, now),
        params: &params,
    })
}

/// What the last act did, after it led back here.
pub(super) fn done_words(done: &str) -> Option<&'static str> {
    Some(match done {
        "replayed" => "The letter is back in its queue, with its attempts reset.",
        "dropped" => "The letter is deleted.",
        "nothing" => {
            "There is no such letter any more, or somebody else reads the queue at this moment: then try again."
        }
        _ => return None,
    })
}

/// Why the last act did not do it.
pub(super) fn error_words(done: &str) -> Option<&'static str> {
    Some(match done {
        "away" => AWAY,
        "refused" => REFUSED,
        _ => return None,
    })
}

const AWAY: &str = "RabbitMQ cannot be reached, or did not answer in time. Nothing is lost: what was not done is still there.";
const REFUSED: &str = "RabbitMQ gives this gateway no right to its dead letters: its definitions are of a former release. Import definitions.json again, and restart the workers.";

/// Why letters cannot be read or acted on.
pub(super) const fn trouble(readable: Readable) -> Option<&'static str> {
    match readable {
        Readable::Yes => None,
        Readable::Away => Some(AWAY),
        Readable::Refused => Some(REFUSED),
    }
}

impl QueueRow {
    fn of(view: QueueView) -> Self {
        let figure = |figure: Option<u32>| figure.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let QueueView { queue, .. } = view;
        let reason = |count: queues::ReasonCount| ReasonRow {
            address: link(&[("queue", queue), ("reason", &count.reason)]),
            act: link(&[("for", &count.reason)]),
            reason: visible(&count.reason),
            letters: count.letters,
            late: count.late,
        };
        Self {
            queue,
            ready: figure(view.ready),
            unacked: view.unacked,
            oldest: match (view.oldest_ms, view.consumers) {
                (Some(ms), _) => span(ms),
                (None, Some(0) | None) => "no worker runs".to_owned(),
                (None, Some(_)) => "not told yet".to_owned(),
            },
            consumers: figure(view.consumers),
            waiting: view.waiting.iter().map(|it| (span(it.delay_ms), it.messages)).collect(),
            dead: figure(view.dead),
            has_dead: view.dead.is_none_or(|dead| dead > 0) || !view.reasons.is_empty(),
            trouble: trouble(view.letters),
            reasons: view.reasons.into_iter().map(reason).collect(),
        }
    }
}

impl LetterRow {
    pub fn of(letter: &Letter, now: Timestamp) -> Self {
        Self {
            queue: letter.queue,
            address: address(letter.queue, &letter.id),
            id: visible(&letter.id),
            kind: visible(&letter.kind),
            reason: visible(&letter.reason),
            attempts: letter.attempts,
            dead: Moment::maybe(letter.dead_at, now),
            request: letter.request_id.map(|id| format!("/console/requests/{id}")),
            is_late: letter.is_late,
        }
    }
}

/// The list with this query.
fn link(query: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{PATH}?{query}")
}

/// The page of a letter. Its id is whatever its publisher wrote.
pub(super) fn address(queue: &str, id: &str) -> String {
    // A plus is a space only in a query.
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("{PATH}/{queue}/{}", id.replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letters_address_holds_any_id() {
        assert_eq!(address("otp-worker", "e1"), "/console/queues/otp-worker/e1");
        let odd = address("otp-worker", "a/b?c#d e+\"<");
        assert_eq!(odd, "/console/queues/otp-worker/a%2Fb%3Fc%23d%20e%2B%22%3C");
    }
}
