//! Selects the wording for a reader's language (BCP 47, RFC 4647 section 3.4).

/// The fallback for all other languages.
pub(super) const LAST: &str = "en";

/// Returns the tag and its fallbacks in lower case: subtags are removed from the end one by one.
pub(super) fn chain(tag: &str) -> Vec<String> {
    let mut subtags: Vec<String> = tag.split('-').map(str::to_ascii_lowercase).collect();
    let mut tags = Vec::new();
    while !subtags.is_empty() {
        tags.push(subtags.join("-"));
        subtags.pop();
        // A single letter begins an extension and means nothing on its own.
        if subtags.last().is_some_and(|last| last.len() == 1) {
            subtags.pop();
        }
    }
    tags
}

/// Returns the tag without subtags that contain digits: a text must have no digits besides the code's.
pub(super) fn without_digits(tag: &str) -> &str {
    let cut = tag
        .find(|c: char| c.is_ascii_digit())
        .map_or(tag.len(), |at| tag[..at].rfind('-').unwrap_or(0));
    &tag[..cut]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtags_are_removed_from_the_end_and_extensions_as_a_whole() {
        assert_eq!(chain("fr-FR"), ["fr-fr", "fr"]);
        assert_eq!(chain("zh-Hant-TW"), ["zh-hant-tw", "zh-hant", "zh"]);
        assert_eq!(chain("de-u-co-phonebk"), ["de-u-co-phonebk", "de-u-co", "de"]);
        assert_eq!(without_digits("es-419"), "es");
        assert_eq!(without_digits("pt-BR"), "pt-BR");
    }
}
