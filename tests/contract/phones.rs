//! Checks every row of `phones.csv`: the parser agrees with Google's reference implementation.

use std::collections::BTreeSet;

use domain::phone::{Phone, Policy, Refusal};
use proptest::prelude::*;

struct Row {
    expected: String,
    region: String,
    default_region: Option<String>,
    writing: String,
}

fn rows() -> Vec<Row> {
    include_str!("phones.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [expected, region, default, writing] =
                line.splitn(4, ',').collect::<Vec<_>>().try_into().unwrap();
            Row {
                expected: expected.to_owned(),
                region: region.to_owned(),
                default_region: (!default.is_empty()).then(|| default.to_owned()),
                writing: serde_json::from_str(writing).unwrap(),
            }
        })
        .collect()
}

fn told(result: &Result<Phone, Refusal>) -> (&str, &str) {
    match result {
        Ok(phone) => (phone.e164().expose(), phone.region()),
        Err(Refusal::Invalid) => ("invalid", ""),
        Err(Refusal::NotSupported) => ("not_supported", ""),
    }
}

#[test]
fn every_input_is_parsed_as_the_reference_says() {
    let rows = rows();
    let mut wrong = Vec::new();
    let mut regions = BTreeSet::new();
    for row in &rows {
        let policy = Policy { default_region: row.default_region.clone(), ..Policy::default() };
        let got = policy.parse(&row.writing);
        if told(&got) != (row.expected.as_str(), row.region.as_str()) {
            wrong.push(format!(
                "{:?}: {:?}, not {:?}",
                row.writing,
                told(&got),
                (&row.expected, &row.region)
            ));
        }
        regions.insert(row.region.as_str());
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(rows.len() >= 200 && regions.len() > 40, "the table shrank: {} rows", rows.len());
}

#[test]
fn a_canonical_number_is_unchanged() {
    for row in rows().iter().filter(|row| row.expected.starts_with('+')) {
        let again = Policy::default().parse(&row.expected);
        assert_eq!(told(&again).0, row.expected, "{:?}", row.writing);
    }
}

fn accepted() -> Vec<String> {
    let all: BTreeSet<String> =
        rows().into_iter().map(|row| row.expected).filter(|e164| e164.starts_with('+')).collect();
    all.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn separators_never_change_the_number(
        e164 in prop::sample::select(accepted()),
        cuts in prop::collection::vec((0_usize..16, prop::sample::select(vec![" ", "-", ".", "/", "(", ")", " (", ") "])), 0..8),
        zeros in any::<bool>(),
    ) {
        let mut writing = if zeros { format!("00{}", &e164[1..]) } else { e164.clone() };
        for (at, separator) in cuts {
            let at = (1 + at).min(writing.len());
            writing.insert_str(at, separator);
        }
        match Policy::default().parse(&writing) {
            Ok(phone) => prop_assert_eq!(phone.e164().expose(), e164),
            Err(refusal) => prop_assert!(writing.len() > 32, "{:?}: {}", writing, refusal),
        }
    }

    #[test]
    fn no_input_makes_the_parser_panic(text in "\\PC{0,40}", region in prop::option::of("[A-Z]{2}")) {
        let policy = Policy { default_region: region, ..Policy::default() };
        if let Ok(phone) = policy.parse(&text) {
            prop_assert!(Phone::trusted(phone.e164().expose()).is_ok());
        }
    }

    #[test]
    fn a_parsed_number_is_its_own_canonical_form(
        plus in any::<bool>(), digits in "[0-9 .()/-]{4,24}", region in prop::option::of("[A-Z]{2}"),
    ) {
        let policy = Policy { default_region: region, ..Policy::default() };
        let writing = if plus { format!("+{digits}") } else { digits };
        if let Ok(phone) = policy.parse(&writing) {
            let again = policy.parse(phone.e164().expose());
            prop_assert_eq!(told(&again).0, phone.e164().expose());
            prop_assert_eq!(told(&again).1, phone.region());
        }
    }
}
