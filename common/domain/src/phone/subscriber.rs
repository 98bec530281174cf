//! Countries where one subscriber has several E.164 forms. Each form is folded into the permanent one; the numbering
//! library keeps them separate. `tools/phones-golden` has the same rules for the golden table: change both together.

use super::Refusal;
use super::plan::{self, Number};

/// Returns the canonical number of the subscriber.
pub(super) fn canonical(number: Number) -> Result<Number, Refusal> {
    let variant = match number.calling_code() {
        52 => mexico(number.national()),
        54 => argentina(&number),
        220 => gambia(number.national()),
        231 | 241 if is_retired(number.calling_code(), number.national()) => {
            return Err(Refusal::NotSupported);
        }
        _ => None,
    };
    match variant.and_then(|e164| plan::read(&e164, None)) {
        Some(folded) => Ok(folded),
        None => Ok(number),
    }
}

/// Before August 2019, a mobile was written +52 **1** and ten digits from abroad, and 044, 045 or 01 and ten digits
/// within Mexico. People still use these forms.
fn mexico(national: &str) -> Option<String> {
    ["044", "045", "01", "1"].iter().find_map(|prefix| {
        let rest = national.strip_prefix(prefix)?;
        (rest.len() == 10).then(|| format!("+52{rest}"))
    })
}

/// A mobile is +54 **9** and ten digits from abroad, and the same ten digits with a 15 within Argentina. Without the 9
/// or 15, the ten digits parse as a fixed line. No number is assigned twice, so the ten digits identify one subscriber
/// either way, and the provider refuses a message to a fixed line.
fn argentina(number: &Number) -> Option<String> {
    let with_nine = format!("+549{}", number.national());
    let mobile = || plan::read(&with_nine, None).is_some_and(|mobile| mobile.is_mobile());
    (number.is_fixed_line() && mobile()).then_some(with_nine)
}

/// From September to November 2026, mobiles of three operators change from seven digits to nine by an operator prefix
/// (pura.gm, public notice on the migration of the mobile numbering plan). Both forms work during that time.
fn gambia(national: &str) -> Option<String> {
    if national.len() != 7 {
        return None;
    }
    let prefix = match national.as_bytes() {
        [b'2' | b'7', ..] | [b'4', b'0' | b'1', ..] => "87",
        [b'3', ..] | [b'5', b'0'..=b'3' | b'8' | b'9', ..] => "83",
        [b'6', ..] => "86",
        _ => return None,
    };
    let folded = format!("+220{prefix}{national}");
    // Blocks that the plan does not migrate stay unchanged.
    plan::read(&folded, None).filter(Number::is_mobile).map(|number| number.e164())
}

/// Returns whether a number predates the digits that Liberia (2013) and Gabon (2019) prepended to every mobile. The
/// library still accepts old numbers beside the new ones. The digits alone do not say which new number an old one
/// became, so old numbers are refused instead of becoming a second key.
fn is_retired(calling_code: i32, national: &str) -> bool {
    match calling_code {
        231 => national.len() == 7,
        _ => national.len() == 7 || national.starts_with('0') && !national.starts_with("01"),
    }
}
