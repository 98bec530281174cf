//! The text of a call, as an event carries it: `[tag] sentence`. otp-worker writes it and sms-worker reads it.

use std::fmt;

/// A sentence to speak, and the language that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechText<'a> {
    /// A BCP 47 tag without digits; `None` if the text has none.
    pub language: Option<&'a str>,
    /// Already says the code twice, digit by digit.
    pub text: &'a str,
}

impl<'a> SpeechText<'a> {
    /// Splits a text that was written with [`fmt::Display`]; any other text is spoken unchanged.
    pub fn read(text: &'a str) -> Self {
        let tagged = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        match tagged {
            Some((tag, said)) if is_tag(tag) => Self { language: Some(tag), text: said },
            _ => Self { language: None, text },
        }
    }
}

impl fmt::Display for SpeechText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.language {
            Some(tag) => write!(f, "[{tag}] {}", self.text),
            None => f.write_str(self.text),
        }
    }
}

/// Returns whether this is a BCP 47 tag of a language: subtags of letters and digits, the first only letters.
pub fn is_tag(tag: &str) -> bool {
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let language = tag.split('-').next().unwrap_or_default();
    (2..=8).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && tag.len() <= 35
        && tag.split('-').all(subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_for_a_call_names_its_language_and_any_other_is_spoken_unchanged() {
        let spoken = SpeechText { language: Some("pt-BR"), text: "Diga: 1, 2." };
        assert_eq!(SpeechText::read(&spoken.to_string()), spoken);
        for text in ["Hello.", "[not a tag] x", "[de]x"] {
            assert_eq!(SpeechText::read(text), SpeechText { language: None, text });
        }
    }

    #[test]
    fn only_a_language_tag_is_a_tag() {
        assert!(["en", "pt-BR", "zh-Hant-TW", "es-419"].into_iter().all(is_tag));
        assert!(
            !["", "e", "en_US", "4n", "en-", "-en", "en-toolongsubtag", "../en"]
                .into_iter()
                .any(is_tag)
        );
    }
}
