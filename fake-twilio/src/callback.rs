//! Callbacks with Twilio's signature.
//!
//! Written from Twilio's documentation (twilio.com/docs/usage/security#validating-requests), independently of the code
//! that checks signatures, so that the two can disagree.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Computes `X-Twilio-Signature` for a form in which each name occurs once.
pub fn sign(auth_token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut fields: Vec<_> = form.iter().collect();
    fields.sort();
    let mut signed = url.to_owned();
    for (name, value) in fields {
        let _ = write!(signed, "{name}{value}");
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}

/// Builds the form of a receipt.
pub(crate) fn form(account: &str, call: &crate::Call, state: &str) -> Vec<(String, String)> {
    let names = if call.voice {
        &[("CallSid", &*call.sid), ("CallStatus", state)][..]
    } else {
        &[
            ("MessageSid", &*call.sid),
            ("SmsSid", &*call.sid),
            ("MessageStatus", state),
            ("SmsStatus", state),
        ]
    };
    [
        ("AccountSid", account),
        ("ApiVersion", "2010-04-01"),
        ("To", &*call.to),
        ("From", &*call.from),
    ]
    .iter()
    .chain(names)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_twilios_own_example() {
        let form = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let signature = sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", &form);
        assert_eq!(signature, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }
}
