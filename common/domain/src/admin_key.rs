//! A key of the admin API, as its holder has it: `lk_admin_<id>_<secret and checksum>` (contract, ruling 69).
//!
//! The secret is 256 random bits, so one SHA-256 is all that a stored key needs: nobody tries 2^256 of them, and a slow
//! hash only makes guessing dearer (NIST SP 800-63B, section 5.1.2.2: a secret of 112 bits or more is hashed by an
//! approved one-way function, and only a shorter one needs salt and a password's hash).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::rng;

/// What scanners of leaked secrets look for: `lk_admin_[0-9a-f]{16}_[0-9a-f]{72}`.
const PREFIX: &str = "lk_admin_";
/// Hex digits of the id, of the secret and of the checksum.
const ID: usize = 16;
const SECRET: usize = 64;
const CHECKSUM: usize = 8;

/// A whole key. It is never printed by accident.
#[derive(Clone)]
pub struct AdminKeyText(String);

impl AdminKeyText {
    /// Makes a key.
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        let id = hex::encode(rng::secret_bytes::<{ ID / 2 }>());
        let secret = hex::encode(rng::secret_bytes::<{ SECRET / 2 }>());
        let key = format!("{PREFIX}{id}_{secret}");
        let checksum = checksum(&key);
        Self(key + &checksum)
    }

    /// Reads a key. A text of another form or with a wrong checksum is none: a key that was cut or mistyped costs no look
    /// into a table.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let fits = id.len() == ID && rest.len() == SECRET + CHECKSUM && is_hex(id) && is_hex(rest);
        let (key, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM)?)?;
        (fits && checksum(key) == sum).then(|| Self(text.to_owned()))
    }

    /// The part by which the key is found. No secret.
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID]
    }

    /// The whole key, for whoever asked for it, once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it, in hex.
    pub fn hash(&self) -> String {
        hex::encode(digest(&SHA256, self.0.as_bytes()))
    }
}

/// Of the key before it: no secret, and no protection against anybody who makes keys up.
fn checksum(key: &str) -> String {
    hex::encode(&digest(&SHA256, key.as_bytes()).as_ref()[..CHECKSUM / 2])
}

impl fmt::Debug for AdminKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminKeyText({}..)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_no_other_text_is_one() {
        let key = AdminKeyText::new();
        let text = key.expose();
        assert_eq!(text.len(), 98);
        let read = AdminKeyText::parse(text).unwrap();
        assert!(read.id() == key.id() && read.hash() == key.hash());
        assert_ne!(AdminKeyText::new().hash(), key.hash());
        let flipped = |at: usize| {
            let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
            format!("{}{other}{}", &text[..at], &text[at + 1..])
        };
        let wrong = [
            String::new(),
            "lk_admin_".to_owned(),
            "é".repeat(49),
            text[..97].to_owned(),
            format!("{text}0"),
            text.to_uppercase(),
            format!(" {text}"),
            flipped(9),
            flipped(30),
            flipped(97),
        ];
        for text in wrong {
            assert!(AdminKeyText::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn p10_a_key_is_not_printed() {
        let key = AdminKeyText::new();
        let printed = format!("{key:?}");
        assert!(printed.contains(key.id()) && !printed.contains(&key.expose()[26..]), "{printed}");
    }
}
