//! The world's numbering plans: the one file that asks rlibphonenumber, and it is only ever shown digits.

use std::sync::OnceLock;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

/// A number as the plans read it; not yet known to be assigned.
pub(super) struct Number {
    parsed: PhoneNumber,
    e164: String,
}

/// What a number is good for.
pub(super) enum Kind {
    /// A mobile, or one of the plans that do not tell mobiles from fixed lines (as +1), in this region.
    Mobile(String),
    /// Assigned, but a fixed line, premium, shared cost, personal, pager, toll free, internet, voicemail or company
    /// number, or under no country (satellite, international networks and services).
    Other,
    Unassigned,
}

/// Reads digits, `+` before them or of the given region.
pub(super) fn read(digits: &str, region: Option<&str>) -> Option<Number> {
    let region = match region {
        Some(code) => Some(code.parse::<Region>().ok()?),
        None => None,
    };
    let parsed = PHONE_NUMBER_UTIL.parse(digits, region).ok()?;
    let e164 = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned();
    super::writing::is_e164(&e164).then_some(Number { parsed, e164 })
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
        &digits[calling_code(digits).map_or(0, |(_, len)| usize::from(len))..]
    }

    pub(super) fn is_fixed_line(&self) -> bool {
        PHONE_NUMBER_UTIL.get_number_type(&self.parsed) == PhoneNumberType::FixedLine
    }

    pub(super) fn is_mobile(&self) -> bool {
        PHONE_NUMBER_UTIL.get_number_type(&self.parsed) == PhoneNumberType::Mobile
    }

    /// The region that an assigned number belongs to, if it is a country's.
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

/// The calling code that these digits begin with, and its length. No code is the start of another.
pub(super) fn calling_code(digits: &str) -> Option<(u16, u8)> {
    (1..=3_u8).find_map(|len| {
        let code: u16 = digits.get(..usize::from(len))?.parse().ok()?;
        // "01" would read as 1.
        let exists = !digits.starts_with('0')
            && PHONE_NUMBER_UTIL.get_region_for_country_code(i32::from(code)).is_some();
        exists.then_some((code, len))
    })
}

pub(super) fn is_region(code: &str) -> bool {
    static REGIONS: OnceLock<Vec<String>> = OnceLock::new();
    REGIONS
        .get_or_init(|| {
            PHONE_NUMBER_UTIL
                .get_supported_regions()
                .map(|r| r.as_region_str().to_string())
                .collect()
        })
        .iter()
        .any(|region| region == code)
}
