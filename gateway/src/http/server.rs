//! The accept loop: HTTP/1.1 with limits on connections, headers and time, and a graceful shutdown.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::header::TRANSFER_ENCODING;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use crate::http::client_ip::Peer;
use crate::http::connection_limits::Limits;
use crate::http::connection_timeouts::{Pace, Paced};
use crate::http::watched_body::{WatchedBody, Watcher};

/// The first pause after a failed accept, doubled up to [`ACCEPT_PAUSE_MAX`]. When file descriptors run out, a loop
/// without a pause would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Serves until `stop`, then lets requests in progress finish. Every request carries its [`Peer`] and the limits on
/// its body.
pub async fn serve<S>(listener: TcpListener, service: S, limits: Limits, stop: CancellationToken)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                pause = ACCEPT_PAUSE;
                let (service, stop, cut) = (service.clone(), stop.clone(), cut.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(stream, peer, service, limits, stop) => {}
                        () = cut.cancelled() => {}
                    }
                    drop(permit);
                });
            }
            // The client went away before we accepted it: not our fault.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
    // No new connections from here on: another process may listen on the port.
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_within, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut at shutdown");
        cut.cancel();
        connections.wait().await;
    }
}

type Accepted = (TcpStream, Peer, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer), permit))
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection<S>(
    stream: TcpStream,
    peer: Peer,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // An answer is one small write: waiting to fill a packet only adds 40 ms. If this fails, the socket is gone anyway.
    let _ = stream.set_nodelay(true);
    let pace = Pace::new(limits);
    let reported = pace.clone();
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let framed_twice = reported.request_began(is_chunked);
        let answering = Answering(reported.clone());
        let mut request = request.map(axum::body::Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(peer);
        extensions.insert(limits.body);
        if framed_twice {
            extensions.insert(FramedTwice);
        }
        let response = service.clone().oneshot(request);
        async move { Ok::<_, Infallible>(response.await?.map(|body| WatchedBody::new(body, answering))) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // `pace` times the headers: hyper's own timeout would also cut connections that idle between two requests.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(8192))
        .serve_connection(TokioIo::new(Paced::new(stream, pace.clone())), answer);
    let mut serving = std::pin::pin!(serving);
    let mut stopping = false;
    let mut expired = std::pin::pin!(pace.expired());
    loop {
        tokio::select! {
            biased;
            // Errors here are the client's: it disconnected, or what it sent is not HTTP.
            _ = serving.as_mut() => return,
            // After `serving`, whose reads and writes move this deadline.
            () = expired.as_mut() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells the pace when the answer is done, even if the client went away in the middle of it.
struct Answering(Pace);

impl Watcher for Answering {}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// Marks, in its extensions, a request that gives its length in two ways: a proxy in front of us may see its end
/// elsewhere than we do (RFC 9112, section 6.3). The request must be refused and its connection closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramedTwice;

#[cfg(test)]
mod tests;
