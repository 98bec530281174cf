//! Reads settings as the table says and gathers what is wrong with them.

use std::collections::BTreeSet;
use std::fmt::Debug;

use secrecy::SecretString;

use super::error::Mistake;
use super::parse::Parsed;
use super::source::{Given, Origin};
use super::table::{self, Allowed, Preset, Setting};

/// Goes on after a mistake with the preset, so that one start tells all of them.
pub(super) struct Reader {
    given: Given,
    wrong: BTreeSet<&'static str>,
}

fn known(name: &str) -> &'static Setting {
    table::find(name).expect("every setting that is read stands in the table")
}

impl Reader {
    pub(super) fn new(given: Given) -> Self {
        Self { given, wrong: BTreeSet::new() }
    }

    /// Whether somebody gave a value, right or wrong.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.value(known(name).name).is_some()
    }

    /// Whether its value was refused.
    pub(super) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(name)
    }

    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.value(name).map(|(_, origin)| origin)
    }

    /// What was given, or the preset. Spaces around it are nobody's intent, but in a secret every byte counts.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let setting = known(name);
        match (self.given.value(name), setting.preset) {
            (Some((value, _)), _) if setting.secret => Some(value.to_owned()),
            (Some((value, _)), _) => Some(value.trim().to_owned()),
            (None, Preset::Value(value)) => Some(value.to_owned()),
            (None, Preset::Nothing | Preset::Told(_)) => None,
        }
    }

    /// The value as `parse` reads it; `None` when there is none or it is wrong.
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

    pub(super) fn number<T: TryFrom<u64, Error: Debug>>(&mut self, name: &str) -> T {
        let setting = known(name);
        let Allowed::Number { low, high, zero } = setting.allowed else {
            panic!("{name} is read as a number, but the table has it otherwise");
        };
        let fits = |n: &u64| (low..=high).contains(n) || zero.is_some() && *n == 0;
        let parse = |text: &str| {
            // Digits only: `str::parse` would take a sign.
            let digits = text.bytes().all(|b| b.is_ascii_digit()).then_some(text);
            digits.and_then(|digits| digits.parse().ok()).filter(fits).ok_or_else(String::new)
        };
        let preset = || match setting.preset {
            Preset::Value(value) => value.parse().expect("the preset of a number is one"),
            Preset::Nothing | Preset::Told(_) => panic!("{name} is a number without a preset"),
        };
        let number = self.read(name, parse).unwrap_or_else(preset);
        T::try_from(number).expect("the table's range fits the type that it is read as")
    }

    /// The meaning of one of the table's words.
    pub(super) fn word<T: Copy>(&mut self, name: &str, meanings: &[(&str, T)]) -> Option<T> {
        self.read(name, |text| {
            let meaning = meanings.iter().find(|(word, _)| *word == text);
            meaning.map(|(_, meaning)| *meaning).ok_or_else(String::new)
        })
    }

    pub(super) fn secret(
        &mut self,
        name: &str,
        judge: impl FnOnce(&str) -> Parsed<()>,
    ) -> Option<SecretString> {
        self.read(name, |text| judge(text).map(|()| SecretString::from(text.to_owned())))
    }

    /// A setting is missing that this start cannot do without.
    pub(super) fn require(&mut self, name: &str, why: &str) {
        if !self.is_given(name) {
            self.refuse(name, &format!("it is not set, but {why}"));
        }
    }

    /// Tells what is wrong with a setting, where it was set, and what it may be.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        let setting = known(name);
        self.wrong.insert(setting.name);
        let name = match self.origin(name) {
            Some(Origin::File(path)) => {
                format!("{name}, {} (in {})", setting.key(), path.display())
            }
            Some(Origin::Environment) | None => name.to_owned(),
        };
        let text = format!("{why}; it must be {}", setting.allowed);
        self.given.mistakes.push(Mistake { name, text });
    }

    fn refuse_value(&mut self, name: &str, text: &str, why: &str) {
        // An address may carry a password or a token where none belongs.
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

    /// What is wrong, in the order of the table, and the names that are no settings first.
    pub(super) fn mistakes(&mut self) -> Vec<Mistake> {
        let place = |mistake: &Mistake| {
            let name = mistake.name.split(',').next().unwrap_or_default();
            table::all().position(|setting| setting.name == name)
        };
        let mut mistakes = std::mem::take(&mut self.given.mistakes);
        mistakes.sort_by_key(place);
        mistakes
    }
}
