//! Paths with a slash at their end.

/// The path without its trailing slash, which clients of the API that this one replaces send.
pub(crate) fn without_slash(path: &str) -> Option<&str> {
    path.strip_suffix('/').filter(|shorter| !shorter.is_empty() && !shorter.ends_with('/'))
}
