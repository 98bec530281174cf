//! The documents as a reader clicks through them: every link inside the project leads somewhere, and the book has every
//! page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

const SUMMARY: &str = "docs/SUMMARY.md";

/// A Markdown link to something inside the project.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    path: &'a str,
    anchor: Option<&'a str>,
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages_under(root);
    let (mut checked, mut broken) = (0, Vec::new());
    for page in &pages {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for link in links(&text) {
            checked += 1;
            let target = match link.path {
                "" => page.clone(),
                path => normal(&page.parent().unwrap().join(path)),
            };
            let whole = root.join(&target);
            let found = match link.anchor {
                None => whole.exists(),
                Some(anchor) => fs::read_to_string(whole)
                    .is_ok_and(|text| headings(&text).contains(&anchor.to_owned())),
            };
            if !found {
                broken.push(format!("{}: {link:?}", page.display()));
            }
        }
    }
    assert!(checked > 50, "{checked} links were found in {} pages", pages.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_book_has_every_page_of_the_documentation_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(SUMMARY)).unwrap();
    let listed: Vec<PathBuf> =
        links(&text).iter().map(|link| normal(&Path::new("docs").join(link.path))).collect();
    let in_book: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), in_book.len(), "a page is listed twice");
    let of_docs: BTreeSet<_> = pages_under(root)
        .into_iter()
        .filter(|page| page.starts_with("docs") && page != Path::new(SUMMARY))
        .collect();
    assert_eq!(in_book, of_docs);
}

/// The project's own Markdown files, relative to its root.
fn pages_under(root: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "md") {
                pages.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// The links of a page that stay inside the project. What stands in code is no link.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        // Every second piece between backticks is code.
        for prose in line.split('`').step_by(2) {
            found.extend(prose.split("](").skip(1).filter_map(link));
        }
    }
    found
}

fn link(rest: &str) -> Option<Link<'_>> {
    let (target, _) = rest.split_once(')')?;
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    Some(Link { path, anchor })
}

/// The anchors of a page's headings, as GitHub and mdbook make them: lower case, without punctuation, hyphens for spaces.
fn headings(text: &str) -> Vec<String> {
    let mut in_fence = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_fence = !in_fence;
        }
        let title = line.trim_start_matches('#');
        if in_fence || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept =
            title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        anchors.push(kept.collect::<String>().to_lowercase().replace(' ', "-"));
    }
    anchors
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts
}

#[test]
fn links_and_headings_are_read_as_a_renderer_reads_them() {
    let text = "See [a](x/a.md#one-two), [b](https://example.com) and `[c](d)`.\n```\n[e](f)\n# not\n```\n# One, two!\n";
    let path = |path, anchor| Link { path, anchor };
    assert_eq!(links(text), [path("x/a.md", Some("one-two"))]);
    assert_eq!(headings(text), ["one-two"]);
    assert_eq!(links("[a](#here)"), [path("", Some("here"))]);
    assert_eq!(normal(Path::new("docs/../a/./b.md")), Path::new("a/b.md"));
}
