//! The size of a message in the network: its encoding and its number of segments (3GPP TS 23.038 and 23.040). Each
//! segment costs money.

use domain::string_enum;

string_enum! {
    /// The encoding of a message.
    pub enum Encoding {
        /// The default alphabet: septets, 160 per message.
        Gsm7 = "GSM-7",
        /// UTF-16 units, 70 per message. A single character outside the default alphabet forces this encoding.
        Ucs2 = "UCS-2",
    }
}

/// The size of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub encoding: Encoding,
    /// Septets or UTF-16 units.
    pub units: usize,
    pub segments: usize,
}

impl Encoding {
    /// Returns the maximum units of a message in one segment.
    pub const fn single(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// Returns the maximum units in each segment of a longer message: a header of six bytes joins them.
    const fn joined(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }
}

/// TS 23.038, 6.2.1, without the escape to the extension table.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";
/// TS 23.038, 6.2.1.1: each is an escape and a septet.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

fn septets(c: char) -> Option<usize> {
    match c {
        _ if BASIC.contains(c) => Some(1),
        _ if EXTENSION.contains(c) => Some(2),
        _ => None,
    }
}

/// Measures a message as it would be sent.
pub fn measure(text: &str) -> Size {
    let widths: Option<Vec<usize>> = text.chars().map(septets).collect();
    match widths {
        Some(widths) => size(Encoding::Gsm7, &widths),
        None => size(Encoding::Ucs2, &text.chars().map(char::len_utf16).collect::<Vec<_>>()),
    }
}

fn size(encoding: Encoding, widths: &[usize]) -> Size {
    let units = widths.iter().sum();
    if units <= encoding.single() {
        return Size { encoding, units, segments: 1 };
    }
    // Neither an escape and its septet nor a surrogate pair is split across segments.
    let (mut segments, mut used) = (1, 0);
    for width in widths {
        if used + width > encoding.joined() {
            segments += 1;
            used = 0;
        }
        used += width;
    }
    Size { encoding, units, segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> (Encoding, usize, usize) {
        let size = measure(text);
        (size.encoding, size.units, size.segments)
    }

    #[test]
    fn the_default_alphabet_has_127_characters_and_ten_in_its_extension() {
        let mut basic: Vec<char> = BASIC.chars().collect();
        basic.sort_unstable();
        basic.dedup();
        assert_eq!(basic.len(), 127, "128 septets, one of which is the escape");
        assert_eq!(EXTENSION.chars().count(), 10);
        assert!(EXTENSION.chars().all(|c| !BASIC.contains(c)));
    }

    #[test]
    fn characters_of_the_extension_count_twice() {
        assert_eq!(measured("a"), (Encoding::Gsm7, 1, 1));
        assert_eq!(measured("€"), (Encoding::Gsm7, 2, 1));
        assert_eq!(measured("[{^}]~|\\"), (Encoding::Gsm7, 16, 1));
        assert_eq!(measured("Ünïcode").0, Encoding::Ucs2, "ï is not in the alphabet");
        assert_eq!(measured("Çà").0, Encoding::Gsm7);
        assert_eq!(measured("ç").0, Encoding::Ucs2, "only the capital letter is");
    }

    #[test]
    fn a_message_is_one_segment_up_to_160_septets_or_70_units() {
        assert_eq!(measured(""), (Encoding::Gsm7, 0, 1));
        assert_eq!(measured(&"a".repeat(160)), (Encoding::Gsm7, 160, 1));
        assert_eq!(measured(&"a".repeat(161)), (Encoding::Gsm7, 161, 2));
        assert_eq!(measured(&"a".repeat(306)), (Encoding::Gsm7, 306, 2));
        assert_eq!(measured(&"a".repeat(307)), (Encoding::Gsm7, 307, 3));
        assert_eq!(measured(&"ک".repeat(70)), (Encoding::Ucs2, 70, 1));
        assert_eq!(measured(&"ک".repeat(71)), (Encoding::Ucs2, 71, 2));
        assert_eq!(measured(&"😀".repeat(35)), (Encoding::Ucs2, 70, 1));
        assert_eq!(measured(&"😀".repeat(36)), (Encoding::Ucs2, 72, 2));
    }

    #[test]
    fn neither_an_escape_nor_a_surrogate_pair_is_split() {
        // 152 and an escaped character: the whole escape moves to the second segment, so 306 septets need three.
        let text = format!("{}€{}", "a".repeat(152), "a".repeat(152));
        assert_eq!(measured(&text), (Encoding::Gsm7, 306, 3));
        // 67 is odd, but a pair never straddles segments.
        assert_eq!(measured(&"😀".repeat(67)), (Encoding::Ucs2, 134, 3));
    }
}
