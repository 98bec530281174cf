//! One ask before both nets.

use super::minute_of;
use super::net::{Change, Kind, Net};
use super::rule::Rule;

/// The two nets that an ask falls into.
#[derive(Debug)]
pub struct Nets<'a> {
    pub prefix: &'a mut Net,
    pub country: &'a mut Net,
}

/// What the guard says to an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The wait in milliseconds of an ask that it refuses. Nothing was counted then.
    pub refused: Option<i64>,
    /// Where an admitted ask was counted.
    pub counted: Option<Counted>,
    pub changes: Vec<Change>,
}

/// Where a send was counted: needed to take it back, and to know what its verification proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub minute: i64,
    pub prefix: Mark,
    /// `None`: the country's net was not open, and the prefix passed it by its own good name.
    pub country: Option<Mark>,
}

/// What a send was for a net.
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

/// Judges an ask and counts it where it is admitted. `now` is in milliseconds.
///
/// A country that is shut refuses only prefixes whose own traffic does not convert: the wider net is for an attack
/// spread over many prefixes, and must not cost the subscribers of a good one.
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

impl Nets<'_> {
    /// Takes a counted send back: its event surely never reached the broker.
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

    /// Counts the verification of a send in the nets that counted the send.
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
        act: impl FnOnce(&mut Self) -> (Option<i64>, Option<Counted>),
    ) -> Verdict {
        let before = (self.prefix.snapshot(), self.country.snapshot());
        let (refused, counted) = act(self);
        let prefix = self.prefix.change_since(before.0, Kind::Prefix);
        let country = self.country.change_since(before.1, Kind::Country);
        Verdict { refused, counted, changes: prefix.into_iter().chain(country).collect() }
    }
}
