//! The `Idempotency-Key` header (contract, rulings 10 and 32).

use std::fmt;

use http::{HeaderMap, HeaderName};

use crate::http::error::ApiError;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_LENGTH: usize = 64;

/// A key chosen by a client: 1 to 64 visible ASCII characters. Anyone who knows it gets the first answer again, so it
/// is not printed; stores hold it under `Keys::index`.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// `invalid_request` that names the header, if it is not a key or was sent twice.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all(&HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let bytes = value.as_bytes();
        let visible = bytes.iter().all(u8::is_ascii_graphic);
        if values.next().is_some() || !visible || !(1..=MAX_LENGTH).contains(&bytes.len()) {
            return Err(ApiError::field(
                "Idempotency-Key",
                "invalid",
                "Send one key of 1 to 64 visible ASCII characters.",
            ));
        }
        Ok(Some(Self(bytes.iter().map(|&byte| char::from(byte)).collect())))
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        Ok(IdempotencyKey::from_headers(&headers)?.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn a_key_is_1_to_64_visible_ascii_characters() {
        let (long, longer) = ("k".repeat(64), "k".repeat(65));
        assert_eq!(read(&[]).unwrap(), None);
        for good in ["k", "!~\"#", "0193-abc", &long] {
            assert_eq!(read(&[good.as_bytes()]).unwrap().as_deref(), Some(good));
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"\xe9", longer.as_bytes()] {
            assert_eq!(read(&[bad]).unwrap_err().status(), 400, "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]).unwrap_err().status(), 400, "two keys are refused");
    }
}
