//! Phones with a fixed code.

use std::fmt;

use super::parse::Parsed;
use domain::code::Code;
use domain::phone::{E164, NotE164};
use domain::timestamp::Timestamp;

/// A phone that receives no message and signs in with a fixed code.
#[derive(Clone, PartialEq, Eq)]
pub struct TestNumber {
    /// Need not belong to a numbering plan (contract, ruling 8).
    pub phone_number: E164,
    pub code: Code,
    /// From this moment it is an ordinary phone. `None` (not allowed in production): it never becomes one.
    pub until: Option<Timestamp>,
}

impl fmt::Debug for TestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNumber").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Parses `+15550100001=123456@2027-01-01,…`. Errors give the position of an entry and never quote it.
pub(super) fn parse(text: &str, code_length: u8) -> Parsed<Vec<TestNumber>> {
    let mut numbers: Vec<TestNumber> = Vec::new();
    for (position, entry) in (1..).zip(text.split(',').map(str::trim)) {
        let wrong = |why: &str| format!("entry {position}: {why}");
        let (phone, rest) = entry.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        let (code, end) = match rest.split_once('@') {
            Some((code, end)) => (code.trim(), Some(end.trim())),
            None => (rest.trim(), None),
        };
        let not_e164 = |_: NotE164| wrong("the phone is not `+` and 7 to 15 digits");
        let phone_number: E164 = phone.trim().parse().map_err(not_e164)?;
        if numbers.iter().any(|number| number.phone_number == phone_number) {
            return Err(wrong("the phone is listed twice"));
        }
        let code = Code::parse(code, code_length)
            .ok_or_else(|| wrong(&format!("the code does not have {code_length} digits")))?;
        let until = match end {
            None => None,
            Some(day) => Some(start_of(day).ok_or_else(|| wrong("the end is not a date"))?),
        };
        numbers.push(TestNumber { phone_number, code, until });
    }
    Ok(numbers)
}

/// Returns the start, in UTC, of a day written `2027-01-01`.
fn start_of(day: &str) -> Option<Timestamp> {
    (day.len() == 10).then(|| Timestamp::parse(&format!("{day}T00:00:00Z"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_numbers_have_a_code_and_may_have_an_end() {
        let read = parse("+15550100001=123456@2027-01-01, +9999999=000000", 6).unwrap();
        assert_eq!(read[0].phone_number, *"+15550100001");
        assert_eq!(read[0].code.expose(), "123456");
        assert_eq!(read[0].until.unwrap().to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!((read[1].phone_number.expose(), read[1].until), ("+9999999", None));
        assert!(!format!("{read:?}").contains("1555"), "{read:?}");
    }

    #[test]
    fn a_wrong_test_number_is_reported_by_its_position_and_not_quoted() {
        for (wrong, why) in [
            ("+14155550100", "entry 1: there is no `=`"),
            ("14155550100=123456", "entry 1: the phone is not `+` and 7 to 15 digits"),
            ("+141555=123456", "entry 1: the phone is not `+` and 7 to 15 digits"),
            ("+1415555010012345=123456", "entry 1: the phone is not `+` and 7 to 15 digits"),
            ("+14155550100=12@2099-01-01", "entry 1: the code does not have 6 digits"),
            ("+14155550100=12345a", "entry 1: the code does not have 6 digits"),
            ("+14155550100=123456@tomorrow", "entry 1: the end is not a date"),
            ("+14155550100=123456@2027-02-30", "entry 1: the end is not a date"),
            ("+14155550100=123456,+14155550100=654321", "entry 2: the phone is listed twice"),
            ("+14155550100=123456,", "entry 2: there is no `=`"),
        ] {
            assert_eq!(parse(wrong, 6), Err(why.to_owned()), "{wrong}");
        }
    }
}
