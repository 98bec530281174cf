//! Runs a rule over recorded history: what it would have blocked, and when.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::MINUTE_MS;
use super::findings::Tally;
use super::judge::{Nets, Verdict, judge};
use super::net::{Change, Kind, Net, State};
use super::rule::Rule;
use domain::timestamp::Timestamp;

/// Runs a rule over the rows of the history, in order of their minutes.
///
/// The history has a resolution of one minute, so sends and verifications within a minute are assumed to be evenly
/// mixed. It does not record which send a verification belongs to: if the rule would have stopped some of a prefix's
/// sends, the same share of its verifications is assumed not to happen.
#[derive(Debug)]
pub struct Replay {
    rule: Rule,
    countries: HashMap<String, Net>,
    prefixes: HashMap<String, PrefixHistory>,
    open_stops: HashMap<(Kind, String), usize>,
    report: Report,
}

/// One prefix.
#[derive(Debug, Default)]
struct PrefixHistory {
    net: Net,
    /// Sends of the last minutes: minute, requested, counted by the prefix's net, counted by the country's.
    recent: VecDeque<(i64, u64, u64, u64)>,
}

/// What the rule would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Requests in the history, including those that an enforcing guard refused.
    #[serde(rename = "asks")]
    pub code_requests: u64,
    pub verified: u64,
    /// Requests that the rule would have stopped.
    pub stopped: u64,
    /// Verifications that would not have happened, because their request would have been stopped.
    pub turned_away: u64,
    /// In order of their start.
    pub stops: Vec<Stop>,
}

/// One block, from its start until its net was open again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// `prefix` or `country`.
    pub kind: &'static str,
    pub prefix: Option<String>,
    pub country: String,
    pub from: Timestamp,
    /// When the probes converted; `None` if not within the history.
    pub opened: Option<Timestamp>,
    /// The sends that caused the block.
    pub sends: u64,
    pub verified: u64,
    /// The number of blocks in a row until it opened.
    pub blocks: u32,
    /// Requests stopped by it. A request that both nets refuse counts for the prefix.
    pub stopped: u64,
    /// Verifications that would not have happened because of it.
    pub turned_away: u64,
}

impl Replay {
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        let (countries, prefixes, open_stops) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { rule, countries, prefixes, open_stops, report: Report::default() }
    }

    /// Processes the next row. Rows must come in order of their minutes.
    pub fn feed(&mut self, row: &Tally) {
        let rows = |count: i64| u64::try_from(count).unwrap_or_default();
        let (code_requests, verified) = (rows(row.sends) + rows(row.refused), rows(row.verified));
        self.report.code_requests += code_requests;
        self.report.verified += verified;
        let now = row.minute * MINUTE_MS;
        let (rule, report) = (self.rule, &mut self.report);
        let line = self.prefixes.entry(row.operator_prefix.clone()).or_default();
        let country = self.countries.entry(row.country.clone()).or_default();
        line.begin(row.minute, rule.settle_minutes());
        let mut row_report = RowReport { row, now, open: &mut self.open_stops, report };
        let mut made = 0;
        for number in 1..=code_requests {
            let Verdict { refused, counted, changes } =
                judge(&rule, &mut Nets { prefix: &mut line.net, country }, now);
            row_report.changes(&changes);
            if refused.is_some() {
                row_report.stopped(if line.net.state() == State::Open {
                    Kind::Country
                } else {
                    Kind::Prefix
                });
            }
            line.count_request(
                counted.is_some(),
                counted.is_some_and(|counted| counted.country.is_some()),
            );
            while made * code_requests < number * verified {
                made += 1;
                line.verified(&rule, country, made, now, &mut row_report);
            }
        }
        while made < verified {
            made += 1;
            line.verified(&rule, country, made, now, &mut row_report);
        }
    }

    /// Returns the report.
    #[must_use]
    pub fn finish(self) -> Report {
        self.report
    }
}

impl PrefixHistory {
    fn begin(&mut self, minute: i64, minutes: i64) {
        while self.recent.front().is_some_and(|(at, ..)| *at <= minute - minutes) {
            self.recent.pop_front();
        }
        self.recent.push_back((minute, 0, 0, 0));
    }

    fn count_request(&mut self, in_prefix: bool, in_country: bool) {
        if let Some((_, requested, prefix, country)) = self.recent.back_mut() {
            *requested += 1;
            *prefix += u64::from(in_prefix);
            *country += u64::from(in_country);
        }
    }

    /// Counts the `number`th verification of this minute if it falls into the share of admitted sends.
    fn verified(
        &mut self,
        rule: &Rule,
        country: &mut Net,
        number: u64,
        now: i64,
        row_report: &mut RowReport<'_>,
    ) {
        let sum =
            |pick: fn(&(i64, u64, u64, u64)) -> u64| self.recent.iter().map(pick).sum::<u64>();
        let (requested, in_prefix, in_country) = (sum(|r| r.1), sum(|r| r.2), sum(|r| r.3));
        // Its send is older than the remembered ones: the net's current state decides.
        let (requested, in_prefix, in_country) = match requested {
            0 => (
                1,
                u64::from(self.net.state() == State::Open),
                u64::from(country.state() == State::Open),
            ),
            _ => (requested, in_prefix, in_country),
        };
        let reaches = |share: u64| number * share / requested > (number - 1) * share / requested;
        if !reaches(in_prefix) {
            let is_open = self.net.state() == State::Open;
            row_report.turned_away(if is_open { Kind::Country } else { Kind::Prefix });
        }
        let mut nets = Nets { prefix: &mut self.net, country };
        row_report.changes(&nets.verify(rule, reaches(in_prefix), reaches(in_country), now));
    }
}

/// Writes the report of one row.
struct RowReport<'a> {
    row: &'a Tally,
    now: i64,
    open: &'a mut HashMap<(Kind, String), usize>,
    report: &'a mut Report,
}

impl RowReport<'_> {
    fn key(&self, kind: Kind) -> (Kind, String) {
        let name = if kind == Kind::Prefix { &self.row.operator_prefix } else { &self.row.country };
        (kind, name.clone())
    }

    fn changes(&mut self, changes: &[Change]) {
        for change in changes {
            let key = self.key(change.kind);
            match (change.state, self.open.get(&key)) {
                (State::Open, Some(at)) => {
                    self.report.stops[*at].opened = Some(Timestamp::from_ms(self.now));
                    self.open.remove(&key);
                }
                (State::Open, None) => {}
                (_, Some(at)) => {
                    let stop = &mut self.report.stops[*at];
                    stop.blocks = stop.blocks.max(change.level);
                }
                (State::Blocked | State::Probing, None) => {
                    self.open.insert(key, self.report.stops.len());
                    self.report.stops.push(Stop {
                        kind: change.kind.as_str(),
                        prefix: (change.kind == Kind::Prefix)
                            .then(|| self.row.operator_prefix.clone()),
                        country: self.row.country.clone(),
                        from: Timestamp::from_ms(self.now),
                        opened: None,
                        sends: change.sends,
                        verified: change.verified,
                        blocks: 1,
                        stopped: 0,
                        turned_away: 0,
                    });
                }
            }
        }
    }

    fn turned_away(&mut self, by: Kind) {
        self.report.turned_away += 1;
        let key = self.key(by);
        if let Some(stop) = self.open.get(&key).and_then(|at| self.report.stops.get_mut(*at)) {
            stop.turned_away += 1;
        }
    }

    fn stopped(&mut self, by: Kind) {
        self.report.stopped += 1;
        let key = self.key(by);
        if let Some(stop) = self.open.get(&key).and_then(|at| self.report.stops.get_mut(*at)) {
            stop.stopped += 1;
        }
    }
}
