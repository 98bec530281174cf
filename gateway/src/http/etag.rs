//! Entity tags: a client that has the bytes already is told so, instead of being sent them again (RFC 9110, section 8.8.3).

use aws_lc_rs::digest::{SHA256, digest};
use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue};

/// The strong tag of these bytes: half of their SHA-256.
pub(crate) fn of(bytes: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", hex::encode(&digest(&SHA256, bytes).as_ref()[..16]));
    HeaderValue::try_from(tag).expect("hex digits in quotes are a header value")
}

/// Whether the request says that its sender has what this tag names.
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_list_that_names_it() {
        let tag = of(b"bytes");
        assert_eq!(tag.len(), 34);
        assert_ne!(tag, of(b"other bytes"));
        let known = |list: &str| {
            let mut headers = HeaderMap::new();
            headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"first\""));
            headers.append(IF_NONE_MATCH, HeaderValue::try_from(list).unwrap());
            is_known(&headers, &tag)
        };
        let tag = tag.to_str().unwrap();
        for list in [tag.to_owned(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            assert!(known(&list), "{list}");
        }
        for list in ["\"x\"".to_owned(), tag.trim_matches('"').to_owned(), String::new()] {
            assert!(!known(&list), "{list}");
        }
    }
}
