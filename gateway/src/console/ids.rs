//! Ids in a text are links: whatever they belong to is one click away.

use std::fmt::Write as _;

use askama::filters::{Escaper as _, Html};
use uuid::Uuid;

/// How long an id is, written with dashes.
const LONG: usize = 36;

/// A part of a text.
struct Piece {
    text: String,
    /// Whether it is an id, which `/console/find/` opens.
    is_id: bool,
}

/// Cuts a text at the ids in it.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let begins = !plain.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
        match id_at(rest).filter(|_| begins) {
            Some(id) => {
                if !plain.is_empty() {
                    pieces.push(Piece { text: std::mem::take(&mut plain), is_id: false });
                }
                pieces.push(Piece { text: id.to_owned(), is_id: true });
                rest = &rest[LONG..];
            }
            None => {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece { text: plain, is_id: false });
    }
    pieces
}

/// The id that the text begins with.
fn id_at(text: &str) -> Option<&str> {
    let id = text.get(..LONG)?;
    let ends = !text[LONG..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    (ends && id.as_bytes()[8] == b'-' && Uuid::try_parse(id).is_ok()).then_some(id)
}

/// The beginning of an id that leads nowhere, such as a process's: it tells one from the other.
pub(crate) fn short(id: &Uuid) -> String {
    id.to_string().chars().take(8).collect()
}

/// The text as a part of a page: each id in it a link, everything else escaped.
pub(crate) fn linked(text: &str) -> String {
    let mut html = String::new();
    for Piece { text, is_id } in pieces(text) {
        let written = if is_id {
            write!(html, "<a class=\"mono\" href=\"/console/find/{text}\">{text}</a>")
        } else {
            Html.write_escaped_str(&mut html, &text)
        };
        written.expect("a String takes every text");
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11";

    #[test]
    fn an_id_in_a_text_is_a_piece_of_its_own() {
        let told = |text: &str| -> Vec<(String, bool)> {
            pieces(text).into_iter().map(|piece| (piece.text, piece.is_id)).collect()
        };
        let plain = |text: &str| (text.to_owned(), false);
        let id = || (ID.to_owned(), true);
        assert_eq!(told(ID), [id()]);
        assert_eq!(
            told(&format!("request: {ID} · é {ID}, x")),
            [plain("request: "), id(), plain(" · é "), id(), plain(", x"),]
        );
        let page = linked(&format!("<b>{ID}"));
        assert_eq!(
            page,
            format!("&#60;b&#62;<a class=\"mono\" href=\"/console/find/{ID}\">{ID}</a>")
        );
        for none in ["", "é", "no id", &format!("{ID}0"), &format!("a{ID}"), &ID.replace('-', "")]
        {
            let texts: String = told(none).into_iter().map(|(text, _)| text).collect();
            assert_eq!(texts, *none);
            assert!(told(none).iter().all(|(_, is_id)| !is_id), "{none}");
        }
    }
}
