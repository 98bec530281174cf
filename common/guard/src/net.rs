//! One net, of a prefix or a country: open, blocked or probing.

use super::minute_of;
use super::rule::Rule;
use super::window::Window;
use domain::string_enum;
use domain::timestamp::Timestamp;

string_enum! {
    /// The kind of a net.
    #[derive(PartialOrd, Ord)]
    pub enum Kind { Prefix = "prefix", Country = "country" }
}

string_enum! {
    /// Which code requests a net admits.
    #[derive(Default)]
    pub enum State {
        /// All of them.
        #[default]
        Open = "open",
        /// None of them.
        Blocked = "blocked",
        /// A few, to test whether they convert.
        Probing = "probing",
    }
}

/// A state change of a net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub state: State,
    /// Sends in the window, or in the probe if the probe decided.
    pub sends: u64,
    pub verified: u64,
    /// The number of blocks in a row.
    pub level: u32,
    /// End of the block; `None` when it is not blocked.
    pub until: Option<Timestamp>,
}

/// How a net stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetOutlook {
    pub state: State,
    /// The number of blocks in a row.
    pub level: u32,
    /// In the window, or in the probe if one is running.
    pub sends: u64,
    pub verified: u64,
    /// End of the block; `None` when it is not blocked.
    pub until: Option<Timestamp>,
}

/// The counts and the state of one net.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Net {
    state: State,
    level: u32,
    /// Blocked: the block's end. Probing with all probes sent: when they must have converted. Else 0.
    until: i64,
    /// When the last block ended, or was due to end.
    last: i64,
    probes: u64,
    probes_verified: u64,
    window: Window,
}

impl Net {
    pub fn state(&self) -> State {
        self.state
    }

    /// The net of the fields that `guard.lua` keeps; others are ignored.
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, i64)>) -> Self {
        let mut net = Self::default();
        for (name, value) in fields {
            let count = u64::try_from(value).unwrap_or_default();
            match name {
                "state" => {
                    net.state = match value {
                        1 => State::Blocked,
                        2 => State::Probing,
                        _ => State::Open,
                    };
                }
                "level" => net.level = u32::try_from(value).unwrap_or_default(),
                "until" => net.until = value,
                "last" => net.last = value,
                "probes" => net.probes = count,
                "probes_verified" => net.probes_verified = count,
                _ => net.window.read(name, count),
            }
        }
        net
    }

    /// How it stands.
    pub(super) fn outlook(&self) -> NetOutlook {
        let (sends, verified) =
            if self.probes > 0 { (self.probes, self.probes_verified) } else { self.counts() };
        let until = (self.state == State::Blocked).then(|| Timestamp::from_ms(self.until));
        NetOutlook { state: self.state, level: self.level, sends, verified, until }
    }

    /// Sends and verifications in the window.
    pub fn counts(&self) -> (u64, u64) {
        (self.window.sends(), self.window.verified())
    }

    /// Applies the changes that time alone causes: an expired block becomes a probe, a failed probe a longer block.
    pub(super) fn wake(&mut self, rule: &Rule, now: i64) {
        self.slide(rule, now);
        if self.state != State::Open && now - self.last >= rule.forget_secs * 1000 {
            *self = Self::default();
        }
        if self.state == State::Probing && self.probes >= rule.probes && self.until <= now {
            // Blocked from the time of the failure, not of its detection: a request hours later finds it probing.
            self.shut(rule, self.until);
        }
        if self.state == State::Blocked && self.until <= now {
            *self = Self {
                state: State::Probing,
                level: self.level,
                last: self.last,
                ..Self::default()
            };
        }
        if self.is_condemned(rule, now) {
            self.shut(rule, now);
        }
    }

    /// Whether the net is open and converts too little.
    fn is_condemned(&self, rule: &Rule, now: i64) -> bool {
        self.state == State::Open && self.converts_too_little(rule, now)
    }

    fn converts_too_little(&self, rule: &Rule, now: i64) -> bool {
        let young = self.window.young(minute_of(now), rule.settle_minutes());
        let judged = self.window.sends() - young.min(rule.doubt);
        judged >= rule.min_sends
            && self.window.verified() * 1000 < rule.conversion_permille * judged
    }

    fn shut(&mut self, rule: &Rule, at: i64) {
        let anew = at - self.last >= rule.forget_secs * 1000;
        self.level = if anew { 1 } else { self.level + 1 };
        self.state = State::Blocked;
        self.until = at + rule.block_ms(self.level);
        self.last = self.until;
    }

    /// The wait in milliseconds if this net refuses a request.
    pub(super) fn refuses(&self, rule: &Rule, now: i64) -> Option<i64> {
        match self.state {
            State::Blocked => Some(self.until - now),
            // At that time it is known whether the probes convert.
            State::Probing if self.probes >= rule.probes => Some(self.until - now),
            State::Open | State::Probing => None,
        }
    }

    /// Whether the net's own traffic converts, with young sends included.
    pub(super) fn is_proven(&self, rule: &Rule) -> bool {
        let (sends, verified) = self.counts();
        self.state == State::Open
            && verified > 0
            && verified * 1000 >= rule.conversion_permille * sends
    }

    /// Counts an admitted send. Returns whether it is a probe.
    pub(super) fn count(&mut self, rule: &Rule, now: i64) -> bool {
        if self.state == State::Probing {
            self.probes += 1;
            if self.probes >= rule.probes {
                self.until = now + rule.settle_secs * 1000;
            }
            return true;
        }
        self.window.add_send(minute_of(now));
        if self.is_condemned(rule, now) {
            self.shut(rule, now);
        }
        false
    }

    /// Withdraws a counted send.
    pub(super) fn withdraw(&mut self, rule: &Rule, minute: i64, was_probe: bool, now: i64) {
        self.slide(rule, now);
        if !was_probe {
            self.window.take_send(minute);
            self.acquit(rule, now);
        } else if self.state == State::Probing && self.probes > 0 {
            self.probes -= 1;
            self.until = 0;
        }
    }

    /// Counts a verification of a send that was counted here.
    pub(super) fn verify(&mut self, rule: &Rule, now: i64) {
        self.slide(rule, now);
        if self.probes == 0 {
            self.window.add_verified(minute_of(now));
            self.acquit(rule, now);
            return;
        }
        self.probes_verified += 1;
        if self.probes_verified >= rule.probes_verified {
            *self = Self { level: self.level, last: now, ..Self::default() };
        }
    }

    /// Lifts a block when the window's counts no longer justify it: the sends with the benefit of the doubt did verify,
    /// as when an advertisement brings a crowd within seconds.
    fn acquit(&mut self, rule: &Rule, now: i64) {
        if self.state == State::Blocked && self.probes == 0 && !self.converts_too_little(rule, now)
        {
            self.state = State::Open;
            self.level -= 1;
            self.until = 0;
            self.last = now;
        }
    }

    fn slide(&mut self, rule: &Rule, now: i64) {
        self.window.slide(minute_of(now), rule.window_minutes());
    }

    /// Returns the change since `before`, if any.
    pub(super) fn change_since(&self, before: Snapshot, kind: Kind) -> Option<Change> {
        if before.state == self.state && before.level == self.level {
            return None;
        }
        let (sends, verified) =
            if self.probes > 0 { (self.probes, self.probes_verified) } else { self.counts() };
        let until = (self.state == State::Blocked).then(|| Timestamp::from_ms(self.until));
        Some(Change { kind, state: self.state, sends, verified, level: self.level, until })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { state: self.state, level: self.level }
    }

    /// Drops old counts. Returns whether the net holds nothing that still matters.
    pub fn is_over(&mut self, rule: &Rule, now: i64) -> bool {
        self.slide(rule, now);
        self.window.is_empty() && now - self.last >= rule.forget_secs * 1000
    }
}

/// The values that a change is compared against.
#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    state: State,
    level: u32,
}
