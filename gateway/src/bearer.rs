//! The token of an `Authorization: Bearer` header (RFC 6750). A token in the query or in a cookie is never looked at.

use std::fmt;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::error::ApiError;

/// What stands after `Bearer`: not yet verified, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// [`ApiError::TokenMissing`] without a bearer token; [`ApiError::TokenNotValid`] when there are two headers, or
    /// what follows the scheme is no token.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(ApiError::TokenMissing)?;
        if values.next().is_some() {
            return Err(ApiError::TokenNotValid);
        }
        let text = value.to_str().map_err(|_| ApiError::TokenNotValid)?;
        let (scheme, token) = text.split_once(' ').ok_or(ApiError::TokenMissing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::TokenMissing);
        }
        let token = token.trim_matches(' ');
        if token.is_empty() || token.contains([' ', ',', '\t']) {
            return Err(ApiError::TokenNotValid);
        }
        Ok(Self(token.to_owned()))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

impl<S: Sync> FromRequestParts<S> for BearerToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::from_headers(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_scheme_is_taken_in_any_case_and_the_token_as_it_is() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            BearerToken::from_headers(&headers).map(|token| token.expose().to_owned())
        };
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(read(&[value]).unwrap(), "a.b.c", "{value}");
        }
        for values in [&[][..], &["a.b.c"], &["Basic a.b.c"], &["Bearer"]] {
            assert!(matches!(read(values), Err(ApiError::TokenMissing)), "{values:?}");
        }
        for values in
            [&["Bearer a b"][..], &["Bearer "], &["Bearer a,b"], &["Bearer a", "Bearer b"]]
        {
            assert!(matches!(read(values), Err(ApiError::TokenNotValid)), "{values:?}");
        }
    }
}
