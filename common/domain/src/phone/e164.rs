//! A phone number in its canonical form, as events, tables and providers carry it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{calling_code, writing};

/// A phone number in E.164: `+` and 7 to 15 digits. It prints masked, so that no log holds a number (P10);
/// [`E164::expose`] returns it in full.
///
/// What a stranger writes becomes one only by [`Policy::parse`](super::Policy::parse). Otherwise it comes from where
/// Latchkey put it: a row of a table, an opened seal, the configuration.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct E164(Box<str>);

/// The text is not a number in E.164. The error does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number in E.164")]
pub struct NotE164;

impl E164 {
    /// The caller ensures that it is E.164.
    pub(super) fn unchecked(e164: String) -> Self {
        Self(e164.into())
    }

    /// Returns the full number. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the digits, without the `+`. Never log them.
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// Returns the digits of the calling code; none for a test number without an existing one.
    pub fn calling_code(&self) -> &str {
        calling_code::of(self.digits()).unwrap_or_default()
    }

    /// Returns the calling code and the next four digits (contract, ruling 9).
    pub fn operator_prefix(&self) -> &str {
        let digits = self.digits();
        &digits[..(self.calling_code().len() + 4).min(digits.len())]
    }

    /// Returns the digits after the calling code. Never log them.
    pub fn national_number(&self) -> &str {
        &self.digits()[self.calling_code().len()..]
    }
}

impl TryFrom<String> for E164 {
    type Error = NotE164;

    fn try_from(text: String) -> Result<Self, NotE164> {
        if writing::is_e164(&text) { Ok(Self::unchecked(text)) } else { Err(NotE164) }
    }
}

impl FromStr for E164 {
    type Err = NotE164;

    fn from_str(text: &str) -> Result<Self, NotE164> {
        text.to_owned().try_into()
    }
}

impl PartialEq<str> for E164 {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

/// Prints the calling code, at most three digits after it and the last two, with at least four hidden: enough to find
/// one's own number in a log, never enough to call it.
impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, national) = self.0.split_at(1 + self.calling_code().len());
        let spare = national.len().saturating_sub(4);
        let last = spare.min(2);
        let first = (spare - last).min(3);
        write!(f, "{code}{}***{}", &national[..first], &national[national.len() - last..])
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
