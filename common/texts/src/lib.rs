//! What Latchkey sends to a phone: messages with a code, calls, and notices of changes to the account.
//!
//! Owns the wordings and their check. Must never know who sends a message, or to whom.
//!
//! Each message fits one segment; a check at start guarantees it ([`segments`]). A second segment doubles the price.
//! The only digits in a message are the code and the minutes, so that phones and readers find the code. A message
//! contains nothing that a user typed.

mod builtin;
mod folder;
mod locale;
pub mod segments;
mod wording;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use domain::code::Code;
use domain::speech::SpeechText;
use segments::{Size, measure};
pub use wording::Kind;
use wording::{Fill, Wording};

/// The maximum lifetime of a code, in minutes.
const LONGEST_MINUTES: i64 = 10;
/// The longest message that Google's SMS Retriever reads
/// (developers.google.com/identity/sms-retriever/verify: "be no longer than 140 bytes"). Counted in UTF-8, which never
/// counts fewer bytes than the network does for one segment in the default alphabet.
const RETRIEVER_BYTES: usize = 140;

/// The validated wordings of all locales.
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
    /// The original spelling: `pt-BR`.
    tag: String,
    wordings: BTreeMap<Kind, Wording>,
}

/// What an account's owner is told of (contract, ruling 38).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Its number was changed; told to the old one.
    PhoneChanged,
    /// Its password was set, changed or removed.
    PasswordChanged,
    AccountDeleted,
    /// Sign-in is locked after failures in a row.
    SignInLocked,
}

const NOTICES: [Notice; 4] =
    [Notice::PhoneChanged, Notice::PasswordChanged, Notice::AccountDeleted, Notice::SignInLocked];

impl Notice {
    const fn kind(self) -> Kind {
        match self {
            Self::PhoneChanged => Kind::Changed,
            Self::PasswordChanged => Kind::Password,
            Self::AccountDeleted => Kind::Deleted,
            Self::SignInLocked => Kind::Locked,
        }
    }
}

/// A line of [`Texts::check`].
#[derive(Clone, Debug)]
pub struct Checked {
    pub locale: String,
    pub kind: Kind,
    /// The maximum size: the configured name and lines, the longest code, ten minutes. `None` for a call.
    pub size: Option<Size>,
    /// Whether it is sent: `short` is used if `sms` does not fit, and only then.
    pub used: bool,
}

impl Texts {
    /// Loads the built-in wordings, overrides them with the operator's, and checks that each fits with a code of this
    /// length: shorter codes leave more room for words.
    ///
    /// # Errors
    /// Names the locale or file and the broken rule.
    pub fn load(config: &config::Texts, code_length: u8) -> anyhow::Result<Self> {
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
                (Kind::Password, text.password),
                (Kind::Deleted, text.deleted),
                (Kind::Locked, text.locked),
            ];
            for (kind, said) in kinds {
                let wording = Wording::parse(said, kind)
                    .with_context(|| format!("built-in wording {}", text.locale))?;
                texts.keep(text.locale, kind, wording);
            }
        }
        if let Some(folder) = &config.texts_dir {
            let own = folder::read(folder)?;
            // An operator's own wording also replaces the built-in short one: the operator's words must not be
            // replaced by others because a domain is long.
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
            // iOS offers to fill in the code if it finds this word beside it.
            ensure!(!english || wording.says("code"), "an English wording says \"code\"");
        }
        let longest = self.longest_code();
        let lined = |wording: &Wording| {
            self.with_lines(wording.fill(self.fill(&longest, LONGEST_MINUTES)), &longest)
        };
        let lined: Vec<String> = codes.map(lined).collect();
        if let Some(last) = lined.last() {
            ensure!(lined.iter().any(|text| self.fits(text)), "{}", self.too_long(last));
        }
        for notice in NOTICES {
            let Some(wording) = locale.wordings.get(&notice.kind()) else { continue };
            let text = wording.fill(self.fill("", 0));
            ensure!(
                measure(&text).segments == 1,
                "the notice of the kind {} does not fit one segment: {}",
                notice.kind(),
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
        format!("the message with a code is too long{lines}: {}{bytes}", units(text))
    }

    /// Returns the message with a code for a reader of `locale`: the full wording if it fits, otherwise the short one.
    pub fn code(&self, code: &Code, locale: Option<&str>, ttl_secs: i64) -> String {
        // Rounded down: the message must not promise more time than there is.
        let said = self.fill(code.expose(), (ttl_secs / 60).max(1));
        let (locale, sms) = self.find(locale, Kind::Sms);
        let full = self.with_lines(sms.fill(said), code.expose());
        match locale.wordings.get(&Kind::Short) {
            Some(short) if !self.fits(&full) => self.with_lines(short.fill(said), code.expose()),
            _ => full,
        }
    }

    /// Returns the text of a call: `[tag] sentence`, with the digits one by one, twice. [`SpeechText::read`] splits it.
    pub fn voice(&self, code: &Code, locale: Option<&str>) -> String {
        let (locale, voice) = self.find(locale, Kind::Voice);
        let text = voice.fill(self.fill(code.expose(), 0));
        let language = Some(locale::without_digits(&locale.tag));
        SpeechText { language, text: &text }.to_string()
    }

    /// Returns a notice to the owner of an account. It contains no number and no link.
    pub fn notice(&self, notice: Notice, locale: Option<&str>) -> String {
        self.find(locale, notice.kind()).1.fill(self.fill("", 0))
    }

    /// Returns every wording with its maximum size.
    pub fn check(&self) -> Vec<Checked> {
        let longest = self.longest_code();
        let mut lines = Vec::new();
        for locale in self.locales.values() {
            let mut full_fits = false;
            for (&kind, wording) in &locale.wordings {
                let filled = wording.fill(self.fill(&longest, LONGEST_MINUTES));
                let (text, used) = match kind {
                    Kind::Voice => (None, true),
                    Kind::Changed | Kind::Password | Kind::Deleted | Kind::Locked => {
                        (Some(filled), true)
                    }
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

    /// Finds the wording of this kind for a locale: the nearest in the RFC 4647 chain, else any of the same language
    /// (`pt` finds pt-BR), else English.
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
            .expect("all kinds of wordings are built in for English")
    }

    fn fill<'a>(&'a self, code: &'a str, minutes: i64) -> Fill<'a> {
        Fill { app: &self.app, code, minutes }
    }

    /// Adds the lines that phones read. The standard (origin-bound one-time codes) requires `@domain #code` to be last,
    /// so the hash precedes it: Android finds it anywhere in the message. One message serves both, since a code request
    /// does not say what kind of phone it is for.
    fn with_lines(&self, mut text: String, code: &str) -> String {
        if let Some(hash) = &self.android_app_hash {
            text.push('\n');
            text.push_str(hash);
        }
        if let Some(domain) = &self.webotp_domain {
            text.extend(["\n@", domain, " #", code]);
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

const DIGITS_IN_NAME: &str = "{app} is not allowed in a voice wording while LATCHKEY_APP_NAME has digits: they would be mistaken for the code";

fn units(text: &str) -> String {
    let size = measure(text);
    format!("{} of {} units of {}", size.units, size.encoding.single(), size.encoding.as_str())
}

#[cfg(test)]
mod tests;
