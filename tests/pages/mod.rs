//! What tests read of the pages that people read: blocks of code, and the contract's calls and error codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Reads a file of the project.
pub(crate) fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

/// A fenced block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The heading that it stands under.
    pub heading: String,
    /// What stands after the fence: a language, and more.
    pub info: String,
    pub text: String,
}

/// Returns the fenced blocks of a page, in their order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut heading, mut open) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let heading = heading.clone();
                open = Some(Block { heading, info: info.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix('#') {
                    title.trim_start_matches('#').trim().clone_into(&mut heading);
                }
            }
        }
    }
    assert_eq!(open, None, "a block without an end");
    found
}

/// Returns the codes of the contract's table of errors (section 3).
pub(crate) fn error_codes() -> BTreeSet<String> {
    let contract = text("docs/CONTRACT.md");
    let table = section_3(&contract)
        .split("| status | code | members |")
        .nth(1)
        .expect("the table of errors");
    let rows = table.lines().take_while(|line| line.starts_with('|') || line.is_empty());
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    // What follows a semicolon is a header, with names of other standards.
    let codes = cells.flat_map(|cell| quoted(cell.split(';').next().unwrap_or_default()));
    let is_code = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let codes: BTreeSet<_> = codes.into_iter().filter(is_code).map(str::to_owned).collect();
    assert!(codes.len() >= 20, "{codes:?}");
    codes
}

/// Returns the paths of the API, with `{}` for an id: those of the contract's table of calls and those of the router.
pub(crate) fn api_paths() -> BTreeSet<String> {
    let contract = text("docs/CONTRACT.md");
    let table = section_3(&contract)
        .split("| Call | Request | Answer |")
        .nth(1)
        .expect("the table of calls");
    let rows = table.lines().take_while(|line| line.starts_with('|') || line.is_empty());
    let mut found = BTreeSet::new();
    for cell in rows.filter_map(|row| row.split('|').nth(1)) {
        let mut last = String::new();
        for part in quoted(cell).iter().filter_map(|call| call.split(' ').next_back()) {
            last = part.strip_prefix('…').map_or(part.to_owned(), |rest| last + rest);
            found.insert(last.clone());
        }
    }
    let router = text("gateway/src/router.rs");
    found.extend(router.split('"').skip(1).step_by(2).map(str::to_owned));
    let is_api = |path: &String| {
        let begins = ["/v1/", "/.well-known/"].iter().any(|start| path.starts_with(start));
        begins || path == "/inbox/messages"
    };
    let found: BTreeSet<_> =
        found.into_iter().filter(is_api).map(|path| without_names(&path)).collect();
    assert!(found.len() >= 15, "{found:?}");
    found
}

/// Puts `{}` in the place of `{name}`.
pub(crate) fn without_names(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn section_3(contract: &str) -> &str {
    let after = contract.split("\n## 3 ").nth(1).expect("section 3");
    after.split("\n## ").next().unwrap_or(after)
}

/// What stands in backticks on one line.
pub(crate) fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn blocks_know_their_heading_and_their_language() {
    let page = "# One\n```sh\na\n# no heading\n```\n## Two\ntext\n\n```json title\n{}\n```\n";
    let block = |heading: &str, info: &str, text: &str| Block {
        heading: heading.to_owned(),
        info: info.to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(
        blocks(page),
        [block("One", "sh", "a\n# no heading\n"), block("Two", "json title", "{}\n")]
    );
}

#[test]
fn the_contracts_calls_and_errors_are_found() {
    let paths = api_paths();
    for path in
        ["/v1/otp/{}/events", "/v1/me/phone/confirm", "/v1/me/sessions/{}", "/inbox/messages"]
    {
        assert!(paths.contains(path), "{path} in {paths:?}");
    }
    let codes = error_codes();
    assert!(codes.contains("otp_incorrect") && codes.contains("session_revoked"), "{codes:?}");
    assert!(!codes.contains("use_dpop_nonce"), "{codes:?}");
}
