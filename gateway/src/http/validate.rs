//! Rules for single fields.

use std::collections::BTreeSet;

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, Script};
use icu_properties::{CodePointMapData, CodePointSetData};
use oxilangtag::LanguageTag;
use passwords::rules::Weakness;

/// Why a field's value is not accepted: a stable code, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub detail: String,
}

impl Fault {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<Weakness> for Fault {
    fn from(Weakness { code, detail }: Weakness) -> Self {
        Self { code, detail }
    }
}

/// Longest name, in characters (contract, ruling 12).
const NAME_MAX: usize = 100;

/// Checks a first or last name: 1 to 100 characters, not only spaces, no control, line separator, bidi or invisible
/// characters.
///
/// A character that changes the direction of text could make a name overwrite the text around it in the console or in
/// an email. One that shows nothing could make a name that looks empty, or like another one.
pub fn name(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("required", "A name must not be empty or blank."));
    }
    if text.chars().count() > NAME_MAX {
        return Err(Fault::new(
            "too_long",
            format!("A name must have at most {NAME_MAX} characters."),
        ));
    }
    let chars: Vec<char> = text.chars().collect();
    if (0..chars.len()).any(|at| is_deceptive(&chars, at)) {
        return Err(Fault::new(
            "invalid_characters",
            "Remove control characters, line separators, text direction marks and invisible characters.",
        ));
    }
    Ok(())
}

/// Returns a text as it may be shown on a terminal: with U+FFFD for every character that no name may have. Whoever wrote
/// the text can then neither move the cursor nor make a line look like another one.
pub fn visible(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let shown = |(at, &c)| if is_deceptive(&chars, at) { char::REPLACEMENT_CHARACTER } else { c };
    chars.iter().enumerate().map(shown).collect()
}

/// How a formula begins, also in the full-width forms that some spreadsheets read alike (OWASP, CSV injection).
const FORMULA: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Returns a text as a cell of a table may hold it: with an apostrophe before one that a spreadsheet would run as a formula.
pub fn no_formula(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

/// Whether the character at this place controls a terminal, changes the direction or the lines of text, or shows
/// nothing.
fn is_deceptive(chars: &[char], at: usize) -> bool {
    let c = chars[at];
    c.is_control()
        || is_bidi(c)
        || matches!(c, '\u{2028}' | '\u{2029}')
        || BLANK.contains(&c)
        || is_ignorable(chars, at)
}

/// Symbols by their properties, which show nothing or stand for something else: the braille pattern without dots, the
/// object replacement character, the musical null notehead.
const BLANK: [char; 3] = ['\u{2800}', '\u{fffc}', '\u{1d159}'];

/// The scripts whose words are written with joiners: Persian separates letters by U+200C, and Indic scripts choose the
/// form of a cluster by either (Unicode, section 23.2).
const JOINED: [Script; 16] = [
    Script::Arabic,
    Script::Syriac,
    Script::Nko,
    Script::Mongolian,
    Script::Devanagari,
    Script::Bengali,
    Script::Gurmukhi,
    Script::Gujarati,
    Script::Oriya,
    Script::Tamil,
    Script::Telugu,
    Script::Kannada,
    Script::Malayalam,
    Script::Sinhala,
    Script::Khmer,
    Script::Myanmar,
];

/// Whether the character at this place is of Unicode's `Default_Ignorable_Code_Point` and shows nothing where it stands,
/// or a format character (`General_Category` Cf), such as those of interlinear annotations.
/// Allowed are a joiner between two characters of one of the [`JOINED`] scripts, and an ideographic variation selector
/// after an ideograph: some Japanese names are registered with one.
fn is_ignorable(chars: &[char], at: usize) -> bool {
    let c = chars[at];
    let is_refused = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Format;
    if !is_refused {
        return false;
    }
    let script = CodePointMapData::<Script>::new();
    let of = |at: Option<usize>| at.and_then(|at| chars.get(at)).map(|&c| script.get(c));
    let (before, after) = (of(at.checked_sub(1)), of(Some(at + 1)));
    !match c {
        '\u{200c}' | '\u{200d}' => {
            before == after && before.is_some_and(|script| JOINED.contains(&script))
        }
        '\u{e0100}'..='\u{e01ef}' => before == Some(Script::Han),
        _ => false,
    }
}

/// Unicode's `Bidi_Control` characters.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks a code: exactly `length` ASCII digits (contract, ruling 5). Nothing is trimmed.
pub(crate) fn one_time_code(text: &str, length: usize) -> Result<(), Fault> {
    if text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(Fault::new(
            "invalid",
            format!("Send the code as a string of exactly {length} digits 0 to 9."),
        ))
    }
}

/// Longest language tag: the length for which every store must have room (RFC 5646, section 4.4.1).
const LOCALE_MAX: usize = 35;

/// Checks that a text is a well-formed BCP 47 language tag (RFC 5646, section 2.1), such as `de`, `zh-Hant-TW` or
/// `sl-rozaj-1994`.
///
/// The grandfathered tags of another form, such as `i-klingon`, are not the locale of any phone and are refused, as is
/// `en_US`.
pub fn locale(text: &str) -> Result<(), Fault> {
    if text.len() <= LOCALE_MAX && is_language_tag(text) {
        Ok(())
    } else {
        Err(Fault::new("not_a_locale", "Send a BCP 47 language tag, such as en or pt-BR."))
    }
}

/// Whether the tag has the form of RFC 5646, section 2.1, and no variant or extension twice (section 2.2.9).
fn is_language_tag(text: &str) -> bool {
    LanguageTag::parse(text).is_ok_and(|tag| {
        let extensions =
            tag.extension_subtags().map(|(singleton, _)| singleton.to_ascii_lowercase());
        are_unique(tag.variant_subtags().map(str::to_ascii_lowercase))
            && are_unique(extensions)
            && !is_irregular(text)
    })
}

/// Whether it is a grandfathered tag that does not have the form of the others (RFC 5646, `irregular`).
fn is_irregular(tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    tag.starts_with("i-") || matches!(&*tag, "en-gb-oed" | "sgn-be-fr" | "sgn-be-nl" | "sgn-ch-de")
}

fn are_unique<T: Ord>(mut subtags: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    subtags.all(|subtag| seen.insert(subtag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_accepted_as_they_are() {
        let (latin, accented) = ("x".repeat(100), "é".repeat(100));
        for text in ["A", "O’Brien", "علی‌رضا", "李小龍", "Jean Luc", "<b>", "🚀", &latin, &accented]
        {
            assert_eq!(name(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn f29_names_have_no_invisible_characters() {
        let (zwnj, zwj) = ('\u{200c}', '\u{200d}');
        for text in [
            format!("علی{zwnj}رضا"),
            format!("क्{zwj}ष"),
            format!("ශ්{zwj}රී"),
            "\u{9089}\u{e0100}".to_owned(),
        ] {
            assert_eq!(name(&text), Ok(()), "{text:?}");
        }
        for text in [
            "\u{200b}".to_owned(),
            "A\u{200b}da".to_owned(),
            "\u{3164}".to_owned(),
            "\u{2800}".to_owned(),
            "\u{feff}Ada".to_owned(),
            "Ada\u{ad}".to_owned(),
            "Ada\u{e0041}".to_owned(),
            "Ada\u{fe0f}".to_owned(),
            "\u{115f}\u{1160}".to_owned(),
            "Ada\u{180e}".to_owned(),
            "Ada\u{e0100}".to_owned(),
            "Ada\u{fff9}b\u{fffa}".to_owned(),
            "Ada\u{fffb}".to_owned(),
            "\u{fffc}".to_owned(),
            "\u{1d159}".to_owned(),
            "\u{13430}".to_owned(),
            "\u{6dd}".to_owned(),
            "\u{9089}\u{e0100}\u{e0101}".to_owned(),
            format!("A{zwj}da"),
            format!("{zwnj}"),
            format!("{zwnj}علی"),
            format!("علی{zwnj}"),
            format!("عل{zwnj}{zwnj}ی"),
            format!("ع{zwnj}A"),
            format!("👩{zwj}🚀"),
        ] {
            assert!(name(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn f29_a_text_is_shown_without_what_controls_a_terminal() {
        let zwnj = '\u{200c}';
        for (text, wanted) in [
            ("Ada Lovelace", "Ada Lovelace".to_owned()),
            (&format!("علی{zwnj}رضا"), format!("علی{zwnj}رضا")),
            ("\u{1b}]0;owned\u{7}\u{1b}[2K", "\u{fffd}]0;owned\u{fffd}\u{fffd}[2K".to_owned()),
            ("a\nfake-row\r\tb", "a\u{fffd}fake-row\u{fffd}\u{fffd}b".to_owned()),
            ("\u{9b}31m", "\u{fffd}31m".to_owned()),
            ("sy\u{200b}stem\u{202e}", "sy\u{fffd}stem\u{fffd}".to_owned()),
            ("a\u{2028}b\u{2800}", "a\u{fffd}b\u{fffd}".to_owned()),
        ] {
            assert_eq!(visible(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn controls_bidi_marks_and_wrong_lengths_are_refused() {
        let long = "x".repeat(101);
        for (text, code) in [
            ("", "required"),
            (" \u{a0}", "required"),
            (long.as_str(), "too_long"),
            ("a\0", "invalid_characters"),
            ("a\nb", "invalid_characters"),
            ("a\u{7f}", "invalid_characters"),
            ("a\u{85}", "invalid_characters"),
            ("a\u{202e}b", "invalid_characters"),
            ("a\u{200f}", "invalid_characters"),
            ("a\u{2066}b\u{2069}", "invalid_characters"),
            ("a\u{61c}", "invalid_characters"),
            ("a\u{2028}b", "invalid_characters"),
        ] {
            assert_eq!(name(text).unwrap_err().code, code, "{text:?}");
        }
    }

    #[test]
    fn a_code_is_exactly_its_digits() {
        assert_eq!(one_time_code("012345", 6), Ok(()));
        for text in [
            "",
            "12345",
            "1234567",
            "12345 ",
            " 12345",
            "12345a",
            "１２３４５６",
            "١٢٣٤٥٦",
            "-12345",
            "+12345",
        ] {
            assert!(one_time_code(text, 6).is_err(), "{text}");
        }
    }

    #[test]
    fn well_formed_language_tags_are_accepted() {
        for tag in [
            "en",
            "de",
            "EN",
            "pt-BR",
            "zh-Hant-TW",
            "es-419",
            "sr-Latn",
            "sl-rozaj",
            "de-CH-1901",
            "de-1996",
            "sl-IT-nedis",
            "zh-yue-Hant",
            "zh-cmn-Hans-CN",
            "en-US-u-hc-h12",
            "de-a-foo-b-bar",
            "x-whatever",
            "en-x-twain",
            "hy-Latn-IT-arevela",
            "haw",
            "fil-PH",
            "qaa-Qaaa-QM",
            "en-a-bbb-x-a-ccc",
            "de-1901-1996",
            "en-1-aa-2-aa",
            "X-1",
            "sgn-US",
            "art-lojban",
            "no-bok",
            "zh-min-nan",
        ] {
            assert_eq!(locale(tag), Ok(()), "{tag}");
        }
    }

    #[test]
    fn other_texts_are_not_a_locale() {
        for tag in [
            "",
            "e",
            "en_US",
            "en-",
            "-en",
            "en--US",
            "en US",
            "en-US ",
            "e1",
            "1en",
            "en-u",
            "x",
            "en-x",
            "abcdefghi",
            "de-419-DE",
            "a-DE",
            "en-a-bbb-a-ccc",
            "de-1901-1901",
            "sl-rozaj-ROZAJ",
            "en-A-bbb-a-ccc",
            "en-GB-oed",
            "i-klingon",
            "I-DEFAULT",
            "sgn-BE-FR",
            "sgn-ch-DE",
            "en-US-GB",
            "en.UTF-8",
            "C",
            "éé",
            "zh-aaa-bbb-ccc-ddd",
            "en-averyveryverylongsubtag",
            "../../etc",
            "en-a-aaaaaaaa-b-bbbbbbbb-c-cccccccc-dd",
        ] {
            assert_eq!(locale(tag).unwrap_err().code, "not_a_locale", "{tag}");
        }
    }
}
