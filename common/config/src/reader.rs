//! Reads settings according to the table and collects the mistakes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::str::FromStr;

use secrecy::SecretString;

use super::error::{Mistake, Warning};
use super::parse::Parsed;
use super::source::{Given, Origin};
use super::table::{self, Allowed, Preset, Setting, UNLIMITED};

/// Continues with the default after a mistake, so that one start reports all mistakes.
pub(super) struct Reader {
    given: Given,
    wrong: BTreeSet<&'static str>,
    warnings: Vec<Warning>,
}

fn known(name: &str) -> &'static Setting {
    table::find(name).expect("every setting that is read is in the table")
}

impl Reader {
    pub(super) fn new(mut given: Given) -> Self {
        let warnings = std::mem::take(&mut given.warnings);
        Self { given, wrong: BTreeSet::new(), warnings }
    }

    /// Returns whether a value was given, valid or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.is_given(known(name).name)
    }

    /// Returns whether the value was refused.
    pub(super) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(name)
    }

    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.value(name).map(|(_, origin)| origin)
    }

    /// Returns the given value or the default. Surrounding spaces are trimmed, except in secrets: every byte counts.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let setting = known(name);
        match (self.given.value(name), setting.preset) {
            (Some((value, _)), _) if setting.secret => Some(value.to_owned()),
            (Some((value, _)), _) => Some(value.trim().to_owned()),
            (None, Preset::Value(value)) => Some(value.to_owned()),
            (None, Preset::Nothing | Preset::Derived(_)) => None,
        }
    }

    /// Parses the value; `None` if there is none or it is wrong.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse_value(name, &text, &why);
                None
            }
        }
    }

    /// Reads a number whose default is in the table.
    pub(super) fn number<T: TryFrom<u64, Error: Debug>>(&mut self, name: &str) -> T {
        let preset = match known(name).preset {
            Preset::Value(value) => value.parse().expect("the default of a number is a number"),
            Preset::Nothing | Preset::Derived(_) => panic!("{name} is a number without a default"),
        };
        self.number_or(name, preset)
    }

    /// Reads a number whose default depends on other settings.
    pub(super) fn number_or<T: TryFrom<u64, Error: Debug>>(
        &mut self,
        name: &str,
        preset: u64,
    ) -> T {
        let setting = known(name);
        let Allowed::Number { low, high, zero } = setting.allowed else {
            panic!("{name} is read as a number but is not one in the table");
        };
        let fits = |n: &u64| (low..=high).contains(n) || zero.is_some() && *n == 0;
        let parse = |text: &str| {
            if text == UNLIMITED && setting.allowed.is_limit() {
                return Ok(0);
            }
            // Digits only: `str::parse` would take a sign.
            let digits = text.bytes().all(|b| b.is_ascii_digit()).then_some(text);
            digits.and_then(|digits| digits.parse().ok()).filter(fits).ok_or_else(String::new)
        };
        let number = self.read(name, parse).unwrap_or(preset);
        T::try_from(number).expect("the range in the table fits the type")
    }

    /// Reads a setting that is one of the table's words.
    pub(super) fn word<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.read(name, |text| text.parse().map_err(|_| String::new()))
    }

    pub(super) fn secret(
        &mut self,
        name: &str,
        judge: impl FnOnce(&str) -> Parsed<()>,
    ) -> Option<SecretString> {
        self.read(name, |text| judge(text).map(|()| SecretString::from(text.to_owned())))
    }

    /// Records a mistake if a setting that this process needs is missing.
    pub(super) fn require(&mut self, name: &str, why: &str) {
        if !self.is_given(name) {
            self.refuse(name, &format!("it is not set, but {why}"));
        }
    }

    /// Records a mistake: what is wrong with the setting, where it was set, and what is allowed.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        let setting = known(name);
        self.wrong.insert(setting.name);
        let name = match self.origin(name) {
            Some(Origin::File(path)) => {
                format!("{name}, {} (in {})", setting.key(), path.display())
            }
            Some(Origin::SecretFile(path)) => {
                format!("{name}, by {name}_FILE ({})", path.display())
            }
            Some(Origin::Environment) | None => name.to_owned(),
        };
        let text = format!("{why}; it must be {}", setting.allowed);
        self.given.mistakes.push(Mistake { name, text });
    }

    fn refuse_value(&mut self, name: &str, text: &str, why: &str) {
        // A URL may contain a password or a token.
        let value = if known(name).secret || text.contains(['@', '?']) {
            "its value".to_owned()
        } else {
            let start: String = text.chars().take(60).collect();
            let rest = if start.len() < text.len() { "\u{2026}" } else { "" };
            format!("{:?}", start + rest)
        };
        let because = if why.is_empty() { String::new() } else { format!(", because {why}") };
        self.refuse(name, &format!("{value} is refused{because}"));
    }

    /// Records what deserves a line at start although it is allowed.
    pub(super) fn warn(&mut self, name: &str, text: impl Into<String>) {
        self.warnings.push(Warning { variable: known(name).name, text: text.into() });
    }

    /// Takes the warnings, in the order of reading.
    pub(super) fn warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes the mistakes: unknown names first, then in the order of the table.
    pub(super) fn mistakes(&mut self) -> Vec<Mistake> {
        let position = |mistake: &Mistake| {
            let name = mistake.name.split(',').next().unwrap_or_default();
            table::all().position(|setting| setting.name == name)
        };
        let mut mistakes = std::mem::take(&mut self.given.mistakes);
        mistakes.sort_by_key(position);
        mistakes
    }
}
