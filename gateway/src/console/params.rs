//! The query of a list: filters, cursor and size, all in the address, so that a list can be linked. What cannot be read
//! counts as absent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::console::refused::Refused;
use crate::http::path_params::PathId;

/// How many rows a list shows, and the most it shows whoever asks for more.
const ROWS: u32 = 50;
const MOST_ROWS: u32 = 200;
/// The longest value that is read.
const LONGEST: usize = 300;

pub(crate) struct Params(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    fn of(query: &str) -> Self {
        let mut values = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if !value.is_empty() && value.len() <= LONGEST && !value.contains('\0') {
                values.entry(name.into_owned()).or_insert_with(|| value.to_owned());
            }
        }
        Self(values)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value to show in its field.
    pub fn shown(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// How many rows to show.
    pub fn rows(&self) -> u32 {
        self.get("limit").map_or(ROWS, |limit| match limit.parse::<u32>() {
            Ok(limit) => limit.clamp(1, MOST_ROWS),
            // Too long for a number, or none.
            Err(_) if limit.bytes().all(|b| b.is_ascii_digit()) => MOST_ROWS,
            Err(_) => ROWS,
        })
    }

    /// The address of the same list with this value in the place of another.
    pub fn link(&self, path: &str, name: &str, value: &str) -> String {
        let others = self.0.iter().filter(|(other, _)| *other != name);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair(name, value)
            .finish();
        format!("{path}?{query}")
    }

    /// The filters as a query, without cursor and size.
    pub fn query(&self) -> String {
        let filters = self.0.iter().filter(|(name, _)| *name != "limit" && *name != "before");
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish()
    }

    /// The names of the filters.
    pub fn names(&self) -> Vec<&str> {
        self.0
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "limit" && *name != "before")
            .collect()
    }

    /// Whether anything but the size of the list is set.
    pub fn is_filtered(&self) -> bool {
        !self.names().is_empty()
    }
}

/// The id in the address of a page. One that is none is as unknown as any other.
pub(crate) struct PageId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PageId<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let PathId(id) = PathId::from_request_parts(parts, state).await?;
        Ok(Self(id))
    }
}

/// The rows of a page, of which one more was read than is shown, and whether there are more.
pub(crate) fn cut<T>(mut rows: Vec<T>, shown: u32) -> (Vec<T>, bool) {
    let more = rows.len() > shown as usize;
    rows.truncate(shown as usize);
    (rows, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_list_is_bounded() {
        for (query, rows) in [
            ("", 50),
            ("limit=1", 1),
            ("limit=0", 1),
            ("limit=200", 200),
            ("limit=1000000000", 200),
            ("limit=99999999999999999999999", 200),
            ("limit=-5", 50),
            ("limit=many", 50),
        ] {
            assert_eq!(Params::of(query).rows(), rows, "{query}");
        }
    }

    #[test]
    fn a_link_keeps_the_filters() {
        let params = Params::of("name=Ada+L&before=1&x=%26");
        assert_eq!(params.link("/p", "before", "2&3"), "/p?name=Ada+L&x=%26&before=2%263");
        assert!(params.is_filtered() && !Params::of("limit=5&before=3").is_filtered());
    }
}
