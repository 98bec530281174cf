//! The numbers of the guard and their reasons.

use std::fmt;

use serde::Serialize;

use super::MINUTE_MS;

/// When a net blocks, for how long, and what opens it again. All arithmetic uses integers, so that Redis' Lua and Rust
/// reach the same decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The minimum number of sends that are judged. With 20, an honest block of which half verifies is blocked wrongly
    /// with a probability of 2 in 100,000 (at most one of 20 converts), and one of which 30 % verify with 1 in 130.
    pub min_sends: u64,
    /// A net blocks if its verifications are below this many thousandths of its judged sends. Sign-in by code converts
    /// about 50 to 90 of 100 sends; numbers bought for pumping convert none. One in ten is far from both.
    pub conversion_permille: u64,
    /// The window in which sends and verifications count. One hour is long enough for a quiet attack of a send every
    /// three minutes to reach `min_sends`, and short enough that yesterday's good traffic has no effect today.
    pub window_secs: i64,
    /// A send younger than this may still be verified, so it is not judged ... Three minutes: a user who reads the code
    /// types it within two or not at all. Counted in whole minutes, so a send is young for two to three.
    pub settle_secs: i64,
    /// ... but only this many young sends have that benefit. Without this bound, an attack faster than `settle_secs`
    /// would be judged after it was paid for. A block without a verification gets at most `min_sends + doubt` texts.
    pub doubt: u64,
    /// Sends that are admitted when a blocked net is probed.
    pub probes: u64,
    /// Probes that must convert for the net to open. With two of ten, honest traffic of which half verifies opens in 99
    /// of 100 cases, traffic of which 30 % verify in 85, and a single number that the attacker owns is not enough.
    pub probes_verified: u64,
    /// The length of the first block. It doubles with every failed probe. At least the longest lifetime of a code
    /// (600 s), so that a verification during a probe belongs to that probe.
    pub block_secs: i64,
    /// The longest single block: an attack then gets at most ten texts in four hours.
    pub block_cap_secs: i64,
    /// This long after the end of its last block, a net starts afresh, with no counts against it.
    pub forget_secs: i64,
    /// The factor by which a country's `min_sends` and `doubt` exceed a prefix's: its net is for an attack spread over
    /// so many prefixes that each stays below its own figure.
    pub country_factor: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            min_sends: 20,
            conversion_permille: 100,
            window_secs: 3600,
            settle_secs: 180,
            doubt: 50,
            probes: 10,
            probes_verified: 2,
            block_secs: 900,
            block_cap_secs: 4 * 3600,
            forget_secs: 24 * 3600,
            country_factor: 10,
        }
    }
}

/// Why a rule cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("`{0}` does not have the form name=value")]
    NotAPair(String),
    #[error(
        "`{0}` is not a part of a rule; the parts are: min_sends, conversion, window, settle, doubt, probes, probes_verified, block, block_cap, forget, country_factor"
    )]
    UnknownName(String),
    #[error("{name}={value}: {wants}")]
    BadValue { name: String, value: String, wants: &'static str },
}

impl Rule {
    /// Parses the parts that differ from the built-in rule: `min_sends=20,conversion=0.1,window=3600`.
    /// Times are in seconds, the conversion is a fraction of one.
    ///
    /// # Errors
    /// When a part is unknown or its value out of range.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rule = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| RuleError::NotAPair(part.to_owned()))?;
            rule.set(name.trim(), value.trim())?;
        }
        if rule.probes_verified > rule.probes {
            let (name, value) = ("probes_verified".to_owned(), rule.probes_verified.to_string());
            return Err(RuleError::BadValue { name, value, wants: "at most the number of probes" });
        }
        Ok(rule)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), RuleError> {
        const DAY: i64 = 86_400;
        let bad =
            |wants| RuleError::BadValue { name: name.to_owned(), value: value.to_owned(), wants };
        let count = |wants| {
            value
                .parse::<u64>()
                .ok()
                .filter(|n| (1..=1_000_000_000).contains(n))
                .ok_or_else(|| bad(wants))
        };
        let secs = |from: i64, to: i64, wants| {
            value.parse::<i64>().ok().filter(|n| (from..=to).contains(n)).ok_or_else(|| bad(wants))
        };
        match name {
            "min_sends" => self.min_sends = count("1 to 10^9")?,
            "conversion" => {
                self.conversion_permille = permille(value).ok_or_else(|| bad("0.001 to 1"))?;
            }
            "window" => self.window_secs = secs(60, DAY, "60 to 86400 s")?,
            "settle" => self.settle_secs = secs(60, 3600, "60 to 3600 s")?,
            "doubt" if value == "0" => self.doubt = 0,
            "doubt" => self.doubt = count("0 to 10^9")?,
            "probes" => self.probes = count("1 to 10^9")?,
            "probes_verified" => self.probes_verified = count("1 to 10^9")?,
            "block" => {
                self.block_secs = secs(600, DAY, "600 to 86400 s, as a code lives up to 600 s")?;
            }
            "block_cap" => self.block_cap_secs = secs(600, 7 * DAY, "600 to 604800 s")?,
            "forget" => self.forget_secs = secs(3600, 30 * DAY, "3600 to 2592000 s")?,
            "country_factor" => self.country_factor = count("1 to 10^9")?,
            _ => return Err(RuleError::UnknownName(name.to_owned())),
        }
        Ok(())
    }

    /// Returns the same rule for the country's net.
    #[must_use]
    pub fn for_country(self) -> Self {
        Self {
            min_sends: self.min_sends.saturating_mul(self.country_factor),
            doubt: self.doubt.saturating_mul(self.country_factor),
            ..self
        }
    }

    /// Minutes of the window, including the current one.
    #[must_use]
    pub const fn window_minutes(self) -> i64 {
        (self.window_secs * 1000 + MINUTE_MS - 1) / MINUTE_MS
    }

    /// Minutes in which a send is young, including the current one.
    #[must_use]
    pub const fn settle_minutes(self) -> i64 {
        (self.settle_secs * 1000 + MINUTE_MS - 1) / MINUTE_MS
    }

    /// The length of the block of this level in milliseconds. Level 1 is the first.
    #[must_use]
    pub fn block_ms(self, level: u32) -> i64 {
        let doubled = 1_i64 << level.saturating_sub(1).min(20);
        self.block_secs.saturating_mul(doubled).min(self.block_cap_secs.max(self.block_secs)) * 1000
    }
}

impl fmt::Display for Rule {
    /// Writes the form that [`Rule::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) =
            (self.conversion_permille / 1000, self.conversion_permille % 1000);
        write!(
            f,
            "min_sends={},conversion={whole}.{thousandths:03},window={},settle={},doubt={},probes={},probes_verified={},\
             block={},block_cap={},forget={},country_factor={}",
            self.min_sends,
            self.window_secs,
            self.settle_secs,
            self.doubt,
            self.probes,
            self.probes_verified,
            self.block_secs,
            self.block_cap_secs,
            self.forget_secs,
            self.country_factor
        )
    }
}

/// Parses `0.125` as 125, without binary fractions.
fn permille(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 3 || whole.len() > 1 {
        return None;
    }
    let value = format!("{whole}{rest:0<3}").parse().ok()?;
    (1..=1000).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        let rule = Rule::parse(" min_sends=7, conversion=0.25,window=600,doubt=0 ").unwrap();
        assert_eq!(
            (rule.min_sends, rule.conversion_permille, rule.window_secs, rule.doubt),
            (7, 250, 600, 0)
        );
        assert_eq!(
            rule.probes,
            Rule::default().probes,
            "parts that are not named keep their built-in value"
        );
        assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
        assert_eq!(Rule::parse(""), Ok(Rule::default()));
        assert_eq!(Rule::parse("conversion=1").unwrap().conversion_permille, 1000);
        assert_eq!(Rule::parse("conversion=0.05").unwrap().conversion_permille, 50);
    }

    #[test]
    fn an_invalid_rule_is_refused_by_the_name_of_its_part() {
        for wrong in [
            "min_sends",
            "min_sends=0",
            "min_sends=-1",
            "conversion=0",
            "conversion=1.5",
            "conversion=0.0001",
            "conversion=.1e1",
            "conversion=ten",
            "window=59",
            "window=86401",
            "settle=0",
            "block=599",
            "probes=0",
            "probes=1",
            "nonsense=1",
            "forget=-1",
        ] {
            let error = Rule::parse(wrong).unwrap_err().to_string();
            let name = wrong.split('=').next().unwrap();
            assert!(error.contains(name), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_block_doubles_up_to_its_cap() {
        let rule = Rule::default();
        let secs: Vec<i64> = (1..=7).map(|level| rule.block_ms(level) / 1000).collect();
        assert_eq!(secs, [900, 1800, 3600, 7200, 14400, 14400, 14400]);
        assert_eq!(rule.block_ms(u32::MAX), 14_400_000);
    }
}
