//! The one-time code.

use std::fmt;

use crate::rng;

/// A one-time code: decimal digits. `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(zeroize::Zeroizing<String>);

impl Code {
    /// Generates a code of `length` digits (4 to 10); every value is equally likely (NIST SP 800-63B-4, 3.1.3: at least
    /// six digits unless the operator chose fewer).
    pub fn random(length: u8) -> Self {
        let value = rng::secret_below(10_u64.pow(u32::from(length)));
        Self(format!("{value:0width$}", width = usize::from(length)).into())
    }

    /// Parses exactly `length` ASCII digits; nothing is trimmed or normalized (contract, ruling 5).
    pub fn parse(text: &str, length: u8) -> Option<Self> {
        let fits = text.len() == usize::from(length) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self(text.to_owned().into()))
    }

    /// Returns the digits, for the digest, the seal and the message. Never log them.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_exactly_the_configured_number_of_ascii_digits() {
        assert!(Code::parse("012345", 6).is_some());
        for bad in ["", "12345", "1234567", " 12345", "12345O", "１２３４５６", "+12345"] {
            assert!(Code::parse(bad, 6).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn codes_have_their_length_and_cover_the_whole_range_evenly() {
        let mut leading = [0_u32; 10];
        for _ in 0..5_000 {
            let code = Code::random(4);
            assert_eq!(code.expose().len(), 4);
            leading[usize::from(code.expose().as_bytes()[0] - b'0')] += 1;
        }
        assert!(
            leading.iter().all(|n| (350..=650).contains(n)),
            "the first digits are not uniform: {leading:?}"
        );
        assert_eq!(format!("{:?}", Code::random(6)), "Code(***)");
    }
}
