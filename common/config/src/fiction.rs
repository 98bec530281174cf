//! The numbers that regulators keep for fiction: no subscriber ever gets one, so a test number among them takes nobody's
//! sign-in away (contract, ruling 48).

/// The first and last national numbers of each range, after their calling code and in digits.
///
/// Sources: Ofcom, "Telephone numbers for use in TV and radio drama programmes" (mobile); ARCEP, decision 2018-0881
/// (06 39 98); PTS, "Telefonnummer för användning i böcker och filmer" (mobile); ACMA, "Phone numbers for use in TV
/// shows, films and creative works" (mobile).
const RANGES: [(&str, u64, u64); 6] = [
    ("44", 7_700_900_000, 7_700_900_999),
    ("33", 639_980_000, 639_989_999),
    ("46", 701_740_605, 701_740_699),
    ("61", 491_570_006, 491_570_006),
    ("61", 491_570_110, 491_570_110),
    ("61", 491_570_156, 491_570_159),
];

/// Returns whether a number in E.164 is kept for fiction.
pub(super) fn is_fiction(e164: &str) -> bool {
    let digits = e164.trim_start_matches('+');
    is_nanp_fiction(digits)
        || RANGES.iter().any(|(code, first, last)| {
            let national = digits.strip_prefix(code).and_then(|rest| rest.parse().ok());
            national.is_some_and(|number| (*first..=*last).contains(&number))
        })
}

/// 555-0100 to 555-0199 in every area of the North American plan (ATIS-0300115, "555 NXX Assignment Guidelines").
fn is_nanp_fiction(digits: &str) -> bool {
    let line = digits.strip_prefix('1').filter(|rest| rest.len() == 10).map(|rest| &rest[3..]);
    line.is_some_and(|line| line.starts_with("55501"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f18_numbers_kept_for_fiction_are_known_and_their_neighbours_are_not() {
        for fiction in ["+14155550100", "+12125550199", "+447700900123", "+33639981234"] {
            assert!(is_fiction(fiction), "{fiction}");
        }
        for real in
            ["+14155552671", "+14155550200", "+447700901000", "+33639990000", "+555", "+1555010"]
        {
            assert!(!is_fiction(real), "{real}");
        }
    }
}
