//! Phone numbers: many spellings, one key per subscriber.
//!
//! [`Policy::parse`] is the only entry point for untrusted input. It refuses unusual spellings before it consults the
//! numbering plans ([`writing`]), parses the rest by the plans ([`plan`]), and folds the national variants of one
//! subscriber into one number ([`subscriber`]). Limits, codes and accounts depend on the result: two keys for one
//! subscriber would mean two budgets.

mod calling_code;
mod countries;
mod e164;
mod plan;
mod subscriber;
mod writing;

use std::collections::BTreeSet;
use std::fmt;

pub use countries::{Country, countries, country_label};
pub use e164::{E164, NotE164};
use plan::Kind;
use writing::Writing;

/// The region of a number outside every numbering plan: "unknown" in ISO 3166's user-assigned range.
pub const NO_REGION: &str = "ZZ";

/// A subscriber's number and its region, by the numbering plans. It prints masked, like its [`E164`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone {
    e164: E164,
    region: [u8; 2],
}

/// Why an input is not a phone number that Latchkey sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a number, or not assigned by any plan: `invalid_phone_number`.
    #[error("not a phone number")]
    Invalid,
    /// A number, but not of a mobile subscriber in a served country: `phone_number_not_supported`.
    #[error("messages cannot be sent to this number")]
    NotSupported,
}

/// The numbers that the operator accepts.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// ISO 3166 region of numbers without a calling code; `None` refuses such numbers.
    pub default_region: Option<String>,
    /// The served ISO 3166 regions; `None` serves all. By numbering region: +1 876 is JM, not US.
    pub countries: Option<BTreeSet<String>>,
    /// Numbers that skip validation and the list of countries (contract, ruling 8).
    pub test_numbers: Vec<E164>,
}

impl Policy {
    /// Parses a phone number into its subscriber's canonical number.
    pub fn parse(&self, writing: &str) -> Result<Phone, Refusal> {
        let number = match Writing::of(writing).ok_or(Refusal::Invalid)? {
            Writing::International(e164) => match self.test_number(&e164) {
                Some(phone) => return Ok(phone),
                None => plan::read(&e164, None),
            },
            Writing::National(digits) => {
                let region = self.default_region.as_deref().ok_or(Refusal::Invalid)?;
                plan::read(&digits, Some(region))
            }
        };
        let number = subscriber::canonical(number.ok_or(Refusal::Invalid)?)?;
        let e164 = number.e164();
        if let Some(phone) = self.test_number(&e164) {
            return Ok(phone);
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
        Ok(E164::unchecked(e164).into())
    }

    fn test_number(&self, e164: &str) -> Option<Phone> {
        self.test_numbers.iter().find(|number| **number == *e164).cloned().map(Phone::from)
    }
}

/// Finds the region of a number from Latchkey's own table or seal, without a policy. It loads the numbering plans (6 MB),
/// so the workers leave it: their events name the region.
impl From<E164> for Phone {
    fn from(e164: E164) -> Self {
        let mut region = [b'Z'; 2];
        if let Some(found) = plan::read(e164.expose(), None).and_then(|number| number.region()) {
            region.copy_from_slice(found.as_bytes());
        }
        Self { e164, region }
    }
}

impl Phone {
    /// Restores a number from a text of our own, without a policy.
    ///
    /// # Errors
    /// If the text is not E.164.
    pub fn trusted(e164: &str) -> Result<Self, NotE164> {
        e164.parse::<E164>().map(Self::from)
    }

    /// Returns the number as events, tables and providers carry it.
    pub fn e164(&self) -> &E164 {
        &self.e164
    }

    /// Returns the ISO 3166 region of the numbering plan, or [`NO_REGION`] for a test number outside all plans.
    pub fn region(&self) -> &str {
        // Two ASCII letters by construction.
        std::str::from_utf8(&self.region).unwrap_or(NO_REGION)
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.e164.fmt(f)
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of a small plan, whose own patterns take next to nothing.
const SAINT_HELENA: &str = "+29051234";

/// Loads the numbering plans and compiles the patterns that every number is parsed with, and those of this region (ISO
/// 3166), so that no request waits for it: 20 ms. The patterns of another region are compiled at its first number, in 4
/// to 9 ms, and take 1 MB from then on; so those of regions that may never come are not.
pub fn warm_up(region: Option<&str>) {
    let example = region.and_then(plan::example).unwrap_or_else(|| SAINT_HELENA.to_owned());
    // The outcome does not matter.
    std::hint::black_box(Policy::default().parse(&example).is_ok());
}

#[cfg(test)]
mod tests;
