//! The pulse: is everything as usual? Each figure for an hour, a day and a week, against the same span a week before.

use accounts::{Blocks, Conversions};
use bus::Queue;
use domain::timestamp::Timestamp;
use ledger::hours::{Figures, HoursFilter, hour_of};
use serde::Serialize;
use utoipa::ToSchema;

use super::figures::{Covered, ReasonFigure, covered, delivered_per_cent, per_cent, reasons};
use super::processes::{self, Process};
use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

const HOUR_SECS: i64 = 3600;
const DAY: i64 = 24;
const WEEK: i64 = 168;
/// With more messages in the last whole hour, the hour is read as it was counted.
const MOST_LIVE: i64 = 2_000;
/// Of fewer, chance alone makes twice or half as many.
const FEW: i64 = 20;
/// A share that is so many points off is out of its band.
const POINTS: i64 = 10;
const REASONS: u32 = 5;

/// The pulse at one moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Pulse, examples(json!({
    "as_of": "2026-11-30T10:24:10.000Z",
    "hour_is_live": true,
    "whole_hours": {
        "from": "2026-11-23T10:00:00.000Z",
        "until": "2026-11-30T10:00:00.000Z",
        "counted_at": "2026-11-30T10:23:40.000Z",
        "hours_missing": 0,
    },
    "tiles": [
        {
            "id": "requests",
            "unit": "count",
            "now": null,
            "is_alarm": false,
            "spans": [
                { "hours": 1, "value": 212, "before": 198, "band": "usual" },
                { "hours": 24, "value": 5120, "before": 2410, "band": "high" },
                { "hours": 168, "value": 36240, "before": 35110, "band": "usual" },
            ],
            "hourly": [204, 198, 221, 0, 0, 0, 12, 40, 180, 210, 204, 198, 221, 240, 198, 160, 120, 90, 60, 40, 22, 12, 150, 204],
        },
        { "id": "dead_letters", "unit": "count", "now": 2, "is_alarm": true, "spans": [], "hourly": [] },
    ],
    "reasons": [{ "reason": "number_unreachable", "provider": "twilio", "code": "30003", "messages": 14 }],
})))]
pub(crate) struct PulseView {
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
    /// Whether the hour is the last 60 minutes, counted now. Otherwise it is the last whole hour: there are too many
    /// messages to count them each time.
    pub hour_is_live: bool,
    /// The day and the week: whole hours, until the last one.
    pub whole_hours: Covered,
    pub tiles: Vec<Tile>,
    /// Why messages of the day and of the hour that runs did not arrive, the most frequent first.
    pub reasons: Vec<ReasonFigure>,
}

/// A figure.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Tile {
    pub id: TileId,
    pub unit: Unit,
    /// As it is now, for what has no span; `null`: nobody says it.
    #[schema(required = true)]
    pub now: Option<i64>,
    /// Whether somebody should look: something is dead, shut off or gone.
    pub is_alarm: bool,
    /// For an hour, a day and a week; none for what has no span.
    pub spans: Vec<TileSpan>,
    /// Each of the last 24 whole hours, oldest first; `null`: nothing is known. Empty for what has no span.
    pub hourly: Vec<Option<i64>>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TileId {
    /// Sessions that began, by code or password, and are not deleted with their account.
    SignIns,
    /// Texts and calls that a code request brought.
    Requests,
    /// Codes that were used, of 100 that were requested, as the pumping guard counts them: without test numbers, nothing
    /// while it is off.
    Conversion,
    /// Half of the texts were handed to a provider within this time after their request.
    SentP50,
    /// 95 of 100 were.
    SentP95,
    /// Of 100 messages that a provider took, so many are delivered.
    Delivered,
    /// Half of the delivered texts arrived within this time after they were sent.
    DeliveredP50,
    /// 95 of 100 did.
    DeliveredP95,
    /// Segments that were sent: what a provider bills.
    Segments,
    /// Code requests that the pumping guard refused. Other limits are counted by metrics alone.
    RefusedByGuard,
    /// Run-time blocks that are in force.
    Blocks,
    /// Processes that run.
    Processes,
    /// Processes that were not heard of for 15 s, and were not stopped properly.
    Gone,
    /// The age of the oldest message that a worker has in hand or put off, in milliseconds.
    OldestWaiting,
    /// Messages that a worker gave up.
    DeadLetters,
    /// Providers that an sms-worker does not call, or only probes.
    OpenCircuits,
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TileUnit)]
pub(crate) enum Unit {
    Count,
    PerCent,
    /// Milliseconds.
    Ms,
    /// Milliseconds, at most.
    AtMostMs,
}

/// A figure over a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TileSpan {
    pub hours: i64,
    /// `null`: nothing is known; a time may also be over 30 minutes.
    #[schema(required = true)]
    pub value: Option<i64>,
    /// The same span a week before.
    #[schema(required = true)]
    pub before: Option<i64>,
    pub band: Band,
}

/// How a figure compares with the week before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TileBand)]
pub(crate) enum Band {
    /// There is too little to compare.
    Unknown,
    Usual,
    /// More than twice as much, or more than 10 points above.
    High,
    /// Less than half as much, or more than 10 points below.
    Low,
}

/// What was counted in a span.
#[derive(Clone, Debug, Default)]
struct Window {
    figures: Figures,
    conversions: Conversions,
    sign_ins: i64,
}

impl TileId {
    const OF_SPANS: [Self; 10] = [
        Self::SignIns,
        Self::Requests,
        Self::Conversion,
        Self::SentP50,
        Self::SentP95,
        Self::Delivered,
        Self::DeliveredP50,
        Self::DeliveredP95,
        Self::Segments,
        Self::RefusedByGuard,
    ];

    const fn unit(self) -> Unit {
        match self {
            Self::Conversion | Self::Delivered => Unit::PerCent,
            Self::SentP50 | Self::SentP95 | Self::DeliveredP50 | Self::DeliveredP95 => {
                Unit::AtMostMs
            }
            Self::OldestWaiting => Unit::Ms,
            _ => Unit::Count,
        }
    }
}

impl Window {
    fn sum(windows: &[Self]) -> Self {
        let mut sum = Self::default();
        for Self { figures, conversions, sign_ins } in windows {
            sum.figures.add(figures);
            sum.conversions.sends += conversions.sends;
            sum.conversions.verified += conversions.verified;
            sum.conversions.refused += conversions.refused;
            sum.sign_ins += sign_ins;
        }
        sum
    }

    fn value(&self, id: TileId) -> Option<i64> {
        let Self { figures, conversions, sign_ins } = self;
        match id {
            TileId::SignIns => Some(*sign_ins),
            TileId::Requests => Some(figures.requests),
            TileId::Conversion => per_cent(conversions.verified, conversions.sends),
            TileId::SentP50 => figures.to_sent.at_most_ms(50),
            TileId::SentP95 => figures.to_sent.at_most_ms(95),
            TileId::Delivered => delivered_per_cent(figures),
            TileId::DeliveredP50 => figures.to_delivered.at_most_ms(50),
            TileId::DeliveredP95 => figures.to_delivered.at_most_ms(95),
            TileId::Segments => Some(figures.segments),
            TileId::RefusedByGuard => Some(conversions.refused),
            TileId::Blocks
            | TileId::Processes
            | TileId::Gone
            | TileId::OldestWaiting
            | TileId::DeadLetters
            | TileId::OpenCircuits => None,
        }
    }

    /// Of how many it is told.
    fn basis(&self, id: TileId) -> i64 {
        match id {
            TileId::Conversion => self.conversions.sends,
            TileId::Delivered => self.figures.taken(),
            TileId::SentP50 | TileId::SentP95 => self.figures.to_sent.known,
            TileId::DeliveredP50 | TileId::DeliveredP95 => self.figures.to_delivered.known,
            _ => self.value(id).unwrap_or_default(),
        }
    }

    fn band(&self, before: &Self, id: TileId) -> Band {
        let (basis, was) = (self.basis(id), before.basis(id));
        // Refusals may come where there were none.
        let is_comparable = match id {
            TileId::RefusedByGuard => basis >= FEW || was >= FEW,
            // What has stopped altogether is the worst of all.
            TileId::SignIns | TileId::Requests | TileId::Segments => was >= FEW,
            _ => basis >= FEW && was >= FEW,
        };
        if !is_comparable {
            return Band::Unknown;
        }
        // A time beyond the last bound is not known: then it is longer than any.
        let known = |it: &Self| it.value(id).unwrap_or(i64::MAX / 4);
        let (value, before) = (known(self), known(before));
        let (high, low) = match id.unit() {
            Unit::PerCent => (value > before + POINTS, value < before - POINTS),
            Unit::Count | Unit::Ms | Unit::AtMostMs => (value > before * 2, value * 2 < before),
        };
        if high {
            Band::High
        } else if low {
            Band::Low
        } else {
            Band::Usual
        }
    }
}

/// The pulse now.
pub(crate) async fn read(app: &App, now: Timestamp) -> Result<PulseView, ApiError> {
    let this = hour_of(now);
    // Boxed, as each holds several statements: together they are too much for a stack.
    let hours = |from: i64, to: i64| Box::pin(window(app, from, to));
    let (day_before, week, week_before, hourly) = tokio::try_join!(
        hours(this - DAY - WEEK, this - WEEK),
        hours(this - WEEK, this),
        hours(this - 2 * WEEK, this - WEEK),
        Box::pin(hourly(app, this - DAY, this)),
    )?;
    let day = Window::sum(&hourly);
    let hour_is_live = hourly.last().is_none_or(|it| it.figures.messages <= MOST_LIVE);
    let (hour, hour_before) = if hour_is_live {
        let earlier = now.plus_secs(-WEEK * HOUR_SECS);
        tokio::try_join!(Box::pin(live(app, now)), Box::pin(live(app, earlier)))?
    } else {
        tokio::try_join!(hours(this - 1, this), hours(this - 1 - WEEK, this - WEEK))?
    };
    let spans = [(1, &hour, &hour_before), (DAY, &day, &day_before), (WEEK, &week, &week_before)];
    let tile = |id: TileId| Tile {
        id,
        unit: id.unit(),
        now: None,
        is_alarm: false,
        spans: spans
            .map(|(hours, now, before)| TileSpan {
                hours,
                value: now.value(id),
                before: before.value(id),
                band: now.band(before, id),
            })
            .into(),
        hourly: hourly.iter().map(|it| it.value(id)).collect(),
    };
    let mut tiles: Vec<_> = TileId::OF_SPANS.into_iter().map(tile).collect();
    tiles.push(blocks(app, now).await?);
    tiles.extend(running(&processes::read(app).await?));
    Ok(PulseView {
        as_of: now,
        hour_is_live,
        whole_hours: covered(app, this - WEEK, this, now).await?,
        reasons: reasons(app, HoursFilter::all(this - DAY, this + 1), REASONS).await?,
        tiles,
    })
}

async fn blocks(app: &App, now: Timestamp) -> Result<Tile, ApiError> {
    let blocks = Blocks::new(&app.engines.sql).active(now).await?.len();
    Ok(Tile::of_now(TileId::Blocks, i64::try_from(blocks).ok(), false))
}

/// What the processes say of themselves.
fn running(processes: &[Process]) -> [Tile; 5] {
    let here = processes::here(processes).count();
    let workers = Queue::ALL.map(|queue| processes::workers_of(processes, queue));
    // Each worker of a queue knows the whole queue's dead letters.
    let dead = workers.iter().filter_map(|of_queue| {
        of_queue.iter().filter_map(|worker| worker.dead).max().map(i64::from)
    });
    let dead = dead.reduce(|all, of_queue| all + of_queue);
    let circuits = processes::here(processes).flat_map(|it| it.report.providers.values());
    let open = circuits.filter(|it| it.circuit != "closed").count();
    let oldest = workers.iter().flatten().map(|worker| worker.oldest_ms).max();
    let count = |number: usize| i64::try_from(number).ok();
    let alarms = |id, now: Option<i64>| Tile::of_now(id, now, now.is_some_and(|now| now > 0));
    [
        Tile::of_now(TileId::Processes, count(here), here == 0),
        alarms(TileId::Gone, count(processes.len() - here)),
        Tile::of_now(TileId::OldestWaiting, oldest, false),
        alarms(TileId::DeadLetters, dead),
        alarms(TileId::OpenCircuits, count(open)),
    ]
}

impl Tile {
    /// Of what has no span.
    const fn of_now(id: TileId, now: Option<i64>, is_alarm: bool) -> Self {
        Self { id, unit: id.unit(), now, is_alarm, spans: Vec::new(), hourly: Vec::new() }
    }
}

/// The counted hours from `from` to before `to`.
async fn window(app: &App, from: i64, to: i64) -> Result<Window, ApiError> {
    let (figures, conversions, sign_ins) = tokio::try_join!(
        Box::pin(app.hours.total(HoursFilter::all(from, to))),
        Box::pin(app.guard_hours.total(from, to, None)),
        Box::pin(app.guard_hours.sign_ins(from, to)),
    )?;
    let sign_ins = sign_ins.into_iter().map(|(_, sign_ins)| sign_ins).sum();
    Ok(Window { figures, conversions, sign_ins })
}

/// The 60 minutes before this time, counted now.
async fn live(app: &App, until: Timestamp) -> Result<Window, ApiError> {
    let from = until.plus_secs(-HOUR_SECS);
    let (figures, conversions, sign_ins) = tokio::try_join!(
        Box::pin(app.hours.live(from, until)),
        Box::pin(app.guard_hours.live(from, until)),
        Box::pin(app.guard_hours.live_sign_ins(from, until)),
    )?;
    Ok(Window { figures, conversions, sign_ins })
}

/// Each counted hour from `from` to before `to`.
async fn hourly(app: &App, from: i64, to: i64) -> Result<Vec<Window>, ApiError> {
    let (figures, conversions, sign_ins) = tokio::try_join!(
        Box::pin(app.hours.by_hour(HoursFilter::all(from, to))),
        Box::pin(app.guard_hours.by_hour(from, to)),
        Box::pin(app.guard_hours.sign_ins(from, to)),
    )?;
    let mut windows = vec![Window::default(); usize::try_from(to - from).unwrap_or_default()];
    let place = |hour: i64| usize::try_from(hour - from).unwrap_or(usize::MAX);
    for (hour, figures) in figures {
        if let Some(window) = windows.get_mut(place(hour)) {
            window.figures = figures;
        }
    }
    for it in conversions {
        if let Some(window) = windows.get_mut(place(it.hour)) {
            window.conversions = it.conversions;
        }
    }
    for (hour, sign_ins) in sign_ins {
        if let Some(window) = windows.get_mut(place(hour)) {
            window.sign_ins = sign_ins;
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(sends: i64, verified: i64) -> Window {
        let conversions = Conversions { sends, verified, refused: 0 };
        Window { conversions, ..Window::default() }
    }

    fn requests(requests: i64) -> Window {
        Window { figures: Figures { requests, ..Figures::default() }, ..Window::default() }
    }

    /// So many texts, half of which were sent within the bound of this place.
    fn sent(known: i64, place: usize) -> Window {
        let mut window = Window::default();
        window.figures.to_sent.known = known;
        window.figures.to_sent.within.iter_mut().skip(place).for_each(|it| *it = known);
        window
    }

    #[test]
    fn a_figure_is_out_of_its_band_by_twice_or_half_and_a_share_by_ten_points() {
        use Band::{High, Low, Unknown, Usual};
        for (now, before, band) in [
            (conversion(100, 70), conversion(100, 80), Usual),
            (conversion(100, 69), conversion(100, 80), Low),
            (conversion(100, 91), conversion(100, 80), High),
            (conversion(19, 0), conversion(100, 80), Unknown),
            (conversion(0, 0), conversion(0, 0), Unknown),
        ] {
            assert_eq!(now.band(&before, TileId::Conversion), band, "{now:?}");
        }
        for (now, before, band) in [
            (requests(40), requests(20), Usual),
            (requests(41), requests(20), High),
            (requests(9), requests(20), Low),
            (requests(0), requests(20), Low),
            (requests(1000), requests(19), Unknown),
        ] {
            assert_eq!(now.band(&before, TileId::Requests), band, "{now:?}");
        }
        for (now, before, band) in [
            (sent(50, 3), sent(50, 3), Usual),
            (sent(50, 5), sent(50, 3), High),
            // Half of them took longer than the last bound.
            (sent(50, 14), sent(50, 3), High),
            (sent(50, 14), sent(50, 14), Usual),
            (sent(50, 3), sent(50, 14), Low),
            (sent(0, 14), sent(50, 3), Unknown),
        ] {
            assert_eq!(now.band(&before, TileId::SentP50), band, "{now:?}");
        }
    }

    #[test]
    fn refusals_are_told_where_there_were_none_before() {
        let refused = |refused| Window {
            conversions: Conversions { refused, ..Conversions::default() },
            ..Window::default()
        };
        assert_eq!(refused(20).band(&refused(0), TileId::RefusedByGuard), Band::High);
        assert_eq!(refused(19).band(&refused(0), TileId::RefusedByGuard), Band::Unknown);
    }
}
