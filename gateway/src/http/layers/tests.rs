use std::collections::BTreeSet;

use axum::Extension;
use axum::body::Body;
use axum::routing::{get, post};
use config::ClientIpHeader;
use http::header::{ALLOW, RETRY_AFTER};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::http::client_ip::ClientIp;

fn settings() -> Settings {
    Settings::plain(Clock::manual())
}

fn public(settings: Settings) -> Public {
    let router = Router::new()
        .route("/v1/otp", post(async || "made"))
        .route("/v1/otp/{id}", get(async || "read"))
        .route("/v1/me", get(async || "me").patch(async || "patched").delete(async || "gone"))
        .route("/keys", get(async || ([(CACHE_CONTROL, "public, max-age=300")], "keys")))
        .route("/panic", get(panics))
        .route("/target", get(async |target: Uri| target.to_string()))
        .route("/ip", get(async |ip: ClientIp| ip.limit_key()))
        .route("/trace", get(async |Extension(trace): Extension<TraceContext>| trace.to_header()));
    finish(router, settings).unwrap()
}

async fn panics() -> &'static str {
    let phone = "+14155552671";
    assert!(phone.is_empty(), "while handling {phone}");
    "never"
}

fn request(method: &str, path: &str) -> Request {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

async fn send(settings: Settings, request: Request) -> (http::response::Parts, String) {
    let (parts, body) = public(settings).oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts, String::from_utf8_lossy(&bytes).into_owned())
}

fn code(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_trailing_slash_is_accepted_and_only_one() {
    for (method, path, status) in [
        ("POST", "/v1/otp/", 200),
        ("POST", "/v1/otp/?a=b", 200),
        ("GET", "/v1/otp/7/", 200),
        ("GET", "/v1/otp/7", 200),
        ("POST", "/v1/otp//", 404),
        ("GET", "/", 404),
        ("GET", "//", 404),
        ("GET", "//v1/me", 404),
        ("GET", "/v1/..;/v1/me", 404),
        ("GET", "/v1/%6de", 404),
        ("GET", "/v1%2fme", 404),
        ("GET", "/V1/ME", 404),
        ("GET", "http://other.example/v1/me/", 200),
    ] {
        let (parts, _) = send(settings(), request(method, path)).await;
        assert_eq!(parts.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn f17_a_target_loses_only_its_trailing_slash() {
    for (path, wanted) in [
        ("/target/", "/target"),
        ("/target/?a=b/", "/target?a=b/"),
        ("http://other.example:8080/target", "http://other.example:8080/target"),
        ("http://other.example:8080/target/", "http://other.example:8080/target"),
        ("http://other.example/target/?a=b", "http://other.example/target?a=b"),
    ] {
        let (parts, body) = send(settings(), request("GET", path)).await;
        assert_eq!((parts.status.as_u16(), body.as_str()), (200, wanted), "{path}");
    }
}

#[tokio::test]
async fn p8_unknown_paths_and_methods_are_problems() {
    for path in ["/", "/v1/nope", "/v1/otp/x/y", "/metrics"] {
        let (parts, body) = send(settings(), request("GET", path)).await;
        assert_eq!((parts.status.as_u16(), code(&body).as_str()), (404, "not_found"), "{path}");
    }
    for method in ["GET", "PUT", "TRACE", "FOO", "OPTIONS", "HEAD"] {
        let (parts, body) = send(settings(), request(method, "/v1/otp")).await;
        assert_eq!(parts.status, 405, "{method}");
        assert_eq!(parts.headers[ALLOW], "POST", "{method}");
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert!(method == "HEAD" || code(&body) == "method_not_allowed", "{method} {body}");
    }
    let (parts, _) = send(settings(), request("TRACE", "/v1/me")).await;
    for method in ["GET", "PATCH", "DELETE"] {
        assert!(
            parts.headers[ALLOW].to_str().unwrap().contains(method),
            "{:?}",
            parts.headers[ALLOW]
        );
    }
    let (parts, body) = send(settings(), request("HEAD", "/v1/me")).await;
    assert_eq!((parts.status.as_u16(), body.as_str()), (200, ""), "HEAD follows GET");
}

#[tokio::test]
async fn requests_without_a_path_break_nothing() {
    for (method, target) in [("OPTIONS", "*"), ("CONNECT", "example.com:443")] {
        let (parts, _) = send(settings(), request(method, target)).await;
        assert!([404, 405].contains(&parts.status.as_u16()), "{method} {target} {}", parts.status);
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_it_private() {
    for path in ["/v1/me", "/v1/nope", "/v1/otp", "/panic"] {
        let (parts, _) = send(settings(), request("GET", path)).await;
        assert_eq!(parts.headers[CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(parts.headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(parts.headers[REFERRER_POLICY], "no-referrer", "{path}");
        assert!(
            !parts.headers.contains_key(STRICT_TRANSPORT_SECURITY),
            "{path}: no HSTS over http"
        );
        let https = Settings { https: true, ..settings() };
        let (parts, _) = send(https, request("GET", path)).await;
        assert!(parts.headers.contains_key(STRICT_TRANSPORT_SECURITY), "{path}");
    }
    let (parts, _) = send(settings(), request("GET", "/keys")).await;
    assert_eq!(parts.headers[CACHE_CONTROL], "public, max-age=300", "its own value stays");
}

#[tokio::test]
async fn p10_a_panic_is_a_problem_that_reveals_nothing() {
    let (parts, body) = send(settings(), request("GET", "/panic")).await;
    assert_eq!((parts.status.as_u16(), code(&body).as_str()), (500, "internal_error"));
    assert!(parts.headers.contains_key(RETRY_AFTER) && !body.contains("4155552671"), "{body}");
}

#[tokio::test]
async fn a_request_id_is_kept_when_harmless_and_replaced_when_not() {
    for id in ["a", "0193.ab-C_d", &"x".repeat(64)] {
        let mut request = request("GET", "/v1/me");
        request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
        assert_eq!(send(settings(), request).await.0.headers[X_REQUEST_ID], id);
    }
    for id in [&b""[..], b"a b", b"a\tb", b"\xff", b"<script>", &[b'x'; 65], &[b'x'; 9000]] {
        let mut request = request("GET", "/v1/me");
        request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        let made =
            send(settings(), request).await.0.headers[X_REQUEST_ID].to_str().unwrap().to_owned();
        assert_eq!(uuid::Uuid::parse_str(&made).unwrap().get_version_num(), 7, "{made}");
    }
    let mut twice = request("GET", "/v1/me");
    twice.headers_mut().append(X_REQUEST_ID, HeaderValue::from_static("a"));
    twice.headers_mut().append(X_REQUEST_ID, HeaderValue::from_static("b"));
    assert_eq!(send(settings(), twice).await.0.headers[X_REQUEST_ID].len(), 36);
}

fn with_origin(method: &str, origin: &str) -> Request {
    let mut request = request(method, "/v1/otp");
    let headers = request.headers_mut();
    headers.insert("origin", HeaderValue::from_str(origin).unwrap());
    if method == "OPTIONS" {
        headers.insert("access-control-request-method", HeaderValue::from_static("POST"));
        headers.insert("access-control-request-headers", HeaderValue::from_static("content-type"));
    }
    request
}

#[tokio::test]
async fn without_listed_origins_no_answer_and_no_preflight_carries_cors() {
    for method in ["POST", "OPTIONS"] {
        let (parts, _) = send(settings(), with_origin(method, "https://app.example.test")).await;
        let cors = parts.headers.keys().find(|name| name.as_str().starts_with("access-control"));
        assert_eq!(cors, None, "{method}");
    }
}

#[tokio::test]
async fn exactly_the_listed_origins_are_allowed() {
    let listed = "https://app.example.test";
    for (origin, allowed) in [
        (listed, true),
        ("https://evil.example", false),
        ("https://app.example.test.evil.example", false),
        ("https://app.example.test:8443", false),
        ("http://app.example.test", false),
        ("null", false),
    ] {
        for method in ["POST", "OPTIONS"] {
            let settings = Settings { cors_origins: vec![listed.to_owned()], ..settings() };
            let (parts, _) = send(settings, with_origin(method, origin)).await;
            let header = parts.headers.get("access-control-allow-origin");
            assert_eq!(header.is_some_and(|header| header == origin), allowed, "{method} {origin}");
            assert_eq!(header.is_some(), allowed, "{method} {origin}");
            assert_eq!(parts.headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "preflights too");
        }
    }
}

#[tokio::test]
async fn a_page_may_send_and_read_the_headers_that_the_api_uses() {
    let listed = "https://app.example.test";
    let settings = || Settings { cors_origins: vec![listed.to_owned()], ..settings() };
    let names = |parts: &http::response::Parts, header: &str| {
        let names = parts.headers[header].to_str().unwrap().to_owned();
        names.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<BTreeSet<_>>()
    };
    let (preflight, _) = send(settings(), with_origin("OPTIONS", listed)).await;
    let sent = "authorization content-type dpop idempotency-key x-request-id";
    assert!(
        names(&preflight, "access-control-allow-headers")
            .iter()
            .map(String::as_str)
            .eq(sent.split(' '))
    );
    let (answer, _) = send(settings(), with_origin("POST", listed)).await;
    let read = "date dpop-nonce retry-after www-authenticate x-request-id";
    assert!(
        names(&answer, "access-control-expose-headers")
            .iter()
            .map(String::as_str)
            .eq(read.split(' '))
    );
}

#[test]
fn an_inexact_origin_is_refused_at_startup() {
    for origin in
        ["*", "null", "app.example.test", "https://app.example.test/", "https://a.test/x", ""]
    {
        let settings = Settings { cors_origins: vec![origin.to_owned()], ..settings() };
        assert!(finish(Router::new(), settings).is_err(), "{origin}");
    }
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_reaches_the_handler() {
    let nets = vec!["10.0.0.0/8".parse().unwrap()];
    for (peer, wanted) in [("10.0.0.1:5", "203.0.113.9"), ("192.0.2.1:5", "192.0.2.1")] {
        let mut request = request("GET", "/ip");
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        let settings = Settings {
            trusted_proxies: TrustedProxies::new(nets.clone(), ClientIpHeader::XForwardedFor),
            ..settings()
        };
        assert_eq!(send(settings, request).await.1, wanted);
    }
}

#[tokio::test]
async fn an_encoded_request_is_refused_whatever_its_method_and_encoding() {
    for method in ["GET", "DELETE", "PATCH"] {
        for encoding in ["gzip", "identity", "br", ""] {
            let mut request = request(method, "/v1/me");
            let value = HeaderValue::from_str(encoding).unwrap();
            request.headers_mut().insert(CONTENT_ENCODING, value);
            let (parts, body) = send(settings(), request).await;
            let refused = (parts.status.as_u16(), code(&body));
            assert_eq!(refused, (415, "unsupported_media_type".into()), "{method} {encoding}");
        }
    }
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_is_a_method_like_any_other() {
    let settings =
        || Settings { cors_origins: vec!["https://app.example.test".into()], ..settings() };
    for (path, status) in [("/v1/me", 405), ("/v1/nope", 404)] {
        let (parts, body) = send(settings(), request("OPTIONS", path)).await;
        assert_eq!(parts.status, status, "{path} {body}");
        assert_eq!(parts.headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

#[tokio::test]
async fn a_request_continues_its_clients_trace_or_starts_one() {
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut traced = request("GET", "/trace");
    traced.headers_mut().insert("traceparent", HeaderValue::from_static(theirs));
    let (_, ours) = send(settings(), traced).await;
    assert_eq!(ours[..36], theirs[..36], "the same trace");
    assert_ne!(ours, theirs, "a span of our own");
    for header in [None, Some("nonsense")] {
        let mut request = request("GET", "/trace");
        if let Some(header) = header {
            request.headers_mut().insert("traceparent", HeaderValue::from_static(header));
        }
        let (_, first) = send(settings(), request).await;
        assert!(TraceContext::from_header(&first).is_some() && first.ends_with("-01"), "{first}");
    }
}

#[tokio::test]
async fn ten_thousand_paths_and_methods_make_two_time_series() {
    let metrics = service::telemetry::metrics();
    let app = public(settings());
    for n in 0..10_000 {
        let (method, path) = (format!("INVENTED{n}"), format!("/nowhere/{n}"));
        for request in [request("GET", &path), request(&method, "/nowhere")] {
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 404);
        }
    }
    let text = metrics.render();
    let of = |method: &str| {
        let series = format!(
            "latchkey_http_request_seconds_count{{method=\"{method}\",route=\"unmatched\",status=\"404\"}}"
        );
        text.lines().filter(|line| line.starts_with(&series)).count()
    };
    assert_eq!((of("GET"), of("OTHER")), (1, 1));
    assert!(!text.contains("nowhere") && !text.contains("INVENTED"), "{text}");
}
