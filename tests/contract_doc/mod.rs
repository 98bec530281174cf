//! The contract's numbers hold: every promise has a test, and every number that the project cites exists.
//!
//! This folder is not searched itself: its own examples cite numbers that do not exist.

mod document;
mod links;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use self::document::{Contract, quoted_names};
use self::sources::{Source, cited_rulings, cited_sections, function_names, promises_of};

const CONTRACT: &str = "docs/CONTRACT.md";
const HAZARDS: &str = "docs/hazards-and-tests.md";
const SECURITY: &str = "docs/security.md";

#[test]
fn every_promise_has_a_test_and_every_cited_number_is_in_the_contract() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Source::all_under(root, "tests/contract_doc")?;
    let contract = fs::read_to_string(root.join(CONTRACT))?;
    let hazards = fs::read_to_string(root.join(HAZARDS))?;
    let mut found = problems(&contract, &hazards, &sources);
    let security = fs::read_to_string(root.join(SECURITY))?;
    found.extend(missing_tests(SECURITY, &security, &test_names(&sources), |_| true));
    assert!(found.is_empty(), "{} problems:\n{}", found.len(), found.join("\n"));
    Ok(())
}

/// The numbering plans take 6 MB, a third of what an idle worker takes without them; an event names its number's country.
#[test]
fn the_workers_name_nothing_that_loads_the_numbering_plans() -> anyhow::Result<()> {
    const LOADS: [&str; 2] = ["Phone", "warm_up"];
    for crate_of in ["otp-worker", "sms-worker"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_of);
        let sources = Source::all_under(&root, "")?;
        assert!(sources.iter().any(Source::is_rust), "{crate_of} has no sources");
        for Source { path, text } in sources.iter().filter(|source| source.is_rust()) {
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let found = words.find(|word| LOADS.contains(word));
            assert_eq!(found, None, "{crate_of}/{path}");
        }
    }
    Ok(())
}

/// Everything in which the two documents and the sources disagree, one line each.
fn problems(contract: &str, hazards: &str, sources: &[Source]) -> Vec<String> {
    let names = test_names(sources);
    let read = Contract::read(contract);
    let mut found = gaps(&read.rulings);
    found.extend(promises_without_tests(&read, &names));
    found.extend(tests_of_unknown_promises(&read, &names));
    for source in sources {
        found.extend(unknown_citations(&read, source));
    }
    found.extend(missing_tests(CONTRACT, contract, &names, |name| !promises_of(name).is_empty()));
    found.extend(missing_tests(HAZARDS, hazards, &names, |_| true));
    found
}

fn test_names(sources: &[Source]) -> BTreeSet<&str> {
    let rust = sources.iter().filter(|source| source.is_rust());
    rust.flat_map(|source| function_names(&source.text)).collect()
}

/// Where the rulings do not go 1, 2, 3, …
fn gaps(rulings: &[u32]) -> Vec<String> {
    if rulings.is_empty() {
        return vec![format!("{CONTRACT}: no rulings were found")];
    }
    (1..)
        .zip(rulings)
        .find(|(expected, number)| expected != *number)
        .map(|(expected, number)| {
            format!("{CONTRACT}: ruling {number} stands where ruling {expected} is due")
        })
        .into_iter()
        .collect()
}

fn promises_without_tests(contract: &Contract, names: &BTreeSet<&str>) -> Vec<String> {
    let tested: BTreeSet<u32> = names.iter().flat_map(|name| promises_of(name)).collect();
    if contract.promises.is_empty() {
        return vec![format!("{CONTRACT}: no promises were found")];
    }
    let untested = contract.promises.difference(&tested);
    untested.map(|number| format!("P{number}: no test's name starts with p{number}_")).collect()
}

fn tests_of_unknown_promises(contract: &Contract, names: &BTreeSet<&str>) -> Vec<String> {
    let is_unknown = |number: &u32| !contract.promises.contains(number);
    let unknown = |name: &&&str| is_sentence(name) && promises_of(name).iter().any(is_unknown);
    let of_unknown = names.iter().filter(unknown);
    of_unknown.map(|name| format!("{name}: the contract has no such promise")).collect()
}

fn unknown_citations(contract: &Contract, source: &Source) -> Vec<String> {
    let at = |line: usize| format!("{}:{line}", source.path);
    let rulings = cited_rulings(&source.text)
        .into_iter()
        .filter(|(_, number)| !contract.rulings.contains(number))
        .map(|(line, number)| format!("{}: the contract has no ruling {number}", at(line)));
    let sections = cited_sections(&source.text)
        .into_iter()
        .filter(|(_, number)| !contract.sections.contains(number))
        .map(|(line, number)| format!("{}: the contract has no section {number}", at(line)));
    rulings.chain(sections).collect()
}

/// The tests that a document names in backticks and that do not exist. A name that ends with `…` stands for any test
/// that begins like it.
fn missing_tests(
    document: &str,
    text: &str,
    names: &BTreeSet<&str>,
    is_test: impl Fn(&str) -> bool,
) -> Vec<String> {
    let exists = |name: &str| match name.strip_suffix('…') {
        Some(start) => names.iter().any(|test| test.starts_with(start)),
        None => names.contains(name),
    };
    quoted_names(text)
        .into_iter()
        .filter(|name| is_sentence(name) && is_test(name) && !exists(name))
        .map(|name| format!("{document}: there is no test `{name}`"))
        .collect()
}

/// Whether a name is long enough to be a test's and not a field's.
fn is_sentence(name: &str) -> bool {
    name.matches('_').count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
## 1 Promises
| # | Promise |
|---|---|
| P1 | **One.** `p1_a_thing_holds`, `p2_…` |
| P2 | **Two.** `latchkey_http_request_seconds` |

## 12 Rulings

1. **First.** As in ruling 2.
2. **Second.** With
   3. things.
";

    const TESTS: &str = "\
/// Contract, section 12; rulings 1 and 2.
#[test]
fn p1_a_thing_holds() {}
both_sides!(p2_another_thing_holds_too, a_third_one);
";

    fn rust(text: &str) -> Source {
        Source { path: "src/lib.rs".to_owned(), text: text.to_owned() }
    }

    fn of(contract: &str, hazards: &str, code: &str) -> Vec<String> {
        problems(contract, hazards, &[rust(code)])
    }

    fn only(found: &[String], part: &str) {
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(part), "{found:#?} should say {part}");
    }

    #[test]
    fn a_document_that_agrees_with_its_sources_has_no_problems() {
        let none: [String; 0] = [];
        assert_eq!(of(GOOD, "`p1_a_thing_holds`, `p2_another_thing_…`", TESTS), none);
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        only(&of(&GOOD.replace("p1_a_thing_holds", "p1_"), "", &TESTS.replace("p1_", "")), "P1:");
        only(&of(GOOD, "", &TESTS.replace("p2_another", "another")), "P2:");
    }

    #[test]
    fn a_test_that_is_only_mentioned_in_a_comment_is_no_test() {
        let code =
            TESTS.replace("both_sides!(p2_", "// fn p2_a_thing_that_was_here()\nboth_sides!(");
        only(&of(GOOD, "", &code), "P2:");
    }

    #[test]
    fn a_test_of_a_promise_that_the_contract_lacks_is_found() {
        let code = format!("{TESTS}fn p3_a_third_thing_holds() {{}}");
        only(&of(GOOD, "", &code), "p3_a_third_thing_holds");
        let code = format!("{TESTS}fn p1_p7_two_things_hold() {{}}");
        only(&of(GOOD, "", &code), "p1_p7_two_things_hold");
        let code = format!("{TESTS}fn p99_ms() {{}}");
        assert!(of(GOOD, "", &code).is_empty(), "a percentile is no promise");
    }

    #[test]
    fn a_citation_of_a_ruling_or_section_that_the_contract_lacks_is_found_with_its_line() {
        let with = |line: &str| format!("{TESTS}{line}\n");
        only(
            &of(GOOD, "", &with("// As ruling 3 says.")),
            "src/lib.rs:5: the contract has no ruling 3",
        );
        only(&of(GOOD, "", &with("// (contract, rulings 2 and 9).")), "no ruling 9");
        only(&of(GOOD, "", &with("// (contract, section 4)")), "no section 4");
        assert!(of(GOOD, "", &with("// (RFC 8725, section 4)")).is_empty());
    }

    #[test]
    fn rulings_with_a_gap_twice_or_missing_are_found() {
        let gap = GOOD.replace("2. **Second", "3. **Second").replace("ruling 2", "ruling 1");
        let code = TESTS.replace("rulings 1 and 2", "ruling 1");
        only(&of(&gap, "", &code), "ruling 3 stands where ruling 2 is due");
        let twice = format!("{GOOD}2. **Once more.**\n");
        only(&of(&twice, "", TESTS), "ruling 2 stands where ruling 3 is due");
        let none = GOOD.replace(". **", ") **").replace("ruling 2", "it");
        only(&of(&none, "", "fn p1_a_thing_holds() {} fn p2_a_thing_holds() {}"), "no rulings");
    }

    #[test]
    fn a_document_without_promises_is_a_problem() {
        let none = GOOD.replace("| P", "| Q");
        let found = of(&none, "", "fn helper() {}");
        assert!(found.iter().any(|problem| problem.contains("no promises")), "{found:#?}");
    }

    #[test]
    fn a_document_that_names_a_test_which_does_not_exist_is_a_problem() {
        only(&of(&GOOD.replace("a_thing_holds", "a_thing_held"), "", TESTS), "p1_a_thing_held");
        only(&of(GOOD, "| x | `p1_a_thing_held` |", TESTS), "hazards-and-tests.md");
        only(&of(GOOD, "`a_thing_that_nobody_tries`", TESTS), "a_thing_that_nobody_tries");
        only(&of(GOOD, "`p1_nothing_begins_like_…`", TESTS), "p1_nothing_begins_like_…");
    }
}
