//! `/console`: is everything as usual? Each figure leads to the list that explains it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::timestamp::Timestamp;

use crate::app::App;
use crate::console::chart;
use crate::console::page::{Frame, html};
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::{Moment, at_most, short_span};
use crate::staff::figures::ReasonFigure;
use crate::staff::pulse::{self, Band, PulseView, Tile, TileId, TileSpan, Unit};
use crate::staff::requests::meaning;
use crate::staff::rights::Act;

#[derive(Template)]
#[template(path = "console/pulse/page.html")]
struct PulsePage {
    frame: Frame,
    tiles: Vec<Shown>,
    reasons: Vec<Reason>,
    hour_is_live: bool,
    whole_until: Moment,
    counted: Option<Moment>,
    hours_missing: i64,
    as_of: Moment,
}

/// A tile in words.
struct Shown {
    name: &'static str,
    /// What it counts, where the name does not say it.
    about: &'static str,
    address: &'static str,
    now: Option<String>,
    is_alarm: bool,
    spans: Vec<Span>,
    chart: Option<String>,
}

struct Span {
    name: &'static str,
    value: String,
    before: String,
    /// What is unusual, and the list that explains it.
    unusual: Option<(&'static str, String)>,
}

struct Reason {
    words: &'static str,
    detail: String,
    address: String,
    messages: i64,
}

pub(crate) async fn show(State(app): State<App>, staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let view = Box::pin(pulse::read(&app, now)).await?;
    html(&page(&staff, &view, now))
}

fn page(staff: &Staff, view: &PulseView, now: Timestamp) -> PulsePage {
    PulsePage {
        frame: Frame::new(staff, "/console", "Pulse"),
        tiles: view.tiles.iter().map(shown).collect(),
        reasons: view.reasons.iter().map(reason).collect(),
        hour_is_live: view.hour_is_live,
        whole_until: Moment::of(view.whole_hours.until, now),
        counted: Moment::maybe(view.whole_hours.counted_at, now),
        hours_missing: view.whole_hours.hours_missing,
        as_of: Moment::of(view.as_of, now),
    }
}

/// Name, what it counts, the list behind it.
const fn words(id: TileId) -> (&'static str, &'static str, &'static str) {
    match id {
        TileId::SignIns => {
            ("Sign-ins", "sessions that began, by code or password", "/console/audit?act=signed_in")
        }
        TileId::Requests => {
            ("Requests", "texts and calls that were asked for", "/console/requests")
        }
        TileId::Conversion => (
            "Codes used",
            "of 100 requested ones, as the pumping guard counts",
            "/console/delivery",
        ),
        TileId::SentP50 => {
            ("Requested to sent, half", "half of the texts took at most", "/console/delivery")
        }
        TileId::SentP95 => {
            ("Requested to sent, 95 %", "95 of 100 texts took at most", "/console/delivery")
        }
        TileId::Delivered => {
            ("Delivered", "of 100 that a provider took", "/console/requests?status=undelivered")
        }
        TileId::DeliveredP50 => {
            ("Sent to delivered, half", "half of the texts took at most", "/console/delivery")
        }
        TileId::DeliveredP95 => {
            ("Sent to delivered, 95 %", "95 of 100 texts took at most", "/console/delivery")
        }
        TileId::Segments => ("Segments", "what providers bill", "/console/delivery"),
        TileId::RefusedByGuard => (
            "Refused by the guard",
            "other limits are counted by metrics alone",
            "/console/delivery",
        ),
        TileId::Blocks => ("Blocks in force", "set by staff", "/console/blocks"),
        TileId::Processes => ("Processes", "that run", "/console/engines"),
        TileId::Gone => ("Gone", "processes that were not stopped properly", "/console/engines"),
        TileId::OldestWaiting => ("Oldest message", "that a worker has in hand", "/console/queues"),
        TileId::DeadLetters => ("Dead letters", "to be replayed or deleted", "/console/queues"),
        TileId::OpenCircuits => {
            ("Open circuits", "providers that a worker does not call", "/console/providers")
        }
    }
}

fn shown(tile: &Tile) -> Shown {
    let (name, about, address) = words(tile.id);
    let label = format!("{name}, each of the last 24 whole hours");
    Shown {
        name,
        about,
        address,
        now: tile.spans.is_empty().then(|| in_words(tile.unit, tile.now)),
        is_alarm: tile.is_alarm,
        spans: tile.spans.iter().map(|it| span(tile, it, address)).collect(),
        chart: tile.hourly.iter().any(Option::is_some).then(|| chart::line(&label, &tile.hourly)),
    }
}

fn span(tile: &Tile, span: &TileSpan, address: &str) -> Span {
    let name = match span.hours {
        1 => "1 h",
        24 => "24 h",
        _ => "7 d",
    };
    let unusual = match span.band {
        Band::High => Some("high"),
        Band::Low => Some("low"),
        Band::Usual | Band::Unknown => None,
    };
    let mark = if address.contains('?') { '&' } else { '?' };
    // The audit has days, and its newest entries come first.
    let since = if address.starts_with("/console/audit") {
        String::new()
    } else {
        format!("{mark}since={}", span.hours)
    };
    Span {
        name,
        value: in_words(tile.unit, span.value),
        before: in_words(tile.unit, span.before),
        unusual: unusual.map(|unusual| (unusual, format!("{address}{since}"))),
    }
}

fn in_words(unit: Unit, value: Option<i64>) -> String {
    match (unit, value) {
        (_, None) => "–".to_owned(),
        (Unit::Count, Some(count)) => count.to_string(),
        (Unit::PerCent, Some(share)) => format!("{share} %"),
        (Unit::Ms, Some(ms)) => short_span(ms),
        (Unit::AtMostMs, Some(ms)) => at_most(ms),
    }
}

fn reason(figure: &ReasonFigure) -> Reason {
    Reason {
        words: meaning::of_reason(figure.reason),
        detail: detail(figure),
        address: format!("/console/requests?reason={}", figure.reason.as_str()),
        messages: figure.messages,
    }
}

/// The provider and its code in words.
pub(crate) fn detail(figure: &ReasonFigure) -> String {
    match (&*figure.provider, &*figure.code) {
        ("", _) => "handed to no provider".to_owned(),
        (provider, "") => provider.to_owned(),
        (provider, code) => format!("{provider}: {}", meaning::of_code(provider, code)),
    }
}
