//! The world's numbering plans. Only this file uses rlibphonenumber, and it passes nothing but digits.

use super::calling_code;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

/// A number parsed by the plans; it may be unassigned.
pub(super) struct Number {
    parsed: PhoneNumber,
    e164: String,
}

/// Whether a number can receive messages.
pub(super) enum Kind {
    /// A mobile number in this region, or a number of a plan that does not distinguish mobile from fixed lines (such as
    /// +1).
    Mobile(String),
    /// Assigned, but a fixed line, premium, shared cost, personal, pager, toll free, internet, voicemail or company
    /// number, or under no country (satellite, international networks and services).
    Other,
    Unassigned,
}

/// Parses digits that begin with `+` or belong to the given region.
pub(super) fn read(digits: &str, region: Option<&str>) -> Option<Number> {
    let region = match region {
        Some(code) => Some(code.parse::<Region>().ok()?),
        None => None,
    };
    let parsed = PHONE_NUMBER_UTIL.parse(digits, region).ok()?;
    let e164 = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned();
    super::writing::is_e164(&e164).then_some(Number { parsed, e164 })
}

/// Returns a mobile number of a region, in E.164; `None` if the plans have no such region.
pub(super) fn example(region: &str) -> Option<String> {
    let region = region.parse::<Region>().ok()?;
    let number = PHONE_NUMBER_UTIL
        .get_example_number_for_type_and_region(region, PhoneNumberType::Mobile)
        .ok()?;
    Some(PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164).into_owned())
}

impl Number {
    pub(super) fn e164(&self) -> String {
        self.e164.clone()
    }

    pub(super) fn calling_code(&self) -> i32 {
        self.parsed.country_code
    }

    pub(super) fn national(&self) -> &str {
        let digits = &self.e164[1..];
        &digits[calling_code::of(digits).map_or(0, str::len)..]
    }

    pub(super) fn is_fixed_line(&self) -> bool {
        PHONE_NUMBER_UTIL.get_number_type(&self.parsed) == PhoneNumberType::FixedLine
    }

    pub(super) fn is_mobile(&self) -> bool {
        PHONE_NUMBER_UTIL.get_number_type(&self.parsed) == PhoneNumberType::Mobile
    }

    /// Returns the region of an assigned number, unless it belongs to no country.
    pub(super) fn region(&self) -> Option<String> {
        if !PHONE_NUMBER_UTIL.is_valid_number(&self.parsed) {
            return None;
        }
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&self.parsed)?;
        (region != Region::World).then(|| region.as_region_str().to_string())
    }

    pub(super) fn kind(&self) -> Kind {
        let code = self.calling_code();
        if PHONE_NUMBER_UTIL.get_region_for_country_code(code) == Some(Region::World) {
            return Kind::Other;
        }
        let Some(region) = self.region() else { return Kind::Unassigned };
        match PHONE_NUMBER_UTIL.get_number_type(&self.parsed) {
            PhoneNumberType::Mobile | PhoneNumberType::FixedLineOrMobile => Kind::Mobile(region),
            PhoneNumberType::Unknown => Kind::Unassigned,
            _ => Kind::Other,
        }
    }
}

#[cfg(test)]
pub(super) fn is_calling_code(code: i32) -> bool {
    PHONE_NUMBER_UTIL.get_region_for_country_code(code).is_some()
}

/// Every region of the plans, its calling code, and the sizes of the groups in which its mobile numbers are written.
#[cfg(test)]
pub(super) fn countries() -> Vec<(String, i32, String)> {
    let mut all: Vec<_> = PHONE_NUMBER_UTIL
        .get_supported_regions()
        .filter_map(|region| {
            let code = PHONE_NUMBER_UTIL.get_country_code_for_region(region)?;
            let number = PHONE_NUMBER_UTIL
                .get_example_number_for_type_and_region(region, PhoneNumberType::Mobile)
                .ok()?;
            let written = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::International);
            let groups = written.split([' ', '-']).skip(1).filter(|group| !group.is_empty());
            let groups: String = groups.map(|group| group.len().to_string()).collect();
            Some((region.as_region_str().to_string(), code, groups))
        })
        .collect();
    all.sort();
    all
}
