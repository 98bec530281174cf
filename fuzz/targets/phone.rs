//! A phone number as a client writes it. One subscriber has one number, whatever the spelling, and it prints masked.
#![no_main]

use domain::phone::{Phone, Policy};
use libfuzzer_sys::fuzz_target;

/// Regions whose numbers are written in very different ways.
const REGIONS: [Option<&str>; 8] =
    [None, Some("IR"), Some("US"), Some("AR"), Some("MX"), Some("CI"), Some("IT"), Some("GB")];

// The first byte chooses the region of numbers without a calling code.
fuzz_target!(|text: &str| {
    let Some(first) = text.chars().next() else { return };
    let region = REGIONS[first as usize % REGIONS.len()];
    let policy = Policy { default_region: region.map(str::to_owned), ..Policy::default() };
    let Ok(phone) = policy.parse(&text[first.len_utf8()..]) else { return };
    let e164 = phone.e164().expose();

    let again = policy.parse(e164).expect("an accepted number is accepted in E.164");
    assert_eq!(again.e164().expose(), e164, "the number of a number is the number");
    assert_eq!(Phone::trusted(e164).expect("it is E.164"), phone);

    let digits = e164.strip_prefix('+').expect("E.164 begins with a plus");
    let calling_code = phone.e164().calling_code();
    assert_eq!(format!("{calling_code}{}", phone.e164().national_number()), digits);
    assert!(digits.starts_with(phone.e164().operator_prefix()));
    for printed in [format!("{phone}"), format!("{phone:?}"), format!("{:?}", phone.e164())] {
        let shown = printed.bytes().filter(u8::is_ascii_digit).count();
        assert!(shown + 4 <= digits.len(), "at least four digits are hidden");
    }
});
