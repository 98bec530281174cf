//! Judges one code request by both nets.

use super::minute_of;
use super::net::{Change, Kind, Net, NetOutlook};
use super::rule::Rule;

/// The two nets that a code request belongs to.
#[derive(Debug)]
pub struct Nets<'a> {
    pub prefix: &'a mut Net,
    pub country: &'a mut Net,
}

/// The guard's decision on a code request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The wait in milliseconds if the request is refused. Nothing is counted in that case.
    pub refused: Option<i64>,
    /// Where an admitted request was counted.
    pub counted: Option<Counted>,
    pub changes: Vec<Change>,
}

/// Where a send was counted: needed to withdraw it, and to credit its verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub minute: i64,
    pub prefix: Mark,
    /// `None`: the country's net was not open, and the prefix passed because its own traffic converts.
    pub country: Option<Mark>,
}

/// How a net counted a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    InWindow,
    Probe,
}

impl Mark {
    const fn of(was_probe: bool) -> Self {
        if was_probe { Self::Probe } else { Self::InWindow }
    }
}

/// Judges a code request and counts it if it is admitted. `now` is in milliseconds.
///
/// A blocked country refuses only prefixes whose own traffic does not convert: the wider net is for an attack spread
/// over many prefixes and must not harm the subscribers of a good one.
pub fn judge(rule: &Rule, nets: &mut Nets<'_>, now: i64) -> Verdict {
    let wide = rule.for_country();
    nets.with_changes(|nets| {
        nets.prefix.wake(rule, now);
        nets.country.wake(&wide, now);
        let passes = nets.prefix.is_proven(rule);
        let of_country = if passes { None } else { nets.country.refuses(&wide, now) };
        let refused = nets.prefix.refuses(rule, now).max(of_country);
        if refused.is_some() {
            return (refused, None);
        }
        let counts_wide = !passes || nets.country.state() == super::State::Open;
        let prefix = Mark::of(nets.prefix.count(rule, now));
        let country = counts_wide.then(|| Mark::of(nets.country.count(&wide, now)));
        (None, Some(Counted { minute: minute_of(now), prefix, country }))
    })
}

/// What the guard would answer to a request now, and how its nets stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The wait in milliseconds if it would be refused.
    pub wait_ms: Option<i64>,
    pub prefix: NetOutlook,
    pub country: NetOutlook,
}

impl Outlook {
    /// Looks at copies of the nets: nothing is counted, and nothing changes.
    #[must_use]
    pub fn of(rule: &Rule, mut prefix: Net, mut country: Net, now: i64) -> Self {
        prefix.wake(rule, now);
        country.wake(&rule.for_country(), now);
        let (of_prefix, of_country) = (prefix.outlook(), country.outlook());
        let mut nets = Nets { prefix: &mut prefix, country: &mut country };
        let wait_ms = judge(rule, &mut nets, now).refused;
        Self { wait_ms, prefix: of_prefix, country: of_country }
    }
}

impl Nets<'_> {
    /// Withdraws a counted send whose event certainly never reached the broker.
    pub fn withdraw(&mut self, rule: &Rule, counted: Counted, now: i64) -> Vec<Change> {
        let probe = |mark| mark == Mark::Probe;
        self.with_changes(|nets| {
            nets.prefix.withdraw(rule, counted.minute, probe(counted.prefix), now);
            if let Some(mark) = counted.country {
                nets.country.withdraw(&rule.for_country(), counted.minute, probe(mark), now);
            }
            (None, None)
        })
        .changes
    }

    /// Counts a verification in the nets that counted its send.
    pub fn verify(
        &mut self,
        rule: &Rule,
        in_prefix: bool,
        in_country: bool,
        now: i64,
    ) -> Vec<Change> {
        self.with_changes(|nets| {
            if in_prefix {
                nets.prefix.verify(rule, now);
            }
            if in_country {
                nets.country.verify(&rule.for_country(), now);
            }
            (None, None)
        })
        .changes
    }

    fn with_changes(
        &mut self,
        step: impl FnOnce(&mut Self) -> (Option<i64>, Option<Counted>),
    ) -> Verdict {
        let before = (self.prefix.snapshot(), self.country.snapshot());
        let (refused, counted) = step(self);
        let prefix = self.prefix.change_since(before.0, Kind::Prefix);
        let country = self.country.change_since(before.1, Kind::Country);
        Verdict { refused, counted, changes: prefix.into_iter().chain(country).collect() }
    }
}
