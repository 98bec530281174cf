//! The words of the sign-in page: every language has all of them, and every refusal of the contract has some.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Those of the texts.
pub(crate) const LOCALES: [&str; 10] =
    ["en", "fa", "es", "fr", "de", "ar", "tr", "pt-BR", "hi", "id"];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn words(locale: &str) -> BTreeMap<String, String> {
    serde_json::from_str(&file(&format!("gateway/src/pages/texts/{locale}.json"))).unwrap()
}

/// The placeholders of a text, such as `{n}`.
fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

#[test]
fn every_language_has_all_words_with_the_same_placeholders() {
    let english = words("en");
    let texts = file("common/texts/src/builtin.rs");
    assert_eq!(
        texts.matches("locale: \"").count(),
        LOCALES.len(),
        "the page has the languages of the texts"
    );
    for locale in LOCALES {
        assert!(texts.contains(&format!("locale: \"{locale}\"")), "{locale}");
        let own = words(locale);
        assert_eq!(own.keys().collect::<Vec<_>>(), english.keys().collect::<Vec<_>>(), "{locale}");
        for (name, text) in &own {
            assert_eq!(placeholders(text), placeholders(&english[name]), "{locale}: {name}");
            assert!(!text.trim().is_empty() && !text.contains('<'), "{locale}: {name}");
        }
        let same = own.iter().filter(|(name, text)| english[*name] == **text).count();
        assert!(locale == "en" || same < 10, "{locale}: {same} words are left in English");
    }
}

/// What the calls of the page are never answered: they are calls of others, or faults that the page does not make.
const NOT_MET: [&str; 8] = [
    "invalid_credentials",
    "fresh_sign_in_required",
    "invalid_signature",
    "host_not_allowed",
    "phone_number_taken",
    "method_not_allowed",
    "payload_too_large",
    "unsupported_media_type",
];

#[test]
fn p8_every_refusal_of_the_contract_has_words_on_the_sign_in_page() {
    let contract = file("docs/CONTRACT.md");
    let (_, table) = contract.split_once("| status | code | members |").unwrap();
    let (table, _) = table.split_once("## 4").unwrap();
    let codes: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|code| {
            code.contains('_') && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
        .filter(|code| !["use_dpop_nonce", "invalid_dpop_proof"].contains(code))
        .collect();
    assert!(codes.len() > 15, "{codes:?}");
    let english = words("en");
    // Its words are those of the limit.
    let limited = |code: &str| code == "too_many_requests";
    for code in codes {
        let has_words = english.contains_key(&format!("error_{code}")) || limited(code);
        assert_ne!(has_words, NOT_MET.contains(&code), "{code}");
    }
}
