//! Sentences that name settings in Markdown's backticks, as parts of a page.

/// The parts of a sentence, each with whether it is code.
pub(crate) type Parts<'a> = Vec<(&'a str, bool)>;

/// Cuts a sentence at its backticks.
pub(crate) fn parts(markdown: &str) -> Parts<'_> {
    let parts = markdown.split('`').enumerate();
    parts.map(|(place, part)| (part, place % 2 == 1)).collect()
}
