//! The numbers that a deployment serves: its policy, and its test numbers until they expire.

use crate::{Config, TestNumber};
use domain::code::Code;
use domain::timestamp::Timestamp;

use domain::phone::{E164, Phone, Policy, Refusal};

/// The policy of a configuration. After its end date, a test number is an ordinary number, usually an unassigned one
/// (contract, ruling 8).
#[derive(Clone, Debug)]
pub struct Served {
    with_tests: Policy,
    without: Policy,
    test_numbers: Vec<TestNumber>,
}

impl Served {
    pub fn of(config: &Config) -> Self {
        let without = Policy {
            default_region: config.default_region.clone(),
            countries: config.countries.clone(),
            ..Policy::default()
        };
        let test_numbers =
            config.test_numbers.iter().map(|number| number.phone_number.clone()).collect();
        let with_tests = Policy { test_numbers, ..without.clone() };
        Self { with_tests, without, test_numbers: config.test_numbers.clone() }
    }

    /// Removes the list of countries. For staff commands: an account may belong to a country that is no longer served.
    #[must_use]
    pub fn everywhere(mut self) -> Self {
        self.with_tests.countries = None;
        self.without.countries = None;
        self
    }

    /// Parses a phone number into its subscriber's canonical number.
    pub fn parse(&self, writing: &str, now: Timestamp) -> Result<Phone, Refusal> {
        let phone = self.with_tests.parse(writing)?;
        let over = self.is_listed(phone.e164()) && self.test_code(phone.e164(), now).is_none();
        if over { self.without.parse(writing) } else { Ok(phone) }
    }

    /// Returns the fixed code of a test number before its end date.
    pub fn test_code(&self, phone: &E164, now: Timestamp) -> Option<&Code> {
        let number = self.test_numbers.iter().find(|number| number.phone_number == *phone)?;
        number.until.is_none_or(|until| now < until).then_some(&number.code)
    }

    fn is_listed(&self, phone: &E164) -> bool {
        self.test_numbers.iter().any(|number| number.phone_number == *phone)
    }
}
