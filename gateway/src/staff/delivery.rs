//! Delivery: who delivers where, how fast, and whether the codes are used.

use std::collections::{BTreeMap, HashMap};

use accounts::Conversions;
use domain::timestamp::Timestamp;
use ledger::hours::{Cell, Figures, HoursFilter, hour_of};
use serde::Serialize;
use utoipa::ToSchema;

use super::figures::{
    Covered, Latency, ReasonFigure, covered, delivered_per_cent, per_cent, reasons,
};
use crate::app::App;
use crate::http::error::ApiError;

/// What is looked at unless whoever asks says otherwise, in hours.
pub(crate) const USUAL_HOURS: i64 = WEEK;
/// The most that is looked at, in hours: 30 days.
pub(crate) const MOST_HOURS: i64 = 720;
/// How many of 100 codes are used at least where nothing is wrong, unless whoever asks says otherwise.
pub(crate) const DOUBTFUL_UNDER: i64 = 20;
const DAY: i64 = 24;
const WEEK: i64 = 168;
/// Of fewer requests, a share says little.
const FEW: i64 = 20;
const REASONS: u32 = 10;
const MOST_PREFIXES: u32 = 50;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryFilter<'a> {
    /// This many hours, the one that runs included.
    pub hours: i64,
    /// ISO 3166.
    pub country: Option<&'a str>,
    pub provider: Option<&'a str>,
    /// Of 100 codes that were requested, fewer used ones are doubtful.
    pub doubtful_under: i64,
    /// The most countries with providers that are told, those with the most messages first.
    pub most: usize,
}

/// Who delivers where.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Delivery, examples(json!({
    "covered": {
        "from": "2026-11-23T11:00:00.000Z",
        "until": "2026-11-30T10:24:10.000Z",
        "counted_at": "2026-11-30T10:23:40.000Z",
        "hours_missing": 0,
    },
    "countries": [{
        "country": "US",
        "conversion": { "name": "US", "requested": 410, "used": 330, "used_per_cent": 80, "refused": 0 },
        "providers": [{
            "provider": "twilio",
            "messages": 410,
            "taken": 400,
            "delivered": 380,
            "delivered_per_cent": 95,
            "failed": 10,
            "undelivered": 8,
            "segments": 400,
            "to_sent": { "known": 400, "mean_ms": 310, "p50_at_most_ms": 500, "p95_at_most_ms": 1000 },
            "to_delivered": { "known": 380, "mean_ms": 2900, "p50_at_most_ms": 5000, "p95_at_most_ms": 10000 },
            "days": [60, 55, 58, 61, 57, 59, 60],
            "is_doubtful": false,
        }],
    }],
    "left_out": 0,
    "prefixes": [],
    "reasons": [{ "reason": "number_unreachable", "provider": "twilio", "code": "30003", "messages": 8 }],
})))]
pub(crate) struct DeliveryView {
    pub covered: Covered,
    pub countries: Vec<CountryFigures>,
    /// Rows of countries and providers that were left out.
    pub left_out: usize,
    /// The prefixes of the country, if one was asked for; those with the most requests first, 50 at most.
    pub prefixes: Vec<ConversionFigures>,
    /// Why messages did not arrive, the most frequent first, 10 at most.
    pub reasons: Vec<ReasonFigure>,
}

/// A country.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CountryFigures {
    /// ISO 3166.
    pub country: String,
    pub conversion: ConversionFigures,
    /// Its messages by provider, the most first.
    pub providers: Vec<ProviderFigures>,
}

/// Requested and used codes, as the pumping guard counts them: without test numbers, calls and resends included, nothing
/// while it is off. A code counts when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ConversionFigures {
    /// A country, or the digits of a prefix: the calling code and four more.
    pub name: String,
    pub requested: i64,
    pub used: i64,
    /// Of 100 requested ones so many were used; `null` of none.
    #[schema(required = true)]
    pub used_per_cent: Option<i64>,
    /// Requests that the guard refused.
    pub refused: i64,
}

/// The messages of a country by one provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProviderFigures {
    /// Empty: handed to none.
    pub provider: String,
    pub messages: i64,
    /// Those that the provider took.
    pub taken: i64,
    pub delivered: i64,
    /// Of 100 that it took so many are delivered; `null` if it took none.
    #[schema(required = true)]
    pub delivered_per_cent: Option<i64>,
    pub failed: i64,
    pub undelivered: i64,
    pub segments: i64,
    pub to_sent: Latency,
    pub to_delivered: Latency,
    /// Messages in each of the seven times 24 hours until now, oldest first.
    pub days: Vec<i64>,
    /// The provider takes texts, and few codes of the country are used: its receipts may not be true, or somebody makes
    /// money with texts that nobody wants.
    pub is_doubtful: bool,
}

impl ConversionFigures {
    fn of(name: String, conversions: &Conversions) -> Self {
        let Conversions { sends, verified, refused } = *conversions;
        let used_per_cent = per_cent(verified, sends);
        Self { name, requested: sends, used: verified, used_per_cent, refused }
    }

    fn is_under(&self, per_cent: i64) -> bool {
        self.requested >= FEW && self.used_per_cent.is_some_and(|used| used < per_cent)
    }
}

impl ProviderFigures {
    fn of(provider: String, figures: &Figures, days: Vec<i64>, is_doubtful: bool) -> Self {
        Self {
            provider,
            messages: figures.messages,
            taken: figures.taken(),
            delivered: figures.delivered,
            delivered_per_cent: delivered_per_cent(figures),
            failed: figures.failed,
            undelivered: figures.undelivered,
            segments: figures.segments,
            to_sent: Latency::of(&figures.to_sent),
            to_delivered: Latency::of(&figures.to_delivered),
            days,
            is_doubtful: is_doubtful && figures.taken() >= FEW,
        }
    }
}

/// Who delivers where, of the hours until now.
pub(crate) async fn read(
    app: &App,
    filter: DeliveryFilter<'_>,
    now: Timestamp,
) -> Result<DeliveryView, ApiError> {
    let to = hour_of(now) + 1;
    let from = to - filter.hours;
    let DeliveryFilter { country, provider, .. } = filter;
    let hours = HoursFilter { from, to, country, provider, channel: None };
    let (cells, days, conversions) = tokio::try_join!(
        Box::pin(app.hours.cells(hours)),
        Box::pin(app.hours.by_day(HoursFilter { from: to - WEEK, ..hours })),
        Box::pin(app.guard_hours.by_country(from, to)),
    )?;
    let mut by_day: HashMap<(String, String), Vec<i64>> = HashMap::new();
    for step in days {
        let days = by_day.entry((step.country, step.provider)).or_insert_with(|| vec![0; 7]);
        let day = usize::try_from((step.hour - (to - WEEK)) / DAY).unwrap_or_default();
        if let Some(messages) = days.get_mut(day) {
            *messages = step.messages;
        }
    }
    let conversions: HashMap<_, _> =
        conversions.into_iter().map(|it| (it.name, it.conversions)).collect();
    let (countries, left_out) = arranged(cells, &mut by_day, &conversions, filter);
    let prefixes = match country {
        Some(country) => app.guard_hours.by_prefix(from, to, country, MOST_PREFIXES).await?,
        None => Vec::new(),
    };
    let prefix = |it: accounts::ConversionsOf| ConversionFigures::of(it.name, &it.conversions);
    Ok(DeliveryView {
        covered: covered(app, from, to, now).await?,
        countries,
        left_out,
        prefixes: prefixes.into_iter().map(prefix).collect(),
        reasons: reasons(app, hours, REASONS).await?,
    })
}

/// Countries and their providers, those with the most messages first, and how many rows were left out.
fn arranged(
    cells: Vec<Cell>,
    days: &mut HashMap<(String, String), Vec<i64>>,
    conversions: &HashMap<String, Conversions>,
    filter: DeliveryFilter<'_>,
) -> (Vec<CountryFigures>, usize) {
    let left_out = cells.len().saturating_sub(filter.most);
    let mut cells = cells;
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.figures.messages));
    cells.truncate(filter.most);
    let mut countries: BTreeMap<String, CountryFigures> = BTreeMap::new();
    for Cell { country, provider, figures } in cells {
        let row = countries.entry(country.clone()).or_insert_with(|| {
            let conversions = conversions.get(&country).cloned().unwrap_or_default();
            let conversion = ConversionFigures::of(country.clone(), &conversions);
            CountryFigures { country: country.clone(), conversion, providers: Vec::new() }
        });
        let is_doubtful = row.conversion.is_under(filter.doubtful_under);
        let days = days.remove(&(country, provider.clone())).unwrap_or_else(|| vec![0; 7]);
        row.providers.push(ProviderFigures::of(provider, &figures, days, is_doubtful));
    }
    let mut countries: Vec<_> = countries.into_values().collect();
    let messages = |it: &CountryFigures| it.providers.iter().map(|one| one.messages).sum::<i64>();
    countries.sort_by_key(|it| std::cmp::Reverse(messages(it)));
    (countries, left_out)
}
