//! The query of a list: filters, the cursor and the size of a page. What cannot be read is refused: a filter that is
//! misspelled and then ignored would show, or act on, everybody.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::http::error::{ApiError, FieldError};
use crate::staff::pages::{MOST_ROWS, ROWS};

/// The longest value that is read, in characters.
const LONGEST: usize = 300;

/// The parameters of a query. Read each, then call [`Query::finish`].
pub(super) struct Query {
    left: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut left = BTreeMap::new();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
            if left.insert(name, value).is_some() {
                return Err(ApiError::field(
                    "query",
                    "duplicate_field",
                    "Send each parameter once.",
                ));
            }
        }
        Ok(Self { left, errors: Vec::new() })
    }
}

impl Query {
    /// A text; `None` if it is missing.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "Send 1 to 300 characters, no control characters.", |text| {
            let length = text.chars().count();
            let fits = (1..=LONGEST).contains(&length) && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        })
    }

    /// A parsed value; `None` if it is missing. `wanted` says what to send.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.left.remove(name)?;
        let value = read(&text);
        if value.is_none() {
            self.errors.push(FieldError::new(name, "invalid", wanted));
        }
        value
    }

    /// How many rows the page has.
    pub fn rows(&mut self) -> u32 {
        let read = |text: &str| text.parse().ok().filter(|rows| (1..=MOST_ROWS).contains(rows));
        self.read("limit", "Send a whole number from 1 to 200.", read).unwrap_or(ROWS)
    }

    /// # Errors
    /// For each parameter that could not be read, and each that was not.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let unknown = self.left.keys().map(|name| {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            FieldError::new(name, "unknown_field", "This call does not accept this parameter.")
        });
        self.errors.extend(unknown);
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::InvalidRequest(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use http::Uri;

    use super::*;

    async fn query(query: &str) -> Result<Query, ApiError> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        let request = Request::builder().uri(uri).body(()).unwrap();
        Query::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_and_named() {
        let mut read = query("limit=200&name=Ada").await.unwrap();
        assert_eq!((read.rows(), read.text("name").as_deref()), (200, Some("Ada")));
        assert!(read.finish().is_ok());
        for limit in ["0", "201", "1000000000", "99999999999999999999999", "-1", "many"] {
            let mut read = query(&format!("limit={limit}")).await.unwrap();
            read.rows();
            assert!(read.finish().is_err(), "{limit}");
        }
        assert!(query("statsu=failed").await.unwrap().finish().is_err(), "a misspelled filter");
        assert!(query("limit=1&limit=2").await.is_err());
        let mut empty = query("name=").await.unwrap();
        assert_eq!(empty.text("name"), None);
        assert!(empty.finish().is_err(), "an empty filter is none that finds all");
        let mut control = query("name=a%00b").await.unwrap();
        assert_eq!(control.text("name"), None);
        assert!(control.finish().is_err());
    }
}
