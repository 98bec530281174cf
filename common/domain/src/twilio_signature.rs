//! The signature of Twilio's callbacks, `X-Twilio-Signature`.
//!
//! base64(HMAC-SHA1(auth token, URL + every form field as name and value, sorted)), as Twilio's own libraries compute
//! it (twilio.com/docs/usage/security#validating-requests). SHA-1 is Twilio's choice; in an HMAC it is still secure.

use std::collections::BTreeSet;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Verifies that a holder of one of the tokens signed this callback (there are two tokens during a rotation).
///
/// `url` is the URL that Twilio was given, built from configuration and never from `Host`, with the query and without
/// the fragment. `params` are the decoded fields of the form, in any order; all fields count, including unknown ones.
pub fn verify(
    auth_tokens: &[&SecretString],
    url: &str,
    params: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(given) = STANDARD.decode(signature) else { return false };
    let fields = sorted(params);
    let urls = with_and_without_port(url);
    let mut right = false;
    // No early return: the duration must not reveal which token or spelling matched.
    for token in auth_tokens {
        let key =
            hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose_secret().as_bytes());
        for url in &urls {
            let mut context = hmac::Context::with_key(&key);
            context.update(url.as_bytes());
            context.update(fields.as_bytes());
            let tag = context.sign();
            right |= constant_time::verify_slices_are_equal(tag.as_ref(), &given).is_ok();
        }
    }
    right
}

/// Concatenates names and values: names in byte order, the values of a repeated name sorted and deduplicated, nothing
/// trimmed, no separators.
fn sorted(params: &[(String, String)]) -> String {
    let fields: BTreeSet<(&str, &str)> =
        params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.iter().flat_map(|(name, value)| [*name, *value]).collect()
}

/// Returns the URL with and without the port. Twilio is inconsistent about it; its libraries accept both.
fn with_and_without_port(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    let Ok(parsed) = Url::parse(url) else { return urls };
    let (Some(host), Some(default)) = (parsed.host_str(), default_port(parsed.scheme())) else {
        return urls;
    };
    // Sliced from the text itself: parsing and printing a URL may change its escapes.
    let start = parsed.scheme().len() + "://".len();
    let authority_end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let (scheme, rest) = (&url[..start], &url[authority_end..]);
    urls.push(format!("{scheme}{host}{rest}"));
    let port = parsed.port().unwrap_or(default);
    urls.push(format!("{scheme}{host}:{port}{rest}"));
    urls
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name of the case, URL, fields, signature.
    type Vector<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

    const TOKEN: &str = "12345678901234567890123456789012";
    const STATUS: &str =
        "https://auth.example.test/webhooks/twilio/status/0190a1b2-0000-7000-8000-000000000001";

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn accepted(token: &str, url: &str, pairs: &[(&str, &str)], signature: &str) -> bool {
        verify(&[&SecretString::from(token)], url, &fields(pairs), signature)
    }

    /// The expected values were computed with `RequestValidator.compute_signature` of Twilio's Python library 9.13.0.
    #[test]
    fn signatures_from_twilios_own_library_are_accepted() {
        let vectors: &[Vector<'_>] = &[
            ("empty body", STATUS, &[], "+yNP7bv8GXzRuCZjuiQnqMYK61o="),
            (
                "a status, with a plus in the numbers",
                STATUS,
                &[
                    ("MessageSid", "SM0123"),
                    ("MessageStatus", "delivered"),
                    ("AccountSid", "AC0"),
                    ("To", "+14155550100"),
                    ("From", "+15005550006"),
                ],
                "PfpjH9x+y4zrv7IlR0TdBNKRYJA=",
            ),
            (
                "a repeated name",
                STATUS,
                &[("A", "2"), ("B", "x"), ("A", "1"), ("A", "2")],
                "T9MnQZ0V/KxBWyzRXM7/Wp9e+b4=",
            ),
            (
                "unicode in a value",
                STATUS,
                &[("Body", "سلام é 💬"), ("MessageStatus", "sent")],
                "Y899vbBPfxoD3+uNeWYLL7LBhTk=",
            ),
            (
                "unicode in a name",
                STATUS,
                &[("é", "1"), ("z", "2"), ("Z", "3")],
                "QbB96maVNUDRPX0lCOhJjwQA4D8=",
            ),
            (
                "port 8443 and a query",
                "https://auth.example.test:8443/hook?x=1&y=%20",
                &[("MessageStatus", "sent")],
                "nm0p3dnY5fyPKyhunMM+jkyvz4E=",
            ),
            (
                "a path prefix",
                "https://example.test/base/webhooks/twilio/status/1",
                &[("MessageStatus", "sent")],
                "iY19iIdACqCfsSFkU3L4JQqBEvw=",
            ),
            (
                "an unknown field, spaces and empty values kept",
                STATUS,
                &[("Zeta", " v "), ("MessageStatus", "sent"), ("alpha", ""), ("Alpha", "1")],
                "6WwDpaaInxCmVJtBIR5Gz/l5knY=",
            ),
        ];
        for (name, url, pairs, signature) in vectors {
            assert!(accepted(TOKEN, url, pairs, signature), "{name}");
            let mut reversed = pairs.to_vec();
            reversed.reverse();
            assert!(accepted(TOKEN, url, &reversed, signature), "{name}, in another order");
        }
    }

    #[test]
    fn either_side_may_include_or_omit_the_default_port() {
        let sent: &[(&str, &str)] = &[("MessageStatus", "sent")];
        let (with, without) = ("xRkezkf+S/6Z/TE6qXZ9Q9cDt5I=", "FNWbcJGqqL2usqnmv3C47mtGgpU=");
        for url in ["https://auth.example.test/hook", "https://auth.example.test:443/hook"] {
            assert!(accepted(TOKEN, url, sent, with), "{url}");
            assert!(accepted(TOKEN, url, sent, without), "{url}");
        }
        let plain = "g2znsIKGdeFGDXU0CALZDIdoggU=";
        assert!(accepted(TOKEN, "http://auth.example.test/hook", sent, plain));
        assert!(!accepted(TOKEN, "https://auth.example.test/hook", sent, plain));
    }

    #[test]
    fn every_wrong_signature_is_refused() {
        let sent: &[(&str, &str)] = &[("MessageStatus", "sent")];
        let url = "https://example.test/base/webhooks/twilio/status/1";
        let right = "iY19iIdACqCfsSFkU3L4JQqBEvw=";
        assert!(accepted(TOKEN, url, sent, right));
        for wrong in [
            "",
            "=",
            "AY19iIdACqCfsSFkU3L4JQqBEvw=",
            "iy19iidacqcfssfku3l4jqqbevw=",
            "iY19iIdACqCfsSFkU3L4JQqBEvw",
            "iY19iIdACqCfsSFkU3L4JQqBEvw= ",
            "iY19iIdACqCfsSFkU3L4JQqB",
        ] {
            assert!(!accepted(TOKEN, url, sent, wrong), "{wrong:?}");
        }
        assert!(!accepted(&"0".repeat(32), url, sent, right), "another account's token");
        assert!(!accepted(
            TOKEN,
            "https://example.test/base/webhooks/twilio/status/2",
            sent,
            right
        ));
        assert!(!accepted(
            TOKEN,
            "https://evil.example/base/webhooks/twilio/status/1",
            sent,
            right
        ));
        assert!(!accepted(TOKEN, url, &[("MessageStatus", "delivered")], right));
        assert!(!accepted(TOKEN, url, &[("MessageStatus", "sent"), ("x", "")], right));
        assert!(!verify(&[], url, &fields(sent), right), "without a token no signature is valid");
    }

    #[test]
    fn during_a_rotation_both_tokens_are_accepted() {
        let (new, old) = (SecretString::from("new"), SecretString::from(TOKEN));
        let url = "https://example.test/base/webhooks/twilio/status/1";
        let sent = fields(&[("MessageStatus", "sent")]);
        assert!(verify(&[&new, &old], url, &sent, "iY19iIdACqCfsSFkU3L4JQqBEvw="));
    }
}
