//! Phone numbers: many writings, one key per subscriber.
//!
//! [`Policy::parse`] is the only way in for what a stranger wrote. It refuses what is no plain writing before the
//! numbering plans are asked ([`writing`]), reads the rest as the plans do ([`plan`]), and folds the national variants
//! of one subscriber into one ([`subscriber`]). Limits, codes and accounts all hang on the result: two keys for one
//! subscriber would be two budgets.

mod plan;
mod subscriber;
mod writing;

use std::collections::BTreeSet;
use std::fmt;

use anyhow::ensure;

use plan::Kind;
use writing::Writing;

/// The region of a number that no numbering plan has: "unknown" in ISO 3166's user-assigned range.
pub const NO_REGION: &str = "ZZ";

/// A subscriber's number. Prints masked; [`Phone::e164`] gives it whole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone {
    e164: Box<str>,
    calling_code: u16,
    /// Digits of the calling code; 0 when the number has none that exists.
    code_len: u8,
    region: [u8; 2],
}

/// Why a writing is no phone that we send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No number at all, or none that any plan assigns: `invalid_phone_number`.
    #[error("not a phone number")]
    Invalid,
    /// A number, but not a mobile subscriber's in a country that is served: `phone_number_not_supported`.
    #[error("a number that texts are not sent to")]
    NotSupported,
}

/// What the operator lets in.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// ISO 3166 region of writings without a calling code; without one they are refused.
    pub default_region: Option<String>,
    /// ISO 3166 regions that are served; `None` serves all. By numbering region: +1 876 is JM, not US.
    pub countries: Option<BTreeSet<String>>,
    /// E.164 numbers that skip validation and the list of countries (design, ruling 8).
    pub test_numbers: BTreeSet<String>,
}

impl Policy {
    /// Reads a writing of a phone number as its subscriber.
    pub fn parse(&self, writing: &str) -> Result<Phone, Refusal> {
        let number = match Writing::of(writing).ok_or(Refusal::Invalid)? {
            Writing::International(e164) if self.test_numbers.contains(&e164) => {
                return Ok(Phone::unchecked(e164));
            }
            Writing::International(digits) => plan::read(&digits, None),
            Writing::National(digits) => {
                let region = self.default_region.as_deref().ok_or(Refusal::Invalid)?;
                plan::read(&digits, Some(region))
            }
        };
        let number = subscriber::canonical(number.ok_or(Refusal::Invalid)?)?;
        let e164 = number.e164();
        if self.test_numbers.contains(&e164) {
            return Ok(Phone::unchecked(e164));
        }
        let region = match number.kind() {
            Kind::Mobile(region) => region,
            Kind::Other => return Err(Refusal::NotSupported),
            Kind::Unassigned => return Err(Refusal::Invalid),
        };
        let served = self.countries.as_ref().is_none_or(|served| served.contains(region.as_str()));
        if !served {
            return Err(Refusal::NotSupported);
        }
        Ok(Phone::unchecked(e164))
    }
}

impl Phone {
    /// Takes a number from our own table, seal or configuration back: `+` and 7 to 15 digits, under no policy.
    pub fn trusted(e164: &str) -> anyhow::Result<Self> {
        ensure!(writing::is_e164(e164), "a stored phone number is not E.164");
        Ok(Self::unchecked(e164.to_owned()))
    }

    fn unchecked(e164: String) -> Self {
        let calling_code = plan::calling_code(&e164[1..]);
        let mut region = [b'Z'; 2];
        if let Some(found) = plan::read(&e164, None).and_then(|number| number.region()) {
            region.copy_from_slice(found.as_bytes());
        }
        Self {
            code_len: calling_code.map_or(0, |(_, len)| len),
            calling_code: calling_code.map_or(0, |(code, _)| code),
            e164: e164.into(),
            region,
        }
    }

    /// `+` and 7 to 15 digits: whole, so not for a log.
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// ISO 3166 region of the numbering plan, [`NO_REGION`] for a test number outside all plans.
    pub fn region(&self) -> &str {
        // Two ASCII letters by construction.
        std::str::from_utf8(&self.region).unwrap_or(NO_REGION)
    }

    /// 0 for a test number whose first digits are no country's.
    pub fn calling_code(&self) -> u16 {
        self.calling_code
    }

    /// Digits of the calling code and the first four after it (design, ruling 9).
    pub fn operator_prefix(&self) -> &str {
        let end = (1 + usize::from(self.code_len) + 4).min(self.e164.len());
        &self.e164[1..end]
    }

    /// The digits after the calling code.
    pub fn national_number(&self) -> &str {
        &self.e164[1 + usize::from(self.code_len)..]
    }
}

/// Calling code, at most three digits after it and the last two, at least four hidden: enough to find one's own
/// number in a log, never enough to call it.
impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, national) = self.e164.split_at(1 + usize::from(self.code_len));
        let spare = national.len().saturating_sub(4);
        let last = spare.min(2);
        let first = (spare - last).min(3);
        write!(f, "{code}{}***{}", &national[..first], &national[national.len() - last..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether numbers are assigned under this ISO 3166 region: what `LATCHKEY_COUNTRIES` and `LATCHKEY_DEFAULT_REGION`
/// may name.
pub fn is_region(code: &str) -> bool {
    plan::is_region(code)
}

/// Reads the numbering plans in, so that no message waits for it: for who is handed numbers that were read before.
pub fn load_plans() {
    std::hint::black_box(Phone::trusted("+14155552671").is_ok());
}

/// Reads the numbering plans in, and makes the patterns that writings are read by, so that no request waits for it.
pub fn warm_up() {
    let policy = Policy { default_region: Some("US".into()), ..Policy::default() };
    for writing in ["+989123456789", "+447400123456", "(415) 555-2671"] {
        // The outcome is the plans' affair; what counts is that they and their patterns are loaded.
        std::hint::black_box(policy.parse(writing).is_ok());
    }
}

#[cfg(test)]
mod tests;
