//! Which passwords are accepted (contract, section 9 and ruling 51; NIST SP 800-63B-4, section 3.1.1.2: length and a
//! list of common ones, no composition rules; OWASP ASVS 5.0, 6.2.11: no words of the context).
//!
//! A password is judged when it is set. One that was imported as a hash is never seen, and a sign-in judges none.

use std::collections::HashSet;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};

/// Why a password is not accepted: a stable code, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    pub code: &'static str,
    pub detail: String,
}

impl Weakness {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Longest password, in characters.
pub const MAX_CHARS: usize = 256;

/// A password that `zxcvbn` expects to fall in fewer guesses is refused: what its authors call safely unguessable, for
/// an attacker who has the hash.
const LEAST_GUESSES: u64 = 10_000_000_000;

/// The characters at either end of a password that are estimated. A text of digits and signs that could stand for
/// letters costs `zxcvbn` seconds at the 100 characters that it reads itself, and time that grows with their square.
const ESTIMATED_CHARS: usize = 32;

/// What is known of an owner and of the service: a password must not consist of it.
#[derive(Clone, Default)]
pub struct Known {
    /// The owner's number without its country.
    pub national_number: String,
    /// First and last name; empty ones count as none.
    pub names: [String; 2],
    pub app_name: String,
}

impl Known {
    /// The words that someone would try first.
    fn words(&self) -> Vec<&str> {
        let names = self.names.iter().flat_map(|name| name.split_whitespace());
        let all = names.chain([self.national_number.as_str(), self.app_name.as_str()]);
        all.filter(|word| !word.is_empty()).collect()
    }
}

/// The 100,000 most common passwords: sorted digests, made by `tools/common-passwords/generate.py`, which names the
/// source.
static MOST_COMMON: &[u8] = include_bytes!("common_100k.bin");
const DIGEST_BYTES: usize = 4;

/// Common long passwords, and the words that weak long ones are made of.
static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines();
    lines.filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
});

/// A password that repeats a unit of up to this many characters is worth no more than the unit, which is too short.
const SHORT_UNIT: usize = 8;

/// Rows that fingers run along: one row, two rows together, or row after row.
const ROWS: [&str; 13] = [
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "qwertyuiopqwertyuiop",
    "asdfghjklasdfghjkl",
    "zxcvbnmzxcvbnm",
    "qwertyuiopasdfghjklzxcvbnm",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "1a2s3d4f5g6h7j8k9l",
    "a1b2c3d4e5f6g7h8i9j0",
    "йцукенгшщзхъфывапролджэячсмитьбю",
];

/// Checks a new password, as received. The estimate of [`check_guesses`] is not part of it: that costs milliseconds.
pub fn check(password: &str, min_chars: usize, known: &Known) -> Result<(), Weakness> {
    let length = password.chars().count();
    if password.contains('\0') {
        return Err(Weakness::new("invalid_characters", "Remove the character U+0000."));
    }
    if length < min_chars {
        return Err(Weakness::new(
            "too_short",
            format!("Use at least {min_chars} characters; several words are easy to remember."),
        ));
    }
    if length > MAX_CHARS {
        return Err(Weakness::new("too_long", format!("Use at most {MAX_CHARS} characters.")));
    }
    if contains_phone(password, &known.national_number) {
        return Err(Weakness::new(
            "contains_phone_number",
            "Do not use your phone number in the password.",
        ));
    }
    let lower = password.to_lowercase();
    if known.names.iter().any(|name| contains_name(&lower, name)) {
        return Err(Weakness::new("contains_name", "Do not use your name in the password."));
    }
    if contains_word(&lower, &known.app_name) {
        return Err(Weakness::new(
            "contains_app_name",
            "Do not use the name of this service in the password.",
        ));
    }
    if is_common(password) {
        return Err(Weakness::new("too_common", "This password is too common; choose another."));
    }
    Ok(())
}

/// Checks that a password would take many guesses: its first characters, or its last. It takes milliseconds, a tenth of
/// a second at worst: not for a thread that answers requests.
pub fn check_guesses(password: &str, known: &Known) -> Result<(), Weakness> {
    let words = known.words();
    let many = |part: &str| zxcvbn::zxcvbn(part, &words).guesses() >= LEAST_GUESSES;
    let end = |(at, _): (usize, char)| at;
    let first = password.char_indices().nth(ESTIMATED_CHARS).map_or(password.len(), end);
    let last = password.char_indices().nth_back(ESTIMATED_CHARS - 1).map_or(0, end);
    if !many(&password[..first]) && (first == password.len() || !many(&password[last..])) {
        return Err(Weakness::new(
            "too_guessable",
            "This password is easy to guess; add words that have nothing to do with each other.",
        ));
    }
    Ok(())
}

/// Whether a password contains a name, or one of the names that it consists of.
fn contains_name(lower: &str, name: &str) -> bool {
    contains_word(lower, name) || name.split_whitespace().any(|part| contains_word(lower, part))
}

/// Whether a password contains a word, written with or without its separators. A short Latin word counts only where it
/// stands alone: `Ada` is not in `canada`. Counted in bytes, so that two letters of a script with more of them are not
/// short.
fn contains_word(lower: &str, word: &str) -> bool {
    const SHORT: usize = 3;
    let word = word.trim().to_lowercase();
    let bare: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
    match bare.len() {
        0..SHORT => false,
        SHORT => lower.split(|c: char| !c.is_alphabetic()).any(|piece| piece == bare),
        _ => {
            lower.contains(&word)
                || lower.chars().filter(|c| c.is_alphanumeric()).collect::<String>().contains(&bare)
        }
    }
}

/// Whether a lower-case text is on the list of the most common passwords.
fn is_most_common(lower: &str) -> bool {
    let digest = digest(&SHA256, lower.as_bytes());
    let (entries, _) = MOST_COMMON.as_chunks::<DIGEST_BYTES>();
    entries.binary_search_by(|entry| entry.as_slice().cmp(&digest.as_ref()[..DIGEST_BYTES])).is_ok()
}

/// Whether a password contains the number, with or without the usual separators.
fn contains_phone(password: &str, national_number: &str) -> bool {
    let national: String = national_number.chars().filter(char::is_ascii_digit).collect();
    let bare = |c: &char| !matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '_');
    !national.is_empty()
        && (password.contains(&national)
            || password.chars().filter(bare).collect::<String>().contains(&national))
}

fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let core = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    COMMON.contains(lower.as_str())
        || is_most_common(&lower)
        || is_row(&lower)
        || repeats(&lower)
        // `password123456!`: a common password with a predictable tail.
        || (!core.is_empty()
            && core != lower
            && (COMMON.contains(core)
                || repeats(core)
                // A single letter is a run too: only longer ones count.
                || (core.chars().count() >= SHORT_UNIT && is_row(core))))
}

/// Whether a text repeats a unit, the last one possibly cut: a short and plain unit, or a longer one that is common
/// itself.
fn repeats(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_period =
        |&period: &usize| chars[period..].iter().zip(&chars).all(|(later, former)| later == former);
    // At least half of the unit must repeat: a first character that is also the last is no repetition.
    let longest = chars.len() * 2 / 3;
    let Some(period) = (1..=longest.max(1)).find(is_period) else { return false };
    (period <= SHORT_UNIT && is_plain(&chars[..period]))
        || is_common(&chars[..period].iter().collect::<String>())
}

/// At most two characters, or at most two of the kinds letters, digits and others: typical of a careless choice.
fn is_plain(unit: &[char]) -> bool {
    let has = |kind: fn(char) -> bool| usize::from(unit.iter().any(|&c| kind(c)));
    let other = |c: char| !c.is_alphabetic() && !c.is_numeric();
    unit.len() <= 2 || has(char::is_alphabetic) + has(char::is_numeric) + has(other) <= 2
}

/// A run along a row of keys, the alphabet or the digits, in either direction, with the shift key or without.
fn is_row(text: &str) -> bool {
    let shifted = ")!@#$%^&*(".chars().zip('0'..='9');
    let plain = |c| shifted.clone().find(|(sign, _)| *sign == c).map_or(c, |(_, digit)| digit);
    let text: String = text.chars().map(plain).collect();
    let back: String = text.chars().rev().collect();
    ROWS.iter().any(|row| row.contains(&text) || row.contains(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(password: &str) -> Option<&'static str> {
        check(password, 15, &known()).err().map(|weakness| weakness.code)
    }

    const GOOD: &str = "vq7 blue kite 9 over the lake";

    fn known() -> Known {
        Known {
            national_number: "9123456789".into(),
            names: ["Ada".into(), "Lovelace King".into()],
            app_name: "My Shop".into(),
        }
    }

    /// The verdict of both checks.
    fn judge(password: &str, min_chars: usize) -> Option<&'static str> {
        let checked = check(password, min_chars, &known());
        checked.and_then(|()| check_guesses(password, &known())).err().map(|weakness| weakness.code)
    }

    #[test]
    fn a_long_phrase_is_accepted_whatever_its_characters() {
        for password in [
            "vq7 blue kite 9",
            "correct horse battery staple 42",
            "пароль из слов сорок два",
            "Überraschung im Café 42",
            "kite 9123456780 blue",
            "🐢🐢🐇🐇🐢🐇🐢🐢🐇🐢🐇🐢🐇🐇🐢",
            "kite 9 over the lake, kite 9 over the lake",
            &"vq7 blue kite 9 over the".repeat(10),
            "x7!qPw2zx7!qPw2",
        ] {
            assert_eq!(judge(password, 15), None, "{password}");
        }
    }

    #[test]
    fn f19_the_most_common_passwords_are_refused() {
        for password in [
            "123456789qwerty",
            "1234567890qwerty",
            "123456789987654321",
            "123456789abcdef",
            "aaaaaaaabbbbbbbb",
            "1111111122222222",
            "jesuschristislord",
            "!QAZ2wsx#EDC4rfv",
        ] {
            assert!(judge(password, 15).is_some(), "{password}");
        }
        for password in ["159753456", "123456aa", "5201314520", "woaini1314", "samantha1"] {
            assert_eq!(judge(password, 8), Some("too_common"), "{password}");
        }
        let (entries, rest) = MOST_COMMON.as_chunks::<DIGEST_BYTES>();
        assert!(rest.is_empty() && entries.len() > 97_000, "{}", entries.len());
        assert!(entries.is_sorted());
    }

    #[test]
    fn f19_the_owners_names_and_the_services_are_refused() {
        for (password, wanted) in [
            ("Ada of seven blue kites", Some("contains_name")),
            ("seven-ada-blue-kites", Some("contains_name")),
            ("seven canada blue kites", None),
            ("blue LOVELACE kite 42x", Some("contains_name")),
            ("lovelaceking over 7 kites", Some("contains_name")),
            ("7 kings of blue kites", Some("contains_name")),
            ("myshop and seven kites", Some("contains_app_name")),
            ("my shop, seven kites, z", Some("contains_app_name")),
            ("my seven kites shop early", None),
        ] {
            assert_eq!(judge(password, 15), wanted, "{password}");
        }
        assert!(contains_name("پسرم علی‌رضا است", "علی‌رضا"));
        assert!(contains_name("my 小龍 password", "小龍"));
        assert!(!contains_name("an li jo al", "Li"), "too short to tell");
    }

    #[test]
    fn f19_a_password_that_is_easily_guessed_is_refused() {
        for password in [
            "liverpool chelsea",
            "password summer",
            "iloveyou michael",
            "29111999 30111999",
            "               a",
            &"Qw9#".repeat(64),
        ] {
            assert_eq!(judge(password, 15), Some("too_guessable"), "{password}");
        }
        // One end that nobody guesses is enough.
        let known = Known::default();
        for password in [format!("{}vq7 blue kite 9", "a".repeat(90)), "x1 ".repeat(3) + GOOD] {
            assert_eq!(check_guesses(&password, &known), Ok(()), "{password}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert_eq!(code("abcdefgh jklmn"), Some("too_short"));
        assert_eq!(code(&"é".repeat(14)), Some("too_short"));
        assert_eq!(code(&"x1y".repeat(86)), Some("too_long"));
        assert_eq!(check("vq7 blue", 8, &Known::default()), Ok(()));
    }

    #[test]
    fn p4_common_passwords_are_refused() {
        for password in [
            "passwordpassword",
            "PasswordPassword",
            "password1234567890",
            "Password123456!!",
            "iloveyouiloveyou!",
            "letmeinletmeinletmein",
            "123456789012345",
            "987654321098765",
            "aaaaaaaaaaaaaaa",
            "111111111111111",
            "abcdefghijklmnop",
            "qwertyuiopasdfghjkl",
            "qwertyqwertyqwerty",
            "йцукенгшщзхъфыва",
            "correcthorsebatterystaple",
            "Correct Horse Battery Staple",
            "supercalifragilisticexpialidocious",
            "123456789123456",
            "123123123123123",
            "121212121212121212",
            "1q2w3e4r5t6y7u8i9o0p",
            "q1w2e3r4t5y6u7i8o9p0",
            "zxcvbnmasdfghjkl123",
            "qazwsxedcrfvtgbyhn2026!",
            "qazwsxedcrfvtgb",
            "asdfasdfasdfasdf",
            "asdfasdfasdfasdf2026!",
            "password1password1",
            "password1passwo",
            "password123password123",
            "12345678987654321",
            "zaq12wsxcde34rfv",
            "abc123abc123abc123",
            "!!1!!1!!1!!1!!1!!1",
        ] {
            assert_eq!(code(password), Some("too_common"), "{password}");
        }
        let at_eight =
            |password| check(password, 8, &Known::default()).err().map(|weakness| weakness.code);
        for password in
            ["password", "P@ssw0rd", "12345678", "qwertyui", "trustno1", "sunshine", "iloveyou2"]
        {
            assert_eq!(at_eight(password), Some("too_common"), "{password}");
        }
    }

    #[test]
    fn the_longest_password_is_judged_at_once() {
        // Units within units, each with a tail: a search for every repetition within every other would not finish.
        let mut nested = "b".to_owned();
        while nested.len() < MAX_CHARS {
            nested = format!("{nested}a1{nested}");
        }
        for password in [nested, format!("axyz{}", "a".repeat(252)), "a1".repeat(128)] {
            let started = std::time::Instant::now();
            let _ = is_common(&password[..MAX_CHARS]);
            assert!(started.elapsed() < std::time::Duration::from_secs(1));
        }
    }

    #[test]
    fn the_users_phone_number_is_refused_and_another_is_not() {
        for password in [
            "+989123456789+989123456789",
            "kite 9123456789 blue",
            "9891234567891234",
            "my 912 345-67 89 ok",
        ] {
            assert_eq!(code(password), Some("contains_phone_number"), "{password}");
        }
        assert_eq!(code("kite 9123456780 blue"), None);
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(code("vq7 blue\0 kite 9"), Some("invalid_characters"));
    }

    #[test]
    fn the_list_is_in_lower_case_as_it_is_looked_up() {
        assert!(COMMON.len() > 300, "{}", COMMON.len());
        assert!(COMMON.iter().all(|word| *word == word.to_lowercase()));
    }
}
