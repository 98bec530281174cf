//! Serves `GET /livez /readyz /metrics` over HTTP/1.1, directly on hyper: `axum::serve` has no timeout for headers.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::health::Health;
use crate::telemetry::MetricsHandle;

/// How long a connection may take to send its headers or its next request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Scrapers and probes need a handful; more is a mistake or an attack and must not exhaust file descriptors.
const CONNECTIONS: usize = 64;
/// How long connections with a pending response get after a stop.
const DRAIN: Duration = Duration::from_millis(500);

/// Serves until `stop`, and runs the metrics upkeep meanwhile.
///
/// - `/livez`: 200 while the process and its async runtime run.
/// - `/readyz`: 200 when every part of `health` is ready, else 503; the body lists the state of each part.
/// - `/metrics`: the Prometheus text format.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: MetricsHandle,
    stop: CancellationToken,
) {
    let accepting = accept(listener, health, metrics.clone(), stop.clone());
    tokio::select! {
        () = accepting => {}
        () = metrics.upkeep() => {}
    }
}

async fn accept(
    listener: TcpListener,
    health: Health,
    metrics: MetricsHandle,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS => {
                connections.spawn(answer(stream, health.clone(), metrics.clone(), stop.clone()));
            }
            // Too many: dropping the stream closes it.
            Ok(_) => {}
            Err(error) => {
                // Usually out of file descriptors: an immediate retry would spin.
                tracing::warn!(error = %error, "ops port cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    // Connections that do not end in time are closed: nothing is lost.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

async fn answer(
    stream: TcpStream,
    health: Health,
    metrics: MetricsHandle,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let answer = route(&request, &health, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection error concerns only the probe.
    tokio::select! {
        _ = &mut connection => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn route<B>(
    request: &Request<B>,
    health: &Health,
    metrics: &MetricsHandle,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return respond(StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = respond(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "method not allowed\n".to_owned(),
        );
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render())
        }
        "/readyz" => {
            let status =
                if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, "application/json", readiness(health))
        }
        _ => respond(StatusCode::OK, "text/plain", "alive\n".to_owned()),
    }
}

fn readiness(health: &Health) -> String {
    let parts: serde_json::Map<_, _> = health
        .parts()
        .into_iter()
        .map(|(part, trouble)| {
            (part.to_owned(), if trouble.is_none() { "ready" } else { "not ready" }.into())
        })
        .collect();
    serde_json::json!({ "ready": health.is_ready(), "parts": parts }).to_string()
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::ops::get_status;
    use crate::telemetry;

    async fn port() -> (SocketAddr, Health, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, health, stop) =
            (listener.local_addr().unwrap(), Health::default(), CancellationToken::new());
        let task =
            tokio::spawn(serve(listener, health.clone(), telemetry::metrics(), stop.clone()));
        (addr, health, stop, task)
    }

    async fn raw(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_the_parts_and_names_the_one_that_is_not() {
        let (addr, health, _stop, _task) = port().await;
        assert_eq!(get_status(addr, "/livez").await.unwrap(), 200);
        assert_eq!(get_status(addr, "/readyz").await.unwrap(), 503, "nothing is connected yet");
        health.ready("database");
        assert_eq!(get_status(addr, "/readyz").await.unwrap(), 200);
        health.not_ready("redis", "SECRET in its error");
        let answer =
            raw(addr, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503") && !answer.contains("SECRET"), "{answer}");
        assert!(
            answer.contains(r#""redis":"not ready""#) && answer.contains(r#""database":"ready""#),
            "{answer}"
        );
        assert_eq!(get_status(addr, "/livez").await.unwrap(), 200, "not ready is not dead");
    }

    #[tokio::test]
    async fn only_three_pages_exist_and_they_are_read_only() {
        let (addr, _health, _stop, _task) = port().await;
        assert_eq!(get_status(addr, "/metrics").await.unwrap(), 200);
        for path in ["/", "/livez/", "/debug", "/metrics/../livez"] {
            assert_eq!(get_status(addr, path).await.unwrap(), 404, "{path}");
        }
        let posted = raw(
            addr,
            "POST /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert!(
            posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"),
            "{posted}"
        );
        let head = raw(addr, "HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        let metrics =
            raw(addr, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(metrics.contains("latchkey_limited_total{limit=\"cooldown\"}"), "{metrics}");
    }

    #[tokio::test]
    async fn p12_it_stops_at_once_even_with_an_idle_connection_open() {
        let (addr, _health, stop, task) = port().await;
        let idle = TcpStream::connect(addr).await.unwrap();
        // This was answered, so the idle connection before it was accepted too.
        assert_eq!(get_status(addr, "/livez").await.unwrap(), 200);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        assert!(get_status(addr, "/livez").await.is_err());
        drop(idle);
    }
}
