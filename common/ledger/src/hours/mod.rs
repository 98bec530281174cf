//! The ledger by the hour: what is summed for months, so that no page has to count messages one by one.
//!
//! An hour is counted from the ledger as a whole, by whoever finds it due, and again while receipts still come. To count it
//! twice, or by two at once, changes nothing: of two who began from the same count one writes.

mod columns;
mod read;
mod roll;

use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason};
use sql::Pool;

/// The length of an hour in milliseconds.
pub const HOUR_MS: i64 = 60 * 60 * 1000;

/// The bounds of a [`Spread`], in milliseconds.
pub const BOUNDS_MS: [i64; 14] = [
    100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000,
    1_800_000,
];

/// Converts a time to whole hours since the epoch.
#[must_use]
pub const fn hour_of(at: Timestamp) -> i64 {
    at.ms().div_euclid(HOUR_MS)
}

/// When an hour begins.
#[must_use]
pub const fn hour_start(hour: i64) -> Timestamp {
    Timestamp::from_ms(hour.saturating_mul(HOUR_MS))
}

/// How long something took, of many messages: enough to tell a median and a 95th percentile within the bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Messages of which it is known.
    pub known: i64,
    /// The sum of all, in milliseconds.
    pub sum_ms: i64,
    /// How many took at most each of [`BOUNDS_MS`].
    pub within: [i64; BOUNDS_MS.len()],
}

/// Counts of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub messages: i64,
    /// Those that a code request brought, not notices.
    pub requests: i64,
    pub segments: i64,
    /// By the state that they had when they were counted.
    pub sending: i64,
    pub sent: i64,
    pub delivered: i64,
    pub undelivered: i64,
    pub failed: i64,
    /// Not sent, because a code's life was over or a newer request came.
    pub dropped: i64,
    /// From the request to its being sent, of texts that a request brought.
    pub to_sent: Spread,
    /// From sent to delivered, of texts.
    pub to_delivered: Spread,
}

/// The counts of one destination by one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// ISO 3166.
    pub country: String,
    /// Empty: handed to none yet.
    pub provider: String,
    pub figures: Figures,
}

/// The messages of one destination by one provider in 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// ISO 3166.
    pub country: String,
    /// Empty: handed to none yet.
    pub provider: String,
    /// Its first hour.
    pub hour: i64,
    pub messages: i64,
    pub delivered: i64,
}

/// How many messages did not arrive for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    pub reason: Reason,
    /// Empty: handed to none.
    pub provider: String,
    /// The code of the last provider that gave one; empty if none did.
    pub code: String,
    pub messages: i64,
}

/// Which hours and messages are summed; `None` sums all.
#[derive(Clone, Copy, Debug)]
pub struct HoursFilter<'a> {
    /// The first hour.
    pub from: i64,
    /// The hour after the last.
    pub to: i64,
    pub country: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub channel: Option<Channel>,
}

/// When an hour was counted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolled {
    pub hour: i64,
    /// How often it was counted so far.
    pub times: i64,
    pub at: Timestamp,
}

/// Counts and reads hours.
#[derive(Clone, Debug)]
pub struct Hours {
    db: Pool,
}

impl Hours {
    pub fn new(db: &Pool) -> Self {
        Self { db: db.clone() }
    }
}

impl HoursFilter<'_> {
    /// All messages of these hours.
    pub const fn all(from: i64, to: i64) -> Self {
        Self { from, to, country: None, provider: None, channel: None }
    }
}

impl Spread {
    /// The least bound within which this share (in per cent) of those that are known lies; `None` if none is known, or if
    /// the share is over the last bound.
    #[must_use]
    pub fn at_most_ms(&self, per_cent: i64) -> Option<i64> {
        if self.known == 0 {
            return None;
        }
        let enough =
            |within: &i64| within.saturating_mul(100) >= self.known.saturating_mul(per_cent);
        self.within.iter().position(enough).map(|at| BOUNDS_MS[at])
    }

    fn add(&mut self, other: &Self) {
        self.known += other.known;
        self.sum_ms += other.sum_ms;
        for (sum, more) in self.within.iter_mut().zip(other.within) {
            *sum += more;
        }
    }
}

impl Figures {
    /// Adds the counts of other messages.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.requests += other.requests;
        self.segments += other.segments;
        self.sending += other.sending;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.undelivered += other.undelivered;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.to_sent.add(&other.to_sent);
        self.to_delivered.add(&other.to_delivered);
    }

    /// Those that a provider took: they are sent, whatever became of them.
    #[must_use]
    pub const fn taken(&self) -> i64 {
        self.sent + self.delivered + self.undelivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lies_within_the_least_bound_that_holds_it() {
        let mut spread = Spread::default();
        assert_eq!(spread.at_most_ms(50), None, "nothing is known");
        spread.known = 100;
        spread.within[5..].fill(50);
        spread.within[8..].fill(94);
        assert_eq!(spread.at_most_ms(50), Some(3_000));
        assert_eq!(spread.at_most_ms(51), Some(20_000));
        assert_eq!(spread.at_most_ms(95), None, "over the last bound");
    }

    #[test]
    fn hours_begin_at_the_epoch() {
        assert_eq!(hour_of(Timestamp::from_ms(HOUR_MS - 1)), 0);
        assert_eq!(hour_of(Timestamp::from_ms(-1)), -1);
        assert_eq!(hour_start(2), Timestamp::from_ms(2 * HOUR_MS));
    }
}
