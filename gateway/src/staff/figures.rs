//! What pulse and delivery share: shares, times and reasons as plain data.

use domain::timestamp::Timestamp;
use domain::vocabulary::Reason;
use ledger::hours::{Figures, HoursFilter, ReasonCount, Spread, hour_start};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;

/// How long something took, in milliseconds. The median and the percentile are known within the bounds of the counters:
/// each is the least bound that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Latency {
    /// Texts of which it is known.
    pub known: i64,
    /// The mean; `null` if nothing is known.
    #[schema(required = true)]
    pub mean_ms: Option<i64>,
    /// Half of them took at most this; `null` if nothing is known, or if it is more than 30 minutes.
    #[schema(required = true)]
    pub p50_at_most_ms: Option<i64>,
    /// 95 of 100 took at most this; `null` as for the median.
    #[schema(required = true)]
    pub p95_at_most_ms: Option<i64>,
}

/// Why messages did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ReasonFigure {
    #[schema(value_type = words::Reason)]
    pub reason: Reason,
    /// Empty: handed to none.
    pub provider: String,
    /// The code of the last provider that gave one; empty if none did.
    pub code: String,
    pub messages: i64,
}

/// What figures cover, and when they were counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Covered {
    /// The beginning of the first hour.
    #[schema(value_type = words::Time)]
    pub from: Timestamp,
    /// The end of the last hour: of the one that runs, it is now.
    #[schema(value_type = words::Time)]
    pub until: Timestamp,
    /// When the last hour was counted; `null`: not yet.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub counted_at: Option<Timestamp>,
    /// Hours that were not counted yet: after an update, until the ledger was read once.
    pub hours_missing: i64,
}

impl Latency {
    pub fn of(spread: &Spread) -> Self {
        Self {
            known: spread.known,
            mean_ms: spread.sum_ms.checked_div(spread.known),
            p50_at_most_ms: spread.at_most_ms(50),
            p95_at_most_ms: spread.at_most_ms(95),
        }
    }
}

impl From<ReasonCount> for ReasonFigure {
    fn from(count: ReasonCount) -> Self {
        let ReasonCount { reason, provider, code, messages } = count;
        Self { reason, provider, code, messages }
    }
}

/// A share in whole per cent; `None` of nothing.
pub(crate) fn per_cent(part: i64, whole: i64) -> Option<i64> {
    part.saturating_mul(100).checked_div(whole)
}

/// How many of those that a provider took were delivered; `None` if it took none.
pub(crate) fn delivered_per_cent(figures: &Figures) -> Option<i64> {
    per_cent(figures.delivered, figures.taken())
}

/// What the counted hours from `from` to before `to` cover.
pub(crate) async fn covered(
    app: &App,
    from: i64,
    to: i64,
    now: Timestamp,
) -> Result<Covered, ApiError> {
    let rolled = app.hours.rolled(from).await?;
    // Hours before the first message have nothing to count.
    let first = app.hours.first().await?.map_or(to, |first| first.clamp(from, to));
    let is_due = |hour: i64| (first..to).contains(&hour);
    let counted: i64 = rolled.iter().filter(|it| is_due(it.hour)).map(|_| 1).sum();
    Ok(Covered {
        from: hour_start(from),
        until: hour_start(to).min(now),
        counted_at: rolled.iter().rfind(|it| it.hour < to).map(|it| it.at),
        hours_missing: to - first - counted,
    })
}

/// The most frequent reasons of these hours.
pub(crate) async fn reasons(
    app: &App,
    filter: HoursFilter<'_>,
    most: u32,
) -> Result<Vec<ReasonFigure>, ApiError> {
    let reasons = app.hours.reasons_of(filter, most).await?;
    Ok(reasons.into_iter().map(Into::into).collect())
}
