//! The clients' pages (`docs/clients`): their Python and JavaScript run against a live gateway, and what the others name
//! exists.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::json;

use crate::javascript::{self, World};
use crate::pages::{self, Block};
use testkit::both_sides;
use testkit::folder::Folder;
use testkit::http::new_phone;
use testkit::system::{Side, System};

both_sides!(
    p9_the_documented_javascript_signs_in_on_a_bad_network,
    p9_the_documented_python_signs_in_on_a_bad_network,
    the_documented_prompt_signs_in,
);

const PYTHON: &str = "/usr/bin/python3";
const STEPS: [&str; 4] = ["signed in", "refreshed", "signed out", "signed in again"];

/// The blocks of a page in this language.
fn code(page: &str, language: &str) -> Vec<String> {
    let blocks = pages::blocks(&pages::text(&format!("docs/clients/{page}.md")));
    let found: Vec<_> =
        blocks.into_iter().filter(|block| block.info == language).map(|block| block.text).collect();
    assert!(!found.is_empty(), "{page}.md has no {language}");
    found
}

async fn p9_the_documented_javascript_signs_in_on_a_bad_network(side: Side) {
    let system = System::start(side, &[]).await;
    let [client] = &code("typescript", "js")[..] else { panic!("one client is documented") };
    // Only a module exports; here all of it is one script.
    let client = client.replace("export class", "class");
    let input = json!({ "url": system.api().url, "phone": new_phone() });
    let files = [include_str!("browser.js"), &client];
    let ended =
        javascript::run(&World::new(None), &files, &input, include_str!("journey.js")).await;
    assert_eq!(ended.unwrap().value, json!(STEPS));
}

/// Runs Python with the page's client in a file.
fn python(folder: &Folder, script: &str, args: &[&str], typed: &str) -> Output {
    let file = folder.join("client.py");
    std::fs::write(&file, &code("python", "python")[0]).unwrap();
    std::fs::write(folder.join("typed"), typed).unwrap();
    let typed = std::fs::File::open(folder.join("typed")).unwrap();
    let mut command = Command::new(PYTHON);
    command.args(["-c", script]).arg(&file).args(args).env_clear().stdin(typed);
    let output = command.output();
    let output =
        output.unwrap_or_else(|e| panic!("{PYTHON} does not start ({e}): install python3"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    output
}

async fn p9_the_documented_python_signs_in_on_a_bad_network(side: Side) {
    let system = System::start(side, &[]).await;
    let (folder, url, phone) = (Folder::new("client"), system.api().url, new_phone());
    let run = tokio::task::spawn_blocking(move || {
        python(&folder, include_str!("journey.py"), &[&url, &phone], "")
    });
    let said = String::from_utf8(run.await.unwrap().stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), STEPS);
}

/// The lines at a prompt: the number and the code are typed in.
async fn the_documented_prompt_signs_in(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    // The code is known before: a second request joins the first one's code (P5).
    let typed = format!("{phone}\n{}\n", api.fresh_code(&phone).await);
    let [_, prompt] = &code("python", "python")[..] else {
        panic!("a client and a prompt are documented")
    };
    let at = format!("Latchkey(\"{}\")", api.url);
    assert!(prompt.contains("Latchkey(\"http://127.0.0.1:8080\")"), "{prompt}");
    let prompt = prompt.replace("Latchkey(\"http://127.0.0.1:8080\")", &at);
    let script = format!("import sys; exec(open(sys.argv[1]).read())\n{prompt}");
    let run =
        tokio::task::spawn_blocking(move || python(&Folder::new("client"), &script, &[], &typed));
    let said = String::from_utf8(run.await.unwrap().stdout).unwrap();
    assert!(said.ends_with(&format!("signed in: {phone}\n")), "{said}");
}

/// What no compiler checks here: its paths, names and codes are the contract's.
#[test]
fn what_the_pages_name_exists() {
    let (paths, contract) = (pages::api_paths(), pages::text("docs/CONTRACT.md"));
    let words: BTreeSet<_> = contract.split(|c: char| !is_of_a_word(c)).collect();
    for page in ["kotlin", "swift", "flutter", "typescript", "python"] {
        let blocks = pages::blocks(&pages::text(&format!("docs/clients/{page}.md")));
        let code: Vec<_> =
            blocks.iter().filter(|block| block.info != "sh" && block.info != "json").collect();
        assert!(code.len() >= 2, "{page}");
        let mut called = 0;
        for text in code.iter().flat_map(|block| strings(block)) {
            if let Some(path) = path_in(&text) {
                assert!(paths.contains(&path), "{page}: {path} is no path of the API");
                called += 1;
            } else if text.contains('_') && text.chars().all(is_of_a_word) {
                assert!(words.contains(text.as_str()), "{page}: the contract has no {text}");
            }
        }
        assert!(called >= 3, "{page} calls {called} paths");
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The texts between two quotes of one kind, on one line.
fn strings(block: &Block) -> Vec<String> {
    let mut found = Vec::new();
    for line in block.text.lines() {
        for quote in ['"', '\'', '`'] {
            found.extend(line.split(quote).skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The path of the API in a text, with `{}` in the place of what the language puts in.
fn path_in(text: &str) -> Option<String> {
    let from = text.find("/v1/")?;
    let parts = text[from..].split('/').map(|part| {
        let is_filled = part.starts_with(['$', '{', '\\']);
        if is_filled { "{}" } else { part.split(['?', ' ']).next().unwrap_or_default() }
    });
    Some(parts.collect::<Vec<_>>().join("/"))
}

#[test]
fn a_wrong_path_or_name_in_a_page_is_found() {
    assert_eq!(
        path_in("${base}/v1/otp/${request.request_id}/events").as_deref(),
        Some("/v1/otp/{}/events")
    );
    assert_eq!(
        path_in("{self.base}/v1/otp/{request_id}/events").as_deref(),
        Some("/v1/otp/{}/events")
    );
    assert_eq!(path_in("/v1/logn").as_deref(), Some("/v1/logn"));
    assert!(!pages::api_paths().contains("/v1/logn"));
    let line =
        Block { heading: String::new(), info: String::new(), text: "a('x_y', \"z\")".to_owned() };
    assert_eq!(strings(&line), ["z", "x_y"]);
}

#[test]
fn the_table_of_errors_has_each_code_of_the_contract_and_no_other() {
    let page = pages::text("docs/clients/README.md");
    let rows = page.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let mut found = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, status, code, advice, _] = cells[..] else { panic!("{row}") };
        assert!(status.parse::<u16>().is_ok() && advice.len() > 20, "{row}");
        assert!(found.insert(code.trim_matches('`').to_owned()), "{code} stands twice");
    }
    assert_eq!(found, pages::error_codes());
}

#[test]
fn the_settings_that_the_pages_name_exist() {
    let settings = pages::text("docs/configuration.md");
    for page in ["README", "kotlin", "swift", "flutter", "typescript", "python"] {
        let text = pages::text(&format!("docs/clients/{page}.md"));
        let words =
            text.split(|c: char| !is_of_a_word(c)).filter(|word| word.starts_with("LATCHKEY_"));
        for word in words {
            assert!(settings.contains(&format!("`{word}`")), "{page}: {word}");
        }
    }
}
