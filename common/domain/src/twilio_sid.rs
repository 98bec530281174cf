//! The ids that Twilio gives to messages, calls and accounts.

/// Whether a text is the id of a message or call: `SM`, `MM` or `CA` and 32 hexadecimal digits (twilio.com/docs/glossary/
/// what-is-a-sid). Such an id becomes part of a URL that is called with the account's credentials, so nothing else may.
pub fn is_message_sid(text: &str) -> bool {
    ["SM", "MM", "CA"].iter().any(|letters| is_sid(text, letters))
}

/// Whether a text is the id of an account: `AC` and 32 hexadecimal digits.
pub fn is_account_sid(text: &str) -> bool {
    is_sid(text, "AC")
}

fn is_sid(text: &str, letters: &str) -> bool {
    let digits = text.strip_prefix(letters);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f23_only_ids_of_messages_and_calls_pass() {
        let digits = "0123456789abcdef0123456789abcdef";
        for letters in ["SM", "MM", "CA"] {
            assert!(is_message_sid(&format!("{letters}{digits}")));
        }
        for wrong in [
            "",
            "SM",
            "../../../../Accounts",
            &format!("AC{digits}"),
            &format!("SM{digits}0"),
            &format!("SM{}", &digits[1..]),
            &format!("SM{}/../x", &digits[6..]),
        ] {
            assert!(!is_message_sid(wrong), "{wrong}");
        }
    }
}
