//! What the product says to a phone: texts with a code, calls, and the notice of a changed number.
//!
//! Each text fits one segment, by a check at start and not by hope ([`segments`]): a second segment doubles the bill.
//! A text has no digits but the code's and the minutes', so that phones and readers find the code, and nothing that a
//! user typed.

mod builtin;
mod folder;
mod locale;
pub mod segments;
mod wording;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use config;
use domain::code::Code;
use segments::{Size, measure};
pub use wording::Kind;
use wording::{Fill, Wording};

/// Digits of the longest code that can be configured (design, section 6).
const LONGEST_CODE: u8 = 10;
/// Minutes of the longest life of a code.
const LONGEST_MINUTES: i64 = 10;
/// Google's SMS Retriever reads no longer message
/// (developers.google.com/identity/sms-retriever/verify: "be no longer than 140 bytes"). Counted in UTF-8, which is
/// never fewer than what the network counts for a text of one segment of the default alphabet.
const RETRIEVER_BYTES: usize = 140;

/// The texts of all locales, checked.
#[derive(Clone, Debug)]
pub struct Texts {
    app: String,
    android_app_hash: Option<String>,
    webotp_domain: Option<String>,
    code_length: u8,
    /// By locale in lower case.
    locales: BTreeMap<String, Locale>,
}

#[derive(Clone, Debug)]
struct Locale {
    /// As it was written: `pt-BR`.
    tag: String,
    wordings: BTreeMap<Kind, Wording>,
}

/// A line of [`Texts::check`].
#[derive(Clone, Debug)]
pub struct Checked {
    pub locale: String,
    pub kind: Kind,
    /// At its longest: the configured name and lines, the longest code, ten minutes. `None` for what is said.
    pub size: Option<Size>,
    /// Whether it is sent: `short` is when `sms` would not fit, and the other way round.
    pub used: bool,
}

impl Texts {
    /// Loads the built-in texts and the operator's over them, and checks that each fits with a code of any length.
    ///
    /// # Errors
    /// Names the locale or file and the rule that is broken.
    pub fn load(config: &config::Texts) -> anyhow::Result<Self> {
        Self::load_for(config, LONGEST_CODE)
    }

    /// [`Texts::load`] for codes of a known length: texts have as much more room.
    pub fn load_for(config: &config::Texts, code_length: u8) -> anyhow::Result<Self> {
        let mut texts = Self {
            app: config.app_name.clone(),
            android_app_hash: config.android_app_hash.clone(),
            webotp_domain: config.webotp_domain.clone(),
            code_length,
            locales: BTreeMap::new(),
        };
        for text in &builtin::BUILTIN {
            let kinds = [
                (Kind::Sms, text.sms),
                (Kind::Short, text.short),
                (Kind::Voice, text.voice),
                (Kind::Changed, text.changed),
            ];
            for (kind, said) in kinds {
                let wording = Wording::parse(said, kind)
                    .with_context(|| format!("built-in text {}", text.locale))?;
                texts.keep(text.locale, kind, wording);
            }
        }
        if let Some(folder) = &config.texts_dir {
            let own = folder::read(folder)?;
            // An operator's own wording replaces the built-in short one too: what he had said must not come back in
            // other words because a domain is long.
            for (tag, _, _) in own.iter().filter(|(_, kind, _)| *kind == Kind::Sms) {
                if let Some(locale) = texts.locales.get_mut(&tag.to_ascii_lowercase()) {
                    locale.wordings.remove(&Kind::Short);
                }
            }
            for (tag, kind, wording) in own {
                texts.keep(&tag, kind, wording);
            }
        }
        for locale in texts.locales.values() {
            texts
                .check_locale(locale)
                .with_context(|| format!("texts of locale {}", locale.tag))?;
        }
        Ok(texts)
    }

    fn keep(&mut self, tag: &str, kind: Kind, wording: Wording) {
        let empty = || Locale { tag: tag.to_owned(), wordings: BTreeMap::new() };
        let locale = self.locales.entry(tag.to_ascii_lowercase()).or_insert_with(empty);
        locale.wordings.insert(kind, wording);
    }

    fn check_locale(&self, locale: &Locale) -> anyhow::Result<()> {
        let english = locale.tag.to_ascii_lowercase().split('-').next() == Some(locale::LAST);
        let codes =
            [Kind::Sms, Kind::Short].into_iter().filter_map(|kind| locale.wordings.get(&kind));
        for wording in codes.clone() {
            // iOS offers to fill the code in when it finds the word beside it.
            ensure!(!english || wording.says("code"), "an English text says \"code\"");
        }
        let longest = self.longest_code();
        let lined = |wording: &Wording| {
            self.with_lines(wording.fill(self.fill(&longest, LONGEST_MINUTES)), &longest)
        };
        let lined: Vec<String> = codes.map(lined).collect();
        if let Some(last) = lined.last() {
            ensure!(lined.iter().any(|text| self.fits(text)), "{}", self.too_long(last));
        }
        if let Some(changed) = locale.wordings.get(&Kind::Changed) {
            let text = changed.fill(self.fill("", 0));
            ensure!(
                measure(&text).segments == 1,
                "the notice of a changed number is over one segment: {}",
                units(&text)
            );
        }
        let names = locale.wordings.get(&Kind::Voice).is_some_and(Wording::names_the_app);
        ensure!(!self.app_has_digits() || !names, "{DIGITS_IN_NAME}");
        Ok(())
    }

    fn too_long(&self, text: &str) -> String {
        let lines = match (&self.android_app_hash, &self.webotp_domain) {
            (None, None) => "",
            (Some(_), None) => " with the line for LATCHKEY_ANDROID_APP_HASH",
            (None, Some(_)) => " with the line for LATCHKEY_WEBOTP_DOMAIN",
            (Some(_), Some(_)) => {
                " with the lines for LATCHKEY_ANDROID_APP_HASH and LATCHKEY_WEBOTP_DOMAIN"
            }
        };
        let bytes = if self.android_app_hash.is_some() {
            format!(", {} of {RETRIEVER_BYTES} bytes that Android reads", text.len())
        } else {
            String::new()
        };
        format!("the text with a code is too long{lines}: {}{bytes}", units(text))
    }

    /// The text with a code, for a reader of `locale`. The full wording where it fits, else the short one.
    pub fn code(&self, code: &Code, locale: Option<&str>, ttl_secs: i64) -> String {
        // Rounded down: a reader must not be told of time that he has not.
        let said = self.fill(code.expose(), (ttl_secs / 60).max(1));
        let (locale, sms) = self.find(locale, Kind::Sms);
        let full = self.with_lines(sms.fill(said), code.expose());
        match locale.wordings.get(&Kind::Short) {
            Some(short) if !self.fits(&full) => self.with_lines(short.fill(said), code.expose()),
            _ => full,
        }
    }

    /// What a call says: `[tag] sentence`, the digits one by one and twice. [`Spoken::read`] takes it apart.
    pub fn voice(&self, code: &Code, locale: Option<&str>) -> String {
        let (locale, voice) = self.find(locale, Kind::Voice);
        format!(
            "[{}] {}",
            locale::without_digits(&locale.tag),
            voice.fill(self.fill(code.expose(), 0))
        )
    }

    /// The notice to the old number. Names neither number.
    pub fn phone_changed(&self, locale: Option<&str>) -> String {
        self.find(locale, Kind::Changed).1.fill(self.fill("", 0))
    }

    /// Every text with its size at its longest.
    pub fn check(&self) -> Vec<Checked> {
        let longest = self.longest_code();
        let mut lines = Vec::new();
        for locale in self.locales.values() {
            let mut full_fits = false;
            for (&kind, wording) in &locale.wordings {
                let filled = wording.fill(self.fill(&longest, LONGEST_MINUTES));
                let (text, used) = match kind {
                    Kind::Voice => (None, true),
                    Kind::Changed => (Some(filled), true),
                    Kind::Sms => {
                        let text = self.with_lines(filled, &longest);
                        full_fits = self.fits(&text);
                        (Some(text), full_fits)
                    }
                    Kind::Short => (Some(self.with_lines(filled, &longest)), !full_fits),
                };
                let size = text.as_deref().map(measure);
                lines.push(Checked { locale: locale.tag.clone(), kind, size, used });
            }
        }
        lines
    }

    /// The wording of this kind for a reader of the locale: the nearest in the chain of RFC 4647, else any of the same
    /// language (`pt` reads pt-BR), else English.
    fn find(&self, tag: Option<&str>, kind: Kind) -> (&Locale, &Wording) {
        let of = |locale: &str| -> Option<(&Locale, &Wording)> {
            let locale = self.locales.get(locale)?;
            Some((locale, locale.wordings.get(&kind)?))
        };
        let chain = tag.map(locale::chain).unwrap_or_default();
        let same_language = || {
            let start = format!("{}-", chain.last()?);
            self.locales.keys().filter(|tag| tag.starts_with(&start)).find_map(|tag| of(tag))
        };
        chain
            .iter()
            .find_map(|tag| of(tag))
            .or_else(same_language)
            .or_else(|| of(locale::LAST))
            .expect("English is built in, all kinds of it")
    }

    fn fill<'a>(&'a self, code: &'a str, minutes: i64) -> Fill<'a> {
        Fill { app: &self.app, code, minutes }
    }

    /// The lines that phones read. `@domain #code` is the last by its standard (origin-bound one-time codes), so the hash
    /// stands before it: Android looks for it anywhere in the message. There is one text for both, since an ask does
    /// not tell what kind of phone it is for.
    fn with_lines(&self, mut text: String, code: &str) -> String {
        if let Some(hash) = &self.android_app_hash {
            text.push('\n');
            text.push_str(hash);
        }
        if let Some(domain) = &self.webotp_domain {
            text.extend([
                "
@", domain, " #", code,
            ]);
        }
        text
    }

    fn fits(&self, text: &str) -> bool {
        measure(text).segments == 1
            && (self.android_app_hash.is_none() || text.len() <= RETRIEVER_BYTES)
    }

    fn longest_code(&self) -> String {
        "8".repeat(usize::from(self.code_length))
    }

    fn app_has_digits(&self) -> bool {
        self.app.chars().any(char::is_numeric)
    }
}

const DIGITS_IN_NAME: &str = "{app} cannot stand in a call while LATCHKEY_APP_NAME has digits: they would be taken for the code's";

fn units(text: &str) -> String {
    let size = measure(text);
    format!("{} of {} units of {}", size.units, size.encoding.single(), size.encoding.as_str())
}

/// A call's text, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<'a> {
    /// BCP 47, without digits; `None` when the text carries none.
    pub language: Option<&'a str>,
    /// Says the code twice already, digit by digit.
    pub text: &'a str,
}

impl<'a> Spoken<'a> {
    /// Takes what [`Texts::voice`] made apart; any other text is spoken as it is.
    pub fn read(text: &'a str) -> Self {
        let tagged = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        match tagged {
            Some((tag, said)) if locale::is_tag(tag) => Self { language: Some(tag), text: said },
            _ => Self { language: None, text },
        }
    }
}

#[cfg(test)]
mod tests;
