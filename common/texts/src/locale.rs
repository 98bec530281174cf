//! Which text a reader of a language gets (BCP 47, RFC 4647 section 3.4).

/// The language that stands in for all others.
pub(super) const LAST: &str = "en";

/// Whether a text can be kept under this tag: subtags of letters and digits, the first of letters.
pub(super) fn is_tag(tag: &str) -> bool {
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let language = tag.split('-').next().unwrap_or_default();
    (2..=8).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && tag.len() <= 35
        && tag.split('-').all(subtag)
}

/// The tag and what it falls back to, in lower case: the tag cut from its end, subtag by subtag.
pub(super) fn chain(tag: &str) -> Vec<String> {
    let mut subtags: Vec<String> = tag.split('-').map(str::to_ascii_lowercase).collect();
    let mut tags = Vec::new();
    while !subtags.is_empty() {
        tags.push(subtags.join("-"));
        subtags.pop();
        // A single letter begins an extension; without what followed it means nothing.
        if subtags.last().is_some_and(|last| last.len() == 1) {
            subtags.pop();
        }
    }
    tags
}

/// The tag without subtags that have digits: what a text carries must have no digit but the code's.
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
    fn a_tag_is_cut_from_its_end_and_extensions_go_as_a_whole() {
        assert_eq!(chain("fr-FR"), ["fr-fr", "fr"]);
        assert_eq!(chain("zh-Hant-TW"), ["zh-hant-tw", "zh-hant", "zh"]);
        assert_eq!(chain("de-u-co-phonebk"), ["de-u-co-phonebk", "de-u-co", "de"]);
        assert_eq!(without_digits("es-419"), "es");
        assert_eq!(without_digits("pt-BR"), "pt-BR");
    }

    #[test]
    fn a_file_name_is_a_tag_or_refused() {
        assert!(["en", "pt-BR", "zh-Hant-TW", "es-419"].into_iter().all(is_tag));
        assert!(
            !["", "e", "en_US", "4n", "en-", "-en", "en-toolongsubtag", "../en"]
                .into_iter()
                .any(is_tag)
        );
    }
}
