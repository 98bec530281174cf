//! The access token of an `Authorization` header: `Bearer` (RFC 6750) or `DPoP` (RFC 9449, section 7.1). A token in the
//! query or in a cookie is ignored.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::http::error::ApiError;

/// The scheme that a token was sent with. The token itself determines which one is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Valid for any holder of the token.
    Bearer,
    /// Valid only with a proof of the key that the token is bound to.
    Dpop,
}

/// The token after the scheme: not yet verified, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SentToken {
    pub scheme: Scheme,
    token: String,
}

impl SentToken {
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// # Errors
    /// [`ApiError::TokenMissing`] without a token of either scheme; [`ApiError::TokenNotValid`] if there are two
    /// headers, or the text after the scheme is not a token.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(ApiError::TokenMissing)?;
        if values.next().is_some() {
            return Err(ApiError::TokenNotValid);
        }
        let text = value.to_str().map_err(|_| ApiError::TokenNotValid)?;
        let (scheme, token) = text.split_once(' ').ok_or(ApiError::TokenMissing)?;
        let scheme = match scheme {
            scheme if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
            scheme if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
            _ => return Err(ApiError::TokenMissing),
        };
        let token = token.trim_matches(' ');
        if token.is_empty() || token.contains([' ', ',', '\t']) {
            return Err(ApiError::TokenNotValid);
        }
        Ok(Self { scheme, token: token.to_owned() })
    }
}

impl fmt::Debug for SentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SentToken({:?} ..)", self.scheme)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_scheme_is_accepted_in_any_case_and_the_token_is_kept_as_sent() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            SentToken::from_headers(&headers)
        };
        for (value, scheme) in [
            ("Bearer a.b.c", Scheme::Bearer),
            ("bearer a.b.c", Scheme::Bearer),
            ("BEARER  a.b.c", Scheme::Bearer),
            ("DPoP a.b.c", Scheme::Dpop),
            ("dpop a.b.c", Scheme::Dpop),
        ] {
            let sent = read(&[value]).unwrap();
            assert_eq!((sent.scheme, sent.expose()), (scheme, "a.b.c"), "{value}");
            assert!(!format!("{sent:?}").contains("a.b.c"), "p10: a token is not printed");
        }
        for values in [&[][..], &["a.b.c"], &["Basic a.b.c"], &["Bearer"], &["DPoP"]] {
            assert!(matches!(read(values), Err(ApiError::TokenMissing)), "{values:?}");
        }
        for values in [
            &["Bearer a b"][..],
            &["Bearer "],
            &["Bearer a,b"],
            &["Bearer a", "Bearer b"],
            &["DPoP a", "Bearer a"],
            &["DPoP a b"],
        ] {
            assert!(matches!(read(values), Err(ApiError::TokenNotValid)), "{values:?}");
        }
    }
}
