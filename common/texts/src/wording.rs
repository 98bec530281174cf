//! A sentence with placeholders. The values come from Latchkey, never from a user.

use anyhow::{Context as _, bail, ensure};
use domain::string_enum;

string_enum! {
    /// The purpose of a wording; each kind has its own rules.
    #[derive(PartialOrd, Ord)]
    pub enum Kind {
        /// The message with the code.
        Sms = "sms",
        /// The shortest form, used if the full wording and the lines for the phone do not fit one segment.
        Short = "short",
        /// The text of a call.
        Voice = "voice",
        /// The notice to the old number after a change of phone.
        Changed = "changed",
        /// The notice that a password was set, changed or removed.
        Password = "password",
        /// The notice that the account was deleted.
        Deleted = "deleted",
        /// The notice that sign-in is locked.
        Locked = "locked",
    }
}

string_enum! {
    enum Placeholder {
        App = "app",
        Code = "code",
        Minutes = "minutes",
        /// The code, digit by digit.
        Digits = "digits",
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Said(String),
    Placeholder(Placeholder),
}

/// A validated sentence.
#[derive(Clone, Debug)]
pub(super) struct Wording {
    pieces: Vec<Piece>,
    right_to_left: bool,
}

/// The values of the placeholders.
#[derive(Clone, Copy, Default)]
pub(super) struct Fill<'a> {
    pub(super) app: &'a str,
    pub(super) code: &'a str,
    pub(super) minutes: i64,
}

/// Longer than any call should be, and far longer than a segment.
const MAX_CHARS: usize = 500;

impl Wording {
    /// # Errors
    /// Names the broken rule.
    pub(super) fn parse(text: &str, kind: Kind) -> anyhow::Result<Self> {
        ensure!(!text.trim().is_empty(), "it is empty");
        ensure!(text.chars().count() <= MAX_CHARS, "it has more than {MAX_CHARS} characters");
        ensure!(
            !text.chars().any(char::is_control),
            "it has a control character; a wording is one line"
        );
        ensure!(
            !text.chars().any(reorders),
            "it has bidirectional control characters; codes and names are isolated automatically"
        );
        // Readers and phones could mistake a second number for the code.
        ensure!(!text.chars().any(char::is_numeric), "it has a digit outside the placeholders");
        let wording =
            Self { pieces: pieces(text)?, right_to_left: text.chars().any(is_right_to_left) };
        wording.check_placeholders(kind)?;
        Ok(wording)
    }

    fn check_placeholders(&self, kind: Kind) -> anyhow::Result<()> {
        // (minimum, maximum) of {app}, {code}, {minutes}, {digits}
        let allowed = match kind {
            Kind::Sms | Kind::Short => [(0, 1), (1, 1), (0, 1), (0, 0)],
            Kind::Voice => [(0, 1), (0, 0), (0, 0), (2, 2)],
            Kind::Changed | Kind::Password | Kind::Deleted | Kind::Locked => {
                [(0, 1), (0, 0), (0, 0), (0, 0)]
            }
        };
        for (name, (least, most)) in Placeholder::ALL.into_iter().zip(allowed) {
            let count = self.count(name);
            match (least, most) {
                _ if (least..=most).contains(&count) => {}
                (_, 0) => bail!("{{{name}}} is not allowed in a {} wording", kind.as_str()),
                (0, most) => bail!("it has {{{name}}} {count} times; the maximum is {most}"),
                (least, _) => bail!("it has {{{name}}} {count} times instead of {least}"),
            }
        }
        Ok(())
    }

    fn count(&self, placeholder: Placeholder) -> usize {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Placeholder(p) if *p == placeholder))
            .count()
    }

    pub(super) fn names_the_app(&self) -> bool {
        self.count(Placeholder::App) > 0
    }

    pub(super) fn says(&self, word: &str) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Said(text) if text.to_lowercase().contains(word)))
    }

    pub(super) fn fill(&self, fill: Fill<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Said(said) => text.push_str(said),
                Piece::Placeholder(Placeholder::App) => self.push_isolated(&mut text, fill.app),
                Piece::Placeholder(Placeholder::Code) => self.push_isolated(&mut text, fill.code),
                Piece::Placeholder(Placeholder::Minutes) => {
                    text.push_str(&fill.minutes.to_string());
                }
                Piece::Placeholder(Placeholder::Digits) => {
                    let digits: Vec<_> = fill.code.chars().map(String::from).collect();
                    // Commas make the voice pause and keep it from reading the digits as one number.
                    text.push_str(&digits.join(", "));
                }
            }
        }
        text
    }

    /// Between right-to-left words, a Latin name next to a code would be laid out as one run and swap positions.
    /// Isolates (Unicode UAX #9, LRI and PDI) keep each in its position in the sentence.
    fn push_isolated(&self, text: &mut String, value: &str) {
        if self.right_to_left {
            text.push('\u{2066}');
            text.push_str(value);
            text.push('\u{2069}');
        } else {
            text.push_str(value);
        }
    }
}

fn pieces(text: &str) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (said, placeholder) = rest.split_at(at);
        let placeholder = placeholder.strip_prefix('{').context("it has } without {")?;
        let (name, after) = placeholder.split_once('}').context("it has { without }")?;
        let Ok(placeholder) = name.parse() else {
            bail!(
                "{{{name}}} is not known; the placeholders are {{app}}, {{code}}, {{minutes}} and {{digits}}"
            )
        };
        if !said.is_empty() {
            pieces.push(Piece::Said(said.to_owned()));
        }
        pieces.push(Piece::Placeholder(placeholder));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Said(rest.to_owned()));
    }
    Ok(pieces)
}

/// Hebrew, Arabic, Syriac, Thaana, N'Ko and the presentation forms: the blocks of Unicode's right-to-left letters.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
