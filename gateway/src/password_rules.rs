//! Which passwords are taken (design, section 9; NIST SP 800-63B-4, section 3.1.1.2: length and a list of common ones,
//! no rules of composition).

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::validate::Fault;

/// Longest password, in characters.
pub const MAX_CHARS: usize = 256;

/// Whole passwords, and the words that weak long ones are made of.
static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines();
    lines.filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
});

/// Rows along which fingers run.
const ROWS: [&str; 7] = [
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "qwertyuiopqwertyuiop",
    "asdfghjklasdfghjkl",
    "zxcvbnmzxcvbnm",
    "qwertyuiopasdfghjklzxcvbnm",
    "йцукенгшщзхъфывапролджэячсмитьбю",
];

/// Judges a new password as it was received, for the owner of a phone.
pub fn check(password: &str, min_chars: usize, national_number: &str) -> Result<(), Fault> {
    let length = password.chars().count();
    if password.contains('\0') {
        return Err(Fault::new("invalid_characters", "Leave out the character U+0000."));
    }
    if length < min_chars {
        return Err(Fault::new(
            "too_short",
            format!(
                "A password has at least {min_chars} characters; several words are easy to keep."
            ),
        ));
    }
    if length > MAX_CHARS {
        return Err(Fault::new(
            "too_long",
            format!("A password has at most {MAX_CHARS} characters."),
        ));
    }
    if contains_phone(password, national_number) {
        return Err(Fault::new("contains_phone_number", "Leave out your phone number."));
    }
    if is_common(password) {
        return Err(Fault::new("too_common", "Many people use this one; choose another."));
    }
    Ok(())
}

/// Also with the separators that numbers are written with.
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
        // `password123456!`: a common one and a tail that everybody adds.
        || (!core.is_empty() && repeats_common(core))
        || repeats_common(&lower)
        || is_row(&lower)
}

/// One character, or one entry of the list, over and over.
fn repeats_common(text: &str) -> bool {
    let first = text.chars().next();
    text.chars().all(|c| Some(c) == first)
        || text.char_indices().skip(1).map(|(at, _)| at).chain([text.len()]).any(|length| {
            let (unit, rest) = text.split_at(length);
            COMMON.contains(unit) && rest.len().is_multiple_of(length) && {
                rest.as_bytes().chunks(length).all(|piece| piece == unit.as_bytes())
            }
        })
}

/// A run along a row of keys, the alphabet or the digits, either way.
fn is_row(text: &str) -> bool {
    let back: String = text.chars().rev().collect();
    ROWS.iter().any(|row| row.contains(text) || row.contains(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(password: &str) -> Option<&'static str> {
        check(password, 15, "9123456789").err().map(|fault| fault.code)
    }

    #[test]
    fn a_long_phrase_is_taken_whatever_it_is_made_of() {
        for password in [
            "vq7 blue kite 9",
            "correct horse battery staple 42",
            "пароль из слов сорок два",
            "Überraschung im Café 42",
            "kite 9123456780 blue",
            "🐢🐢🐇🐇🐢🐇🐢🐢🐇🐢🐇🐢🐇🐇🐢",
            "               a",
            &"Qw9#".repeat(64),
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
    fn p4_what_everybody_tries_first_is_refused() {
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
        ] {
            assert_eq!(code(password), Some("too_common"), "{password}");
        }
        let at_eight = |password| check(password, 8, "").err().map(|fault| fault.code);
        for password in
            ["password", "P@ssw0rd", "12345678", "qwertyui", "trustno1", "sunshine", "iloveyou2"]
        {
            assert_eq!(at_eight(password), Some("too_common"), "{password}");
        }
    }

    #[test]
    fn the_own_phone_number_is_refused_and_anothers_is_not() {
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
    fn the_list_is_as_it_is_looked_up() {
        assert!(COMMON.len() > 300, "{}", COMMON.len());
        assert!(COMMON.iter().all(|word| *word == word.to_lowercase()));
    }
}
