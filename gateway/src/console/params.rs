//! The query of a list: filters, cursor and size, all in the address, so that a list can be linked. What cannot be read
//! counts as absent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::console::refused::Refused;
use crate::http::path_params::{PathId, PathPair};
use crate::staff::pages::ROWS;

/// The most rows of a page, which must weigh less than 60 KB: an answer of the admin API may have more.
const MOST_SHOWN: u32 = 100;
/// What an address may have beside the filters of a list: its size, its cursor, and what an act before it did.
const NO_FILTERS: [&str; 3] = ["limit", "before", "done"];
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
            Ok(limit) => limit.clamp(1, MOST_SHOWN),
            // Too long for a number, or none.
            Err(_) if limit.bytes().all(|b| b.is_ascii_digit()) => MOST_SHOWN,
            Err(_) => ROWS,
        })
    }

    /// The address of the same list with this value in the place of another.
    pub fn link(&self, path: &str, name: &str, value: &str) -> String {
        let others = self.0.iter().filter(|(other, _)| *other != name && *other != "done");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair(name, value)
            .finish();
        format!("{path}?{query}")
    }

    /// The filters as a query, without cursor and size.
    pub fn query(&self) -> String {
        let filters = self.0.iter().filter(|(name, _)| !NO_FILTERS.contains(&name.as_str()));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish()
    }

    /// Those of these filters that are set. The names in an address are whatever whoever made it wrote.
    pub fn set_of(&self, filters: &[&'static str]) -> Vec<&'static str> {
        filters.iter().copied().filter(|name| self.get(name).is_some()).collect()
    }

    /// Whether anything but the size of the list is set.
    pub fn is_filtered(&self) -> bool {
        self.0.keys().any(|name| !NO_FILTERS.contains(&name.as_str()))
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

/// The two values in the address of a page, as with [`PageId`].
pub(crate) struct PagePair<A, B>(pub A, pub B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for PagePair<A, B> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let PathPair(one, other) = PathPair::from_request_parts(parts, state).await?;
        Ok(Self(one, other))
    }
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
            ("limit=100", 100),
            ("limit=200", 100),
            ("limit=1000000000", 100),
            ("limit=99999999999999999999999", 100),
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
        assert_eq!(params.set_of(&["x", "y", "name"]), ["x", "name"]);
        assert!(params.is_filtered() && !Params::of("limit=5&before=3").is_filtered());
        let after = Params::of("done=deleted&name=Ada");
        assert_eq!(after.link("/p", "before", "2"), "/p?name=Ada&before=2");
        assert_eq!(after.query(), "name=Ada");
        assert!(!Params::of("done=deleted").is_filtered());
    }
}
