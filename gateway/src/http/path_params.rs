//! What stands in a path: an id, or two.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::http::error::ApiError;

/// The one id of a path. A malformed id is answered like an unknown one: 404 (contract, ruling 23).
pub(crate) struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // A value that is not UTF-8 once decoded is not an id either.
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::NotFound)?;
        id.parse().map(Self).map_err(|_| ApiError::NotFound)
    }
}

/// The two values of a path, answered like [`PathId`].
pub(crate) struct PathPair<A, B>(pub A, pub B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for PathPair<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((one, other)) = read.map_err(|_| ApiError::NotFound)?;
        let pair = one.parse().ok().zip(other.parse().ok());
        pair.map(|(one, other)| Self(one, other)).ok_or(ApiError::NotFound)
    }
}
