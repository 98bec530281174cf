//! What is asked of the figures. Each is shown as a ratio to its bound, which is at most 1 if the bound is kept.

use crate::parts::Part;
use crate::sample::{CPU, MEMORY, PACE, Rounds, TEXTS, TIMES, Table};

#[derive(Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}
use Limit::{AtLeast, AtMost};

pub struct Bound {
    pub part: Part,
    /// Its name in reports, JSON and the history.
    pub name: &'static str,
    table: Table,
    row: &'static str,
    column: &'static str,
    pub limit: Limit,
    pub unit: &'static str,
}

const PER_THOUSAND: &str = "CPU-s per 1,000";

const fn bound(
    part: Part,
    name: &'static str,
    (table, row, column): (Table, &'static str, &'static str),
    limit: Limit,
    unit: &'static str,
) -> Bound {
    Bound { part, name, table, row, column, limit, unit }
}

/// In the order of the report.
pub const BOUNDS: [Bound; 14] = [
    bound(Part::Whole, "whole sign-in", (CPU, "total", "whole"), AtMost(1.8), PER_THOUSAND),
    bound(Part::Whole, "request", (CPU, "total", "request"), AtMost(1.1), PER_THOUSAND),
    bound(Part::Whole, "login", (CPU, "total", "login"), AtMost(0.65), PER_THOUSAND),
    bound(Part::Whole, "refresh", (CPU, "total", "refresh"), AtMost(0.2), PER_THOUSAND),
    bound(
        Part::Embedded,
        "embedded: whole sign-in",
        (CPU, "total", "whole"),
        AtMost(1.6),
        PER_THOUSAND,
    ),
    bound(
        Part::Embedded,
        "embedded: logins",
        (PACE, "login", "per second"),
        AtLeast(2_500.0),
        "per second",
    ),
    bound(Part::Memory, "worker, idle", (MEMORY, "larger worker", "RSS, MB"), AtMost(20.0), "MB"),
    bound(Part::Memory, "gateway, idle", (MEMORY, "gateway", "RSS, MB"), AtMost(28.0), "MB"),
    bound(Part::Rate, "an answer, p50", (TIMES, "slowest answer", "p50"), AtMost(3.5), "ms"),
    bound(
        Part::Rate,
        "request → provider, p50",
        (TIMES, "request → provider", "p50"),
        AtMost(5.0),
        "ms",
    ),
    bound(
        Part::Rate,
        "request → provider, p99",
        (TIMES, "request → provider", "p99"),
        AtMost(10.0),
        "ms",
    ),
    bound(
        Part::Slow,
        "login p99 beside a provider at 2 s",
        (TEXTS, "at 2 s: a login takes, times", "p99"),
        AtMost(1.1),
        "times that at 0 s",
    ),
    bound(
        Part::Failing,
        "failing provider: all ended",
        (TEXTS, "30 of 100, at random", "all ended, s"),
        AtMost(60.0),
        "s",
    ),
    bound(
        Part::Failing,
        "failing provider: texts",
        (TEXTS, "30 of 100, at random", "texts a second"),
        AtLeast(500.0),
        "per second",
    ),
];

impl Bound {
    /// The median of the rounds.
    pub fn value(&self, rounds: &Rounds) -> Option<f64> {
        rounds.median(self.table, self.row, self.column)
    }
}

impl Limit {
    pub fn ratio(self, value: f64) -> f64 {
        match self {
            AtMost(limit) => value / limit,
            AtLeast(limit) => limit / value,
        }
    }

    pub fn keeps(self, value: f64) -> bool {
        self.ratio(value) <= 1.0
    }

    pub fn number(self) -> f64 {
        match self {
            AtMost(limit) | AtLeast(limit) => limit,
        }
    }

    pub fn text(self) -> String {
        match self {
            AtMost(limit) => format!("≤ {limit}"),
            AtLeast(limit) => format!("≥ {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_misses_either_kind_of_bound() {
        assert!(AtMost(2.0).keeps(2.0) && !AtMost(2.0).keeps(2.1));
        assert!(AtLeast(2.0).keeps(2.0) && !AtLeast(2.0).keeps(1.9));
        assert!(!AtMost(60.0).keeps(f64::INFINITY));
    }
}
