//! Reads a request's body and checks its media type, size and time before anything parses it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::fields::Fields;

/// Limits on a body. A request carries its own as an extension; without one the defaults apply.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Maximum size in bytes (contract, section 3).
    pub bytes: usize,
    /// How long the whole body may take to arrive (contract, ruling 19).
    pub within: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1024, within: Duration::from_secs(10) }
    }
}

/// How much of a refused body is read and discarded, so that a client that writes before it reads gets the answer and
/// not a connection reset.
const DRAIN: BodyLimits = BodyLimits { bytes: 256 * 1024, within: Duration::from_millis(500) };

/// A JSON object whose fields are not read yet.
#[derive(Debug)]
pub struct JsonBody(pub Fields);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_is_json(request.headers())?;
        let bytes = read(request).await?;
        Ok(Self(Fields::parse(&bytes)?))
    }
}

/// A JSON object, or no body at all: as one without fields. For calls whose every field is optional.
#[derive(Debug)]
pub struct OptionalJsonBody(pub Fields);

impl<S: Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let media_type = check_is_json(request.headers());
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(Fields::parse(&Bytes::from_static(b"{}"))?));
        }
        media_type?;
        Ok(Self(Fields::parse(&bytes)?))
    }
}

/// Reads a body of any type within the request's [`BodyLimits`]. Encoded bodies are refused earlier.
pub async fn read(request: Request) -> Result<Bytes, ApiError> {
    let limits = request.extensions().get::<BodyLimits>().copied().unwrap_or_default();
    let (parts, body) = request.into_parts();
    read_body(&parts.headers, body, limits).await
}

/// Like [`read`], for a route with its own limits (a webhook's form).
pub async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, ApiError> {
    // A client that waits for `100 Continue` has sent nothing yet; draining would make it send the body.
    let waits = headers.contains_key(EXPECT);
    let mut body = body;
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limits.bytes as u64) {
        if !waits {
            drain(&mut body).await;
        }
        return Err(ApiError::PayloadTooLarge);
    }
    // A buffer that grows would take up to twice as much.
    let held = BytesMut::with_capacity(declared.and_then(|it| it.try_into().ok()).unwrap_or(0));
    match timeout(limits.within, collect(&mut body, held, limits.bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Cut::TooLarge)) => {
            drain(&mut body).await;
            Err(ApiError::PayloadTooLarge)
        }
        Ok(Err(Cut::Broken)) => {
            Err(ApiError::body("incomplete", "The body ended early; send it again in full."))
        }
        Err(_) => Err(ApiError::body(
            "too_slow",
            format!("A body must arrive within {} seconds.", limits.within.as_secs().max(1)),
        )),
    }
}

enum Cut {
    TooLarge,
    Broken,
}

/// Reads to the end and buffers at most `most` bytes and one frame.
async fn collect(body: &mut Body, mut held: BytesMut, most: usize) -> Result<Bytes, Cut> {
    while let Some(frame) = body.frame().await {
        // Trailers are dropped: we use none.
        let Ok(data) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
        if held.len() + data.len() > most {
            return Err(Cut::TooLarge);
        }
        held.extend_from_slice(&data);
    }
    Ok(held.freeze())
}

async fn drain(body: &mut Body) {
    let mut left = DRAIN.bytes;
    let away = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // The refusal is the same whether the body ended or time ran out.
    let _ = timeout(DRAIN.within, away).await;
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `application/json`, alone or with `charset=utf-8` in any case.
fn check_is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if is_json(value) => Ok(()),
        _ => Err(ApiError::UnsupportedMediaType {
            detail: "Send JSON in UTF-8 with `Content-Type: application/json`.",
        }),
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(is_utf8_charset)
}

fn is_utf8_charset(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let bare =
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        name.eq_ignore_ascii_case("charset") && bare.eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt as _, stream};

    use super::*;

    fn request(kind: Option<&str>, body: impl Into<Body>) -> Request {
        let mut request = Request::new(body.into());
        if let Some(kind) = kind {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        request
    }

    async fn status(request: Request) -> u16 {
        match JsonBody::from_request(request, &()).await {
            Ok(_) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn only_json_in_utf8_is_accepted() {
        for (kind, wanted) in [
            (Some("application/json"), 200),
            (Some("Application/JSON"), 200),
            (Some("application/json; charset=utf-8"), 200),
            (Some("application/json;charset=UTF-8"), 200),
            (Some("application/json; charset=\"utf-8\""), 200),
            (Some("application/json; charset=utf-16"), 415),
            (Some("application/json; charset="), 415),
            (Some("application/json; charset"), 415),
            (Some("application/json;"), 415),
            (Some("application/json; a=b"), 415),
            (Some("application/json, text/plain"), 415),
            (Some("application/problem+json"), 415),
            (Some("text/plain"), 415),
            (Some("application/x-www-form-urlencoded"), 415),
            (Some(""), 415),
            (None, 415),
        ] {
            assert_eq!(status(request(kind, "{}")).await, wanted, "{kind:?}");
        }
        let mut twice = request(Some("application/json"), "{}");
        twice.headers_mut().append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(status(twice).await, 415);
    }

    #[tokio::test]
    async fn sixteen_kibibytes_are_accepted_and_one_byte_more_is_not() {
        let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        for (length, wanted) in [(16_384, 200), (16_385, 413)] {
            let whole = request(Some("application/json"), body(length));
            assert_eq!(status(whole).await, wanted, "{length} at once");
            let chunks: Vec<_> =
                body(length).into_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
            let stream =
                Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
            assert_eq!(
                status(request(Some("application/json"), stream)).await,
                wanted,
                "{length} in chunks"
            );
        }
        let mut declared = request(Some("application/json"), "{}");
        declared.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1073741824"));
        assert_eq!(status(declared).await, 413, "refused by its declared length");
    }

    #[tokio::test]
    async fn a_gibibyte_in_chunks_is_refused_early() {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let endless = stream::repeat(vec![b' '; 8192]).take(1 << 17).map(move |chunk| {
            counter.fetch_add(chunk.len(), Ordering::SeqCst);
            Ok::<_, Infallible>(chunk)
        });
        assert_eq!(
            status(request(Some("application/json"), Body::from_stream(endless))).await,
            413
        );
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken <= 16_384 + 8192 + DRAIN.bytes + 8192, "{taken} bytes were read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripping_body_is_refused_at_its_deadline() {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        });
        let started = tokio::time::Instant::now();
        let error =
            JsonBody::from_request(request(Some("application/json"), Body::from_stream(drip)), &())
                .await
                .unwrap_err();
        assert_eq!(started.elapsed(), Duration::from_secs(10));
        assert!(matches!(error, ApiError::InvalidRequest(errors) if errors[0].code == "too_slow"));
    }

    #[tokio::test]
    async fn broken_json_and_an_empty_body_are_400() {
        for text in ["", "hello", "[]", "{\"a\":", "{\"a\":1} x", "{\"a\":1,\"a\":1}", "\u{feff}{}"]
        {
            assert_eq!(status(request(Some("application/json"), text)).await, 400, "{text}");
        }
    }
}
