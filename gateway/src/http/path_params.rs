//! Paths: the id in one, and the slash at its end.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::http::error::ApiError;

/// The path that a path with a slash at its end stands for: clients of the API that this one replaces write the slash.
pub(crate) fn without_slash(path: &str) -> Option<&str> {
    path.strip_suffix('/').filter(|shorter| !shorter.is_empty() && !shorter.ends_with('/'))
}

/// The one id of a path. One that can be none is as one that nobody has: 404 (design, ruling 23).
pub(crate) struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // What is no UTF-8 once decoded is no id either.
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::NotFound)?;
        id.parse().map(Self).map_err(|_| ApiError::NotFound)
    }
}
