//! What is read of the project's files: the names of functions, and the citations in comments and documents.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The kinds of files that people write prose in. Files without an ending, as scripts and the Dockerfile, are read too.
const ENDINGS: [&str; 9] = ["rs", "lua", "sql", "md", "toml", "yml", "yaml", "sh", "py"];

/// A file of the project.
pub(super) struct Source {
    /// From the project's root, with `/`.
    pub path: String,
    pub text: String,
}

impl Source {
    /// Every text below `root` but what is built, what Git keeps and the folder `except`.
    pub fn all_under(root: &Path, except: &str) -> anyhow::Result<Vec<Self>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(root.join(&folder))
                .with_context(|| format!("list the folder `{folder}`"))?;
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path =
                    if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    if name != "target" && name != ".git" && path != except {
                        folders.push(path);
                    }
                } else if kind.is_file() && is_prose(&name) {
                    // What is no UTF-8 is no text of ours.
                    if let Ok(text) = fs::read_to_string(entry.path()) {
                        found.push(Self { path, text });
                    }
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

fn is_prose(name: &str) -> bool {
    match Path::new(name).extension() {
        Some(ending) => ENDINGS.iter().any(|known| ending == *known),
        None => !name.starts_with('.'),
    }
}

/// The names of the functions that a Rust file defines, and those that it lists for a macro to make tests of: alone on
/// a line, or first in the macro's call.
pub(super) fn function_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        names.extend(line.match_indices("fn ").filter_map(|(at, word)| {
            let before = line[..at].chars().next_back();
            let starts = before.is_none_or(|c| !is_of_a_name(c));
            starts.then(|| name_at(&line[at + word.len()..])).flatten()
        }));
        let list = line.split_once("!(").map_or(line, |(_, list)| list);
        for item in list.trim_end_matches(&[')', ';'][..]).split(',').map(str::trim) {
            // A list holds names and nothing else.
            match name_at(item) {
                Some(name) if name == item && name.contains('_') => names.push(name),
                _ => break,
            }
        }
    }
    names
}

fn name_at(text: &str) -> Option<&str> {
    let end = text.find(|c| !is_of_a_name(c)).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The promises that a test's name starts with: 3 and 4 of `p3_p4_hold`.
pub(super) fn promises_of(name: &str) -> Vec<u32> {
    name.split('_').map_while(|part| part.strip_prefix('p')?.parse().ok()).collect()
}

/// The rulings that a text cites, each with its line: `ruling 28`, `rulings 27 and 29`, `rulings 34 to 36`.
pub(super) fn cited_rulings(text: &str) -> Vec<(usize, u32)> {
    let words = words(text);
    let mut cited = Vec::new();
    for (at, (line, word)) in words.iter().enumerate() {
        let many = match letters(word).as_str() {
            "ruling" => false,
            "rulings" => true,
            _ => continue,
        };
        cited.extend(numbers(&words[at + 1..], many).into_iter().map(|number| (*line, number)));
    }
    cited
}

/// The contract's sections that a text cites, each with its line: `contract, section 7`, `contract, sections 1 and 5`.
pub(super) fn cited_sections(text: &str) -> Vec<(usize, u32)> {
    let words = words(text);
    let mut cited = Vec::new();
    for (at, pair) in words.windows(2).enumerate() {
        let [(_, first), (line, second)] = pair else { continue };
        let many = match letters(second).as_str() {
            "section" => false,
            "sections" => true,
            _ => continue,
        };
        if letters(first) == "contract" {
            cited.extend(numbers(&words[at + 2..], many).into_iter().map(|number| (*line, number)));
        }
    }
    cited
}

/// The words of a text with their lines, without the signs that begin comments: a citation may go on in the next line.
fn words(text: &str) -> Vec<(usize, &str)> {
    let marks = ["//", "///", "//!", "--", "#", ">", "*"];
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut line = line.split_whitespace().peekable();
        line.next_if(|word| marks.contains(word));
        found.extend(line.map(|word| (at + 1, word)));
    }
    found
}

/// The letters of a word up to its first other sign, in lower case: `contract` of `(Contract's`.
fn letters(word: &str) -> String {
    word.trim_start_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .take_while(|c| c.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The numbers that a list begins with: `27 and 29`, `1, 2 or 3`, `34 to 36`. Of `many` false the first only.
fn numbers(words: &[(usize, &str)], many: bool) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut is_range = false;
    for (_, word) in words {
        match *word {
            "and" | "or" if !found.is_empty() => continue,
            "to" if !found.is_empty() => {
                is_range = true;
                continue;
            }
            _ => {}
        }
        let Some((number, rest)) = leading_number(word.trim_start_matches(['(', '*'])) else {
            break;
        };
        match (is_range, found.last().copied()) {
            (true, Some(first)) if first < number => found.extend(first + 1..=number),
            _ => found.push(number),
        }
        is_range = false;
        let last = rest.strip_prefix(['–', '-']).and_then(leading_number);
        if let Some((last, _)) = last
            && number < last
        {
            found.extend(number + 1..=last);
        }
        let goes_on = rest.is_empty() || rest == "," || (last.is_some() && !rest.ends_with(')'));
        if !many || !goes_on {
            break;
        }
    }
    found
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rulings(text: &str) -> Vec<u32> {
        cited_rulings(text).into_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn one_several_and_a_range_of_rulings_are_read() {
        assert_eq!(rulings("(contract, ruling 28), 5 attempts"), [28]);
        assert_eq!(rulings("Rulings 27 and 29."), [27, 29]);
        assert_eq!(rulings("rulings 34, 38 or 40: text"), [34, 38, 40]);
        assert_eq!(rulings("### Rulings 34 to 36 close 5"), [34, 35, 36]);
        assert_eq!(rulings("rulings 34–36"), [34, 35, 36]);
        assert_eq!(rulings("(ruling 3); rulings 4 and 5) 6"), [3, 4, 5]);
        assert!(rulings("the ruling of 1066 has no number, nor has a ruling.").is_empty());
    }

    #[test]
    fn a_citation_that_goes_on_in_the_next_line_is_read_and_has_its_first_line() {
        let text =
            "x\n    /// Waits (contract,\n    /// rulings 3\n    /// and 4).\n-- ruling\n--  7";
        assert_eq!(cited_rulings(text), [(3, 3), (3, 4), (5, 7)]);
    }

    #[test]
    fn only_the_contracts_sections_are_read() {
        let text = "(contract, sections 1 and 5), RFC 6749, section 9; the contract's section 7. Contract\n// section 11";
        assert_eq!(cited_sections(text), [(1, 1), (1, 5), (1, 7), (2, 11)]);
        assert_eq!(cited_sections("[The contract](CONTRACT.md), section 3"), [(1, 3)]);
    }

    #[test]
    fn functions_and_the_lists_of_macros_are_names_and_comments_are_not() {
        let text = "\
// fn p1_in_a_comment()
    pub async fn p2_a_function(side: Side) {
both_sides!(p3_first_in_a_list, p4_second);
rules!(
    p5_alone_on_a_line,
    p6_last_of_all
);
let x = call(p7_argument, 3); let often = p8_value;
";
        let names = function_names(text);
        for name in [
            "p2_a_function",
            "p3_first_in_a_list",
            "p4_second",
            "p5_alone_on_a_line",
            "p6_last_of_all",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        for name in ["p1_in_a_comment", "p7_argument", "p8_value"] {
            assert!(!names.contains(&name), "{name} is in {names:?}");
        }
    }

    #[test]
    fn a_name_starts_with_each_of_its_promises() {
        assert_eq!(promises_of("p3_p4_p5_hold_over_random_lives"), [3, 4, 5]);
        assert_eq!(promises_of("p13_one"), [13]);
        assert!(promises_of("pumping_is_stopped").is_empty());
        assert!(promises_of("a_p3_in_the_middle").is_empty());
    }
}
