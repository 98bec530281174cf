//! The accept loop and the requests of each connection: HTTP/1.1 with limits on connections, headers and time, and a
//! graceful shutdown.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::task::Poll;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use crate::http::accept_queue::AcceptQueue;
use crate::http::body::BodyLimits;
use crate::http::body_slots::BodySlots;
use crate::http::client_ip::{Peer, TrustedProxies};
use crate::http::connection_limits::Limits;
use crate::http::connection_slots::{Idle, Slot, Slots};
use crate::http::connection_timeouts::Pace;
use crate::http::request_socket::RequestSocket;
use crate::http::watched_body::{WatchedBody, Watcher};

/// The first pause after a failed accept, doubled up to [`ACCEPT_PAUSE_MAX`]. When file descriptors run out, a loop
/// without a pause would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Serves until `stop`, then lets requests in progress finish. Every request carries its [`Peer`], the limits on its
/// body and the slots of those that are waited for. Connections of the proxies are not counted by address.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    queue: AcceptQueue,
    limits: Limits,
    proxies: TrustedProxies,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let slots = Slots::new(&limits, proxies);
    let bodies = BodySlots::new(&limits);
    let open = |stream, peer, slot| {
        let (service, stop, cut) = (service.clone(), stop.clone(), cut.clone());
        let bodies = bodies.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, peer, &slot, service, limits, bodies, stop) => {}
                () = cut.cancelled() => {}
            }
            drop(slot);
        });
    };
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &queue, &slots) => accepted,
        };
        match accepted {
            // An address with all that it may hold is refused without an answer: even that would be work.
            Ok(None) => pause = ACCEPT_PAUSE,
            Ok(Some((stream, peer, slot))) => {
                pause = ACCEPT_PAUSE;
                open(stream, peer, slot);
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
    // Closing the port resets the connections that wait to be accepted, and their clients may have sent a request.
    match last(listener, &slots) {
        Ok(last) => last.into_iter().for_each(|(stream, peer, slot)| open(stream, peer, slot)),
        Err(error) => tracing::warn!(%error, "connections that waited to be accepted are reset"),
    }
    // No new connections from here on: another process may listen on the port.
    connections.close();
    if timeout(limits.drain_within, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut at shutdown");
        cut.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    queue: &AcceptQueue,
    slots: &Slots,
) -> io::Result<Option<(TcpStream, Peer, Slot)>> {
    let free = match slots.free_now() {
        Some(free) => free,
        None => {
            queue.emptied();
            slots.free().await
        }
    };
    let (stream, peer) = queue.accept(listener).await?;
    Ok(slots.enter(peer.ip(), free).map(|slot| (stream, Peer(peer), slot)))
}

/// Closes the port; returns the connections that waited there. The runtime may not have heard of them yet, so the kernel
/// is asked.
fn last(listener: TcpListener, slots: &Slots) -> io::Result<Vec<(TcpStream, Peer, Slot)>> {
    let (listener, mut waited) = (listener.into_std()?, Vec::new());
    while let Some(free) = slots.free_now() {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                let slot = slots.enter(peer.ip(), free);
                waited.extend(slot.map(|slot| (stream, peer, slot)));
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let of_ours = |(stream, peer, slot)| Ok((TcpStream::from_std(stream)?, Peer(peer), slot));
    waited.into_iter().map(of_ours).collect()
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one request after the other. Between two of them the connection holds no buffer.
async fn connection<S>(
    stream: TcpStream,
    peer: Peer,
    slot: &Slot,
    service: S,
    limits: Limits,
    bodies: BodySlots,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    // An answer is one small write: waiting to fill a packet only adds 40 ms. If this fails, the socket is gone anyway.
    let _ = stream.set_nodelay(true);
    let pace = Pace::new(limits.stalled_within);
    let mut socket = RequestSocket::new(stream, limits.header_bytes, pace.clone());
    let mut idle: Option<Idle> = None;
    // The first head's time begins with the connection, every other one's with its first byte.
    let mut whole_by = Some(Instant::now() + limits.headers_within);
    loop {
        let begun_by = whole_by.unwrap_or_else(|| Instant::now() + limits.idle_within);
        tokio::select! {
            biased;
            begun = timeout_at(begun_by, socket.begins()) => if begun != Ok(true) { return },
            () = must_close(idle.as_ref()) => return,
            // Not at once: a request may be on its way, and its client would see a broken connection.
            () = passed(&stop, limits.late_within) => return,
        }
        if idle.take().is_some_and(|idle| !idle.resume()) {
            return;
        }
        let whole_by = whole_by.take().unwrap_or_else(|| Instant::now() + limits.headers_within);
        if timeout_at(whole_by, socket.head()).await != Ok(true) {
            return;
        }
        // Boxed: a connection that waits for its head does not hold the room for all of this.
        let attached = Attached { peer, limits: limits.body, slots: bodies.clone() };
        let served = one_request(&mut socket, &pace, attached, &service, limits, &stop);
        if !Box::pin(served).await {
            return;
        }
        idle = Some(slot.idle());
    }
}

/// Completes when an idle connection must make room. A connection before its first request is not idle.
async fn must_close(idle: Option<&Idle>) {
    match idle {
        Some(idle) => idle.must_close().await,
        None => std::future::pending().await,
    }
}

/// What every request carries as extensions.
struct Attached {
    peer: Peer,
    limits: BodyLimits,
    slots: BodySlots,
}

/// Completes this long after the stop.
async fn passed(stop: &CancellationToken, late_within: Duration) {
    stop.cancelled().await;
    sleep(late_within).await;
}

/// Serves the request whose head the socket holds. Returns whether another one may follow.
async fn one_request<S>(
    socket: &mut RequestSocket<TcpStream>,
    pace: &Pace,
    attached: Attached,
    service: &S,
    limits: Limits,
    stop: &CancellationToken,
) -> bool
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let is_last = socket.is_last();
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        pace.request_called();
        let answering = Answering(pace.clone());
        let mut request = request.map(axum::body::Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(attached.peer);
        extensions.insert(attached.limits);
        extensions.insert(attached.slots.clone());
        let response = service.clone().oneshot(request);
        async move {
            let mut response = response.await?;
            // With its body unread, the next request's beginning is unknown too. After the stop the client is told to
            // send it elsewhere: one that reads this sends nothing to a connection that is about to close.
            if is_last || !answering.0.is_read() || stop.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| WatchedBody::new(body, answering)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // The head is complete; the time for it was taken while it arrived.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(8192))
        .serve_connection(TokioIo::new(socket), answer);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        biased;
        keeps_open = poll_fn(|context| match serving.as_mut().poll(context) {
            // Errors here are the client's: it disconnected, or what it sent is not HTTP.
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if pace.is_between_requests() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }) => keeps_open,
        // After `serving`, whose reads and writes move this deadline.
        () = pace.expired() => false,
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

#[cfg(test)]
mod tests;
