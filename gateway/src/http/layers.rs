//! What all answers of the public port share: headers, request id, log span, metrics, CORS, and problems for unknown
//! paths, unknown methods and panics.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use domain::clock::Clock;
use domain::rng;
use domain::trace_context::TraceContext;
use futures::FutureExt as _;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
    DATE, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument as _;

use crate::dpop::{DPOP, DPOP_NONCE};
use crate::http::browser::{Callers, refuse_pages};
use crate::http::client_ip::{Peer, TrustedProxies};
use crate::http::concurrency_limit::Shed;
use crate::http::error::ApiError;
use crate::http::load_shedding::{Shedding, refusal, shed};
use crate::http::request_timeout::in_time;
use crate::http::trailing_slash::without_slash;

/// The complete public service, ready for [`crate::server::serve`].
pub type Public = BoxCloneSyncService<Request, Response, Infallible>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Two years, as browsers' preload lists require.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

/// How long a browser may cache a preflight's answer.
const PREFLIGHT_AGE: Duration = Duration::from_mins(10);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether the public URL is https.
    pub https: bool,
    /// Exact origins of browser pages. Empty: no CORS at all.
    pub cors_origins: Vec<String>,
    pub trusted_proxies: TrustedProxies,
    pub callers: Callers,
    pub clock: Clock,
    /// `None`: nothing is refused for want of time.
    pub(crate) shedding: Option<Shedding>,
}

#[cfg(test)]
impl Settings {
    /// Everything that can be off is off.
    pub(crate) fn plain(clock: Clock) -> Self {
        Self {
            https: false,
            cors_origins: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            callers: Callers::Anybody,
            clock,
            shedding: None,
        }
    }
}

/// The id of a request: the caller's own if it is harmless, otherwise a UUIDv7. It appears in the answer's
/// `X-Request-Id`, the log and the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequestId(pub Arc<str>);

/// Turns the routes into the public service. Call it once, last: routes added later get none of this.
///
/// # Errors
/// If an origin is invalid: it must be scheme, host and port, and neither `*` nor `null`.
pub fn finish(router: Router, settings: Settings) -> anyhow::Result<Public> {
    let cors = cors(&settings.cors_origins)?;
    let (callers, shedding) = (settings.callers, settings.shedding.clone());
    let settings = Arc::new(settings);
    let shared_settings = settings.clone();
    let around = move |request: Request, next: Next| around(shared_settings.clone(), request, next);
    let limit = shedding.as_ref().map(|shedding| shedding.limit.clone());
    let shed = limit.map(|limit| {
        from_fn(move |request: Request, next: Next| shed(limit.clone(), request, next))
    });
    let inside = ServiceBuilder::new()
        .option_layer(shed)
        .layer(from_fn(move |request: Request, next: Next| refuse_pages(callers, request, next)))
        .layer(from_fn(refuse_encoded))
        .layer(from_fn(in_time))
        .layer(from_fn(no_panic));
    let router = router
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed { allow: None })
        .layer(inside);
    let plain = router.clone().layer(from_fn(around.clone()));
    let refused = move |request: Request| refused(settings.clone(), request);
    let refusing = ServiceBuilder::new().option_layer(cors.clone()).service(service_fn(refused));
    let shared = router.layer(ServiceBuilder::new().layer(from_fn(around)).option_layer(cors));
    // Before the router: a layer inside it would see the request after its route was chosen.
    let service = service_fn(move |request: Request| {
        // The CORS layer treats every OPTIONS request as a preflight, even on paths that do not exist.
        let names_method = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let router =
            if request.method() == Method::OPTIONS && !names_method { &plain } else { &shared };
        let request = without_trailing_slash(request);
        let refuses = shedding.as_ref().is_some_and(|shedding| shedding.refuses(&request));
        let (router, refusing) = (router.clone(), refusing.clone());
        async move {
            if refuses { refusing.oneshot(request).await } else { router.oneshot(request).await }
        }
    });
    Ok(BoxCloneSyncService::new(service))
}

/// Refuses, on every route, an encoded body. Nothing is ever decompressed: a small body could grow a thousandfold
/// (contract, ruling 17).
async fn refuse_encoded(request: Request, next: Next) -> Response {
    if request.headers().contains_key(CONTENT_ENCODING) {
        return ApiError::UnsupportedMediaType {
            detail: "Send the body unencoded, without Content-Encoding.",
        }
        .into_response();
    }
    next.run(request).await
}

/// Treats `/v1/otp/` as `/v1/otp`.
fn without_trailing_slash(mut request: Request) -> Request {
    let Some(shorter) = without_slash(request.uri().path()) else { return request };
    let target = match request.uri().query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    // The authority of an absolute form stays: the inbox must know under whose name it is asked.
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = target.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

async fn around(settings: Arc<Settings>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request, &settings.clock);
    let method = method_name(request.method());
    // The template, never the path: ids and anything else that a client puts into a path stay out of logs and labels.
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut is_from_proxy = false;
    if let Some(Peer(peer)) = request.extensions().get().copied() {
        let client = settings.trusted_proxies.client(peer.ip(), request.headers());
        request.extensions_mut().insert(client);
        is_from_proxy = settings.trusted_proxies.trusts(peer.ip());
    }
    request.extensions_mut().insert(HttpRequestId(id.clone()));
    let scheme = if settings.https { "https" } else { "http" };
    let theirs = trace_of(&request);
    let (trace, step) = traces::serving(method, matched.as_deref(), scheme, theirs, is_from_proxy);
    request.extensions_mut().insert(trace);
    let route = matched.unwrap_or_else(|| "unmatched".to_owned());
    let span = tracing::info_span!(
        "request",
        http.method = method,
        http.route = route,
        http.request_id = &*id,
        trace.id = trace.trace_id()
    );
    let mut response = step.around(next.run(request)).instrument(span).await;
    answered(&step, response.status());
    drop(step);
    add_headers(&mut response, &settings, &id);
    metrics::histogram!(
        "latchkey_http_request_seconds",
        "method" => method,
        "route" => route,
        "status" => response.status().as_u16().to_string(),
    )
    .record(started.elapsed());
    response
}

/// The answer to a code request that is [refused](Shedding::refuses), with as little work as possible: it has no span, and
/// is counted among the refused ones only.
async fn refused(settings: Arc<Settings>, request: Request) -> Result<Response, Infallible> {
    let id = request_id(&request, &settings.clock);
    let mut response = refusal(Shed, request).await;
    add_headers(&mut response, &settings, &id);
    Ok(response)
}

/// What all answers have in common.
fn add_headers(response: &mut Response, settings: &Settings, id: &str) {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if settings.https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
}

/// The caller's id if it is 1 to 64 letters, digits, dots, dashes and underscores; anything else could break a log line
/// or a header, and is replaced.
fn request_id(request: &Request, clock: &Clock) -> Arc<str> {
    let mut values = request.headers().get_all(&X_REQUEST_ID).iter();
    let harmless = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        ((1..=64).contains(&bytes.len()) && bytes.iter().all(plain))
            .then(|| String::from_utf8_lossy(bytes).into())
    };
    match (values.next(), values.next()) {
        (Some(only), None) => harmless(only),
        _ => None,
    }
    .unwrap_or_else(|| rng::id_v7(clock.now_ms()).to_string().into())
}

/// The client's trace, which ours continues; events carry it on (contract, section 11).
fn trace_of(request: &Request) -> Option<TraceContext> {
    let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    header.and_then(TraceContext::from_header)
}

/// Notes how a request was answered. What a client did wrong is no failure of ours.
fn answered(step: &traces::Span, status: StatusCode) {
    step.note("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        step.fail(status.as_str().to_owned());
    }
}

/// A label with few values, whatever methods clients invent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Turns a panic into a problem: it affects only its own request.
async fn no_panic(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|panic| {
        ApiError::Internal(anyhow::anyhow!("a handler panicked: {}", panic_text(&*panic)))
            .into_response()
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    // A formatted message may hold request data; only a literal from the code is repeated.
    panic.downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)")
}

fn cors(origins: &[String]) -> anyhow::Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let exact = |origin: &String| -> anyhow::Result<HeaderValue> {
        let uri: Uri = origin.parse().with_context(|| format!("read the origin `{origin}`"))?;
        let bare = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => String::new(),
        };
        if bare != *origin {
            bail!("the origin `{origin}` is not of the form https://host[:port]");
        }
        HeaderValue::from_str(origin).context("write the origin as a header")
    };
    let origins = origins.iter().map(exact).collect::<anyhow::Result<Vec<_>>>()?;
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, DPOP, IDEMPOTENCY_KEY, X_REQUEST_ID])
        .expose_headers([DATE, DPOP_NONCE, RETRY_AFTER, WWW_AUTHENTICATE, X_REQUEST_ID])
        .max_age(PREFLIGHT_AGE);
    Ok(Some(layer))
}

#[cfg(test)]
mod tests;
