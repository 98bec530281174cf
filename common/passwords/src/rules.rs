//! Which passwords are accepted (contract, section 9; NIST SP 800-63B-4, section 3.1.1.2: length and a list of common
//! ones, no composition rules).

use std::collections::HashSet;
use std::sync::LazyLock;

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

/// Common passwords, and the words that weak long ones are made of.
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

/// Checks a new password, as received, for the owner of a phone.
pub fn check(password: &str, min_chars: usize, national_number: &str) -> Result<(), Weakness> {
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
    if contains_phone(password, national_number) {
        return Err(Weakness::new(
            "contains_phone_number",
            "Do not use your phone number in the password.",
        ));
    }
    if is_common(password) {
        return Err(Weakness::new("too_common", "This password is too common; choose another."));
    }
    Ok(())
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

/// A run along a row of keys, the alphabet or the digits, in either direction.
fn is_row(text: &str) -> bool {
    let back: String = text.chars().rev().collect();
    ROWS.iter().any(|row| row.contains(text) || row.contains(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(password: &str) -> Option<&'static str> {
        check(password, 15, "9123456789").err().map(|weakness| weakness.code)
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
            "               a",
            "kite 9 over the lake, kite 9 over the lake",
            &"vq7 blue kite 9 over the".repeat(10),
            &"Qw9#".repeat(64),
            "x7!qPw2zx7!qPw2",
        ] {
            assert_eq!(code(password), None, "{password}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert_eq!(code("abcdefgh jklmn"), Some("too_short"));
        assert_eq!(code(&"é".repeat(14)), Some("too_short"));
        assert_eq!(code(&"x1y".repeat(86)), Some("too_long"));
        assert_eq!(check("vq7 blue", 8, ""), Ok(()));
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
        let at_eight = |password| check(password, 8, "").err().map(|weakness| weakness.code);
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
