//! The search for leaks: every spelling of every secret, in one pass over the bytes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The kind of a secret: some kinds have additional spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Code,
    Phone,
    Token,
    Password,
    Name,
}

/// The minimum length of a spelling: shorter ones would be found by chance.
const SHORTEST: usize = 8;

/// The secrets of a run in all spellings.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    spelled: BTreeMap<Vec<u8>, Kind>,
}

impl Secrets {
    pub fn add(&mut self, kind: Kind, secret: &str) {
        let mut forms = vec![secret.to_owned(), hex(secret, false), hex(secret, true)];
        forms.push(percent(secret));
        forms.extend(base64_forms(secret));
        match kind {
            // E.164 without its plus, and the national number.
            Kind::Phone => {
                forms.extend([secret[1..].to_owned(), secret[3..].to_owned()]);
                forms.extend(base64_forms(&secret[1..]));
            }
            Kind::Token => forms.push(secret.rsplit('.').next().unwrap_or_default().to_owned()),
            Kind::Code | Kind::Password | Kind::Name => {}
        }
        for form in forms.into_iter().filter(|form| form.len() >= SHORTEST) {
            self.spelled.insert(form.into_bytes(), kind);
        }
    }

    pub fn len(&self) -> usize {
        self.spelled.len()
    }

    /// Keeps these kinds only: a table may hold what a log must not.
    pub fn only(&self, kinds: &[Kind]) -> Self {
        let spelled = self.spelled.iter().filter(|(_, kind)| kinds.contains(kind));
        Self { spelled: spelled.map(|(form, kind)| (form.clone(), *kind)).collect() }
    }

    /// The secrets found, each with the bytes around it.
    pub fn found_in(&self, haystack: &[u8]) -> Vec<(Kind, String)> {
        let mut by_start: HashMap<u64, Vec<(&[u8], Kind)>> = HashMap::new();
        // One flag per start, so that one lookup skips nearly every byte.
        let mut maybe = vec![false; 1 << 20];
        for (form, kind) in &self.spelled {
            let start = u64::from_be_bytes(form[..SHORTEST].try_into().expect("eight bytes"));
            by_start.entry(start).or_default().push((form, *kind));
            maybe[slot(start)] = true;
        }
        let (mut found, mut window) = (Vec::new(), 0_u64);
        for (end, byte) in haystack.iter().enumerate() {
            window = (window << 8) | u64::from(*byte);
            if end + 1 < SHORTEST || !maybe[slot(window)] {
                continue;
            }
            let at = end + 1 - SHORTEST;
            for (form, kind) in by_start.get(&window).into_iter().flatten() {
                if haystack[at..].starts_with(form) && !by_chance(haystack, at, form) {
                    let around = &haystack
                        [at.saturating_sub(80)..(at + form.len() + 40).min(haystack.len())];
                    found.push((*kind, String::from_utf8_lossy(around).into_owned()));
                }
            }
        }
        found
    }
}

fn slot(start: u64) -> usize {
    // Fibonacci hashing: the upper bits of the product are well mixed.
    usize::try_from(start.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44).expect("20 bits")
}

/// Whether the digits belong to a longer hexadecimal number, such as an id or a hash.
fn by_chance(haystack: &[u8], at: usize, form: &[u8]) -> bool {
    let digits = form.iter().all(u8::is_ascii_digit);
    let inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let before = at.checked_sub(1).and_then(|at| haystack.get(at));
    // Digits after `%2B`, a country code or a trunk zero are a real hit.
    let led = haystack[..at].ends_with(b"%2B")
        || haystack[..at].ends_with(b"98")
        || haystack[..at].ends_with(b"0");
    digits && (inside(before) && !led || inside(haystack.get(at + form.len())))
}

fn hex(text: &str, upper: bool) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = if upper { write!(all, "{byte:02X}") } else { write!(all, "{byte:02x}") };
        all
    })
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

/// Base64 of the text alone, and the part that stays the same wherever the text stands in a longer input.
fn base64_forms(text: &str) -> Vec<String> {
    let mut forms =
        vec![STANDARD.encode(text), STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)];
    for before in 0..3_usize {
        let bytes = [vec![0; before], text.as_bytes().to_vec()].concat();
        let encoded = STANDARD_NO_PAD.encode(&bytes);
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        if last > first {
            forms.push(encoded[first..last].to_owned());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(Kind::Code, "1234567890");
        secrets.add(Kind::Phone, "+989121234567");
        secrets.add(Kind::Token, "aaaa.bbbb.cccccccccccc");
        secrets.add(Kind::Password, "leak horse battery staple 4242");
        secrets.add(Kind::Name, "Zaphodina");
        secrets
    }

    #[test]
    fn p10_the_search_finds_a_planted_leak_in_every_spelling() {
        let inner = STANDARD.encode(r#"{"otp":"1234567890"}"#);
        let deeper = STANDARD.encode(r#"{"o":"1234567890","n":1}"#);
        for text in [
            "a code 1234567890 here",
            "otp=1234567890&x",
            "MTIzNDU2Nzg5MA==",
            &inner,
            &deeper,
            "31323334353637383930",
            "to=%2B989121234567",
            "+989121234567",
            "call 09121234567",
            "9121234567",
            "2B393839313231323334353637",
            "signature cccccccccccc",
            "leak%20horse%20battery%20staple%204242",
            "hello Zaphodina",
        ] {
            assert!(!planted().found_in(text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn text_without_a_leak_is_not_reported() {
        for text in [
            "masked +98912***67 and 12345",
            "id 019a1234567890abcdef",
            "hash 77e1234567890 f",
            "",
            "1234567",
        ] {
            assert_eq!(planted().found_in(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn the_search_can_be_limited_to_some_kinds() {
        let phones = planted().only(&[Kind::Phone]);
        assert!(phones.len() > 5);
        assert!(phones.found_in(b"1234567890").is_empty());
        assert_eq!(phones.found_in(b"+989121234567")[0].0, Kind::Phone);
    }
}
