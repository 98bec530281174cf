//! The accepted spellings of a number. Stricter than the numbering library, which would accept letters, extensions,
//! `tel:` URIs and non-ASCII digits.

/// The maximum length of an input (contract, section 3).
const MAX_BYTES: usize = 32;

/// An input without its separators.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// `+` and digits.
    International(String),
    /// Digits without a calling code.
    National(String),
}

impl Writing {
    pub(super) fn of(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let text = text.trim_start_matches(' ');
        let (plus, rest) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let plain = rest
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'(' | b')' | b'-' | b'.' | b'/' | b' '));
        if !plain {
            return None;
        }
        let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
        match (plus, digits.strip_prefix("00")) {
            _ if digits.is_empty() => None,
            (true, _) => Some(Self::International(format!("+{digits}"))),
            (false, Some(rest)) => Some(Self::International(format!("+{rest}"))),
            (false, None) => Some(Self::National(digits)),
        }
    }
}

/// Returns whether `text` is `+` and 7 to 15 digits (ITU-T E.164; the lower bound is from the contract, ruling 8).
pub(super) fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_removed_and_both_international_prefixes_are_equal() {
        for text in ["+1 (415) 555-2671", " +1.415.555/2671", "001 415 555 2671", "+14155552671 "] {
            assert_eq!(
                Writing::of(text),
                Some(Writing::International("+14155552671".into())),
                "{text:?}"
            );
        }
        assert_eq!(Writing::of("0912 345"), Some(Writing::National("0912345".into())));
    }

    #[test]
    fn unusual_spellings_are_refused() {
        for text in [
            "",
            " ",
            "+",
            "++1415",
            "+1+415",
            "1+415",
            "(+1)415",
            "tel:+1415",
            "+1415;ext=5",
            "+1415 x5",
            "+1415,,12",
            "+1415CALL",
            "+1415\u{202e}5",
            "+1415\u{200b}5",
            "+1415\u{ad}5",
            "+1415\u{a0}5",
            "+1415\u{2013}5",
            "+1415\0",
            "+1415\t5",
            "+1415\r\n",
            "+۹۸۹۱۲",
            "＋1415",
            "+１４１５",
            "+1 (415)     555    -    2671    ",
        ] {
            assert_eq!(Writing::of(text), None, "{text:?}");
        }
    }
}
