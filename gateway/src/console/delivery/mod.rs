//! `/console/delivery`: who delivers where, how fast, and whether the codes are used. A country leads to its prefixes, and
//! each of them to its requests.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::timestamp::Timestamp;

use crate::app::App;
use crate::console::chart;
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::pulse::detail;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::{Moment, at_most};
use crate::staff::delivery::{
    self, ConversionFigures, CountryFigures, DOUBTFUL_UNDER, DeliveryFilter, DeliveryView,
    ProviderFigures,
};
use crate::staff::figures::{Latency, ReasonFigure};
use crate::staff::requests::meaning;
use crate::staff::rights::Act;

pub(crate) const PATH: &str = "/console/delivery";
const SPANS: [(&str, &str); 3] = [("24", "a day"), ("168", "a week"), ("720", "30 days")];
const USUAL_SPAN: &str = "168";
/// A row with its chart weighs a kilobyte.
const MOST_ROWS: usize = 30;

#[derive(Template)]
#[template(path = "console/delivery/page.html")]
struct DeliveryPage<'a> {
    frame: Frame,
    params: &'a Params,
    span: &'a str,
    spans: [(&'static str, &'static str); 3],
    under: i64,
    rows: Vec<Row>,
    left_out: usize,
    prefixes: Vec<Prefix>,
    reasons: Vec<(String, &'static str, String, i64)>,
    from: Moment,
    counted: Option<Moment>,
    hours_missing: i64,
    as_of: Moment,
}

/// A country by a provider.
struct Row {
    country: String,
    /// The same page for the country alone.
    country_address: String,
    provider: String,
    /// The requests behind it.
    address: String,
    messages: i64,
    delivered: String,
    failed: i64,
    half: String,
    most: String,
    used: String,
    /// Few codes are used, and the provider takes the texts.
    unused: Option<String>,
    segments: i64,
    chart: String,
}

/// A prefix of the country.
struct Prefix {
    digits: String,
    address: String,
    requested: i64,
    used: String,
    refused: i64,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let span = params.get("since").filter(|span| SPANS.iter().any(|(hours, _)| hours == span));
    let span = span.unwrap_or(USUAL_SPAN);
    let under = params.parsed("under").filter(|share| (1..=100).contains(share));
    let filter = DeliveryFilter {
        hours: span.parse().unwrap_or(168),
        country: params.get("country"),
        provider: params.get("provider"),
        doubtful_under: under.unwrap_or(DOUBTFUL_UNDER),
        most: MOST_ROWS,
    };
    let view = Box::pin(delivery::read(&app, filter, now)).await?;
    html(&page(&staff, &view, &params, span, filter, now))
}

fn page<'a>(
    staff: &Staff,
    view: &DeliveryView,
    params: &'a Params,
    span: &'a str,
    filter: DeliveryFilter<'_>,
    now: Timestamp,
) -> DeliveryPage<'a> {
    let rows = view.countries.iter().flat_map(|country| {
        country.providers.iter().map(move |provider| row(country, provider, params, span))
    });
    DeliveryPage {
        frame: Frame::new(staff, PATH, "Delivery"),
        rows: rows.collect(),
        left_out: view.left_out,
        prefixes: view.prefixes.iter().map(|it| prefix(it, span)).collect(),
        reasons: view.reasons.iter().map(|it| reason(it, span, filter)).collect(),
        from: Moment::of(view.covered.from, now),
        counted: Moment::maybe(view.covered.counted_at, now),
        hours_missing: view.covered.hours_missing,
        as_of: Moment::of(now, now),
        params,
        span,
        spans: SPANS,
        under: filter.doubtful_under,
    }
}

/// The list of requests with these filters; one without a value is left out.
fn requests(span: &str, filters: &[(&str, &str)]) -> String {
    let filters = filters.iter().filter(|(_, value)| !value.is_empty());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("since", span)
        .extend_pairs(filters)
        .finish();
    format!("/console/requests?{query}")
}

fn row(country: &CountryFigures, it: &ProviderFigures, params: &Params, span: &str) -> Row {
    let days: Vec<_> = it.days.iter().copied().map(Some).collect();
    let name = &country.country;
    let doubt = it.is_doubtful.then(|| {
        requests(span, &[("country", name), ("provider", &it.provider), ("outcome", "unverified")])
    });
    Row {
        country: name.clone(),
        country_address: params.link(PATH, "country", name),
        provider: it.provider.clone(),
        address: requests(span, &[("country", name), ("provider", &it.provider)]),
        messages: it.messages,
        delivered: share(it.delivered_per_cent),
        failed: it.failed + it.undelivered,
        half: time(&it.to_delivered, it.to_delivered.p50_at_most_ms),
        most: time(&it.to_delivered, it.to_delivered.p95_at_most_ms),
        used: share(country.conversion.used_per_cent),
        unused: doubt,
        segments: it.segments,
        chart: chart::line("Messages on each of 7 days", &days),
    }
}

fn prefix(it: &ConversionFigures, span: &str) -> Prefix {
    // A prefix of a long calling code has 7 digits; an address may hold 8.
    Prefix {
        digits: it.name.clone(),
        address: requests(span, &[("prefix", &it.name)]),
        requested: it.requested,
        used: share(it.used_per_cent),
        refused: it.refused,
    }
}

fn reason(
    it: &ReasonFigure,
    span: &str,
    filter: DeliveryFilter<'_>,
) -> (String, &'static str, String, i64) {
    let country = filter.country.unwrap_or_default();
    let filters =
        [("reason", it.reason.as_str()), ("provider", &it.provider), ("country", country)];
    (requests(span, &filters), meaning::of_reason(it.reason), detail(it), it.messages)
}

fn share(per_cent: Option<i64>) -> String {
    per_cent.map_or_else(|| "–".to_owned(), |share| format!("{share} %"))
}

/// A time within its bound.
fn time(latency: &Latency, ms: Option<i64>) -> String {
    match ms {
        Some(ms) => at_most(ms),
        None if latency.known > 0 => "over 30 min".to_owned(),
        None => "–".to_owned(),
    }
}
