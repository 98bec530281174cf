//! Connecting to the broker: its address, one connection, the backoff, and the meaning of lapin's errors.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use lapin::types::{AMQPValue, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio::time::timeout;

use domain::engine_error::EngineError;
use domain::engine_hosts::one_each;
use domain::rng;

pub(super) const ENGINE: &str = "RabbitMQ";
/// Seconds. A peer that disappears silently is detected within two heartbeats.
const HEARTBEAT_SECS: u16 = 10;

/// The largest frame that the broker may send. It splits a message's body but never its headers: a larger header ends
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// 8 KiB, for our own events, which are 4 KiB at most. lapin keeps buffers of 64 frames for each connection.
    Ours,
    /// The broker's own limit, for messages of other publishers: at its 128 KiB the buffers take 8 MiB.
    Anybodys,
}

const OUR_FRAME_MAX: u32 = 8 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two connection attempts. lapin's own recovery backs off to 60 s and gives up: 35 s of needless outage.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The addresses of the broker's nodes. It has no `Debug`: they hold the password.
pub(super) struct Link {
    nodes: Vec<AMQPUri>,
    /// Where the next connection begins: a process's connections are spread over the nodes.
    next: AtomicUsize,
    role: &'static str,
}

impl Link {
    pub(super) fn parse(url: &SecretString, role: &'static str) -> Result<Self, EngineError> {
        let nodes =
            one_each(url.expose_secret()).iter().map(node).collect::<Result<Vec<_>, _>>()?;
        // Processes that start together begin at different nodes.
        let next = AtomicUsize::new(usize::try_from(rng::id_u64()).unwrap_or_default());
        Ok(Self { nodes, next, role })
    }

    /// Opens a separate connection without lapin's recovery: messages in flight must fail, not be resent silently. A node
    /// that is away is passed over for the next one.
    pub(super) async fn connect(
        &self,
        purpose: &str,
        frames: Frames,
    ) -> Result<OwnConnection, EngineError> {
        let (count, first) = (self.nodes.len(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut last = away("AMQP_URL names no node");
        for node in (0..count).map(|n| &self.nodes[first.wrapping_add(n) % count]) {
            match self.connect_to(node, purpose, frames).await {
                Err(error) if error.is_away() => last = error,
                judged => return judged,
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        node: &AMQPUri,
        purpose: &str,
        frames: Frames,
    ) -> Result<OwnConnection, EngineError> {
        let name = format!("latchkey {} {purpose}", self.role);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let mut uri = node.clone();
        if frames == Frames::Ours {
            uri.query.frame_max.get_or_insert(OUR_FRAME_MAX);
        }
        let connecting = Connection::connect_uri(uri, properties);
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let done = connected.map_err(|_| away("connect to the broker: timed out"))?;
        let connection = done.map_err(|error| classify(error, "connect to the broker"))?;
        Ok(OwnConnection(Arc::new(connection)))
    }
}

fn node(url: &SecretString) -> Result<AMQPUri, EngineError> {
    // The parser's own message could repeat the URL with the password.
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| {
        EngineError::broken(ENGINE, anyhow!("AMQP_URL is not an amqp:// or amqps:// URL"))
    })?;
    uri.query.heartbeat = Some(HEARTBEAT_SECS);
    Ok(uri)
}

/// Waits between connection attempts: from half a second, doubling up to three. Jitter keeps processes that lost the
/// broker together from reconnecting together.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(0.75 + rng::spread_fraction() * 0.25)).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
    }
}

/// The broker's codes: this login may not do it, or it is not there.
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;

/// Classifies lapin's error. Waiting cannot help in two cases only: access refused, and a mismatched declaration.
pub(super) fn classify(error: lapin::Error, what: &str) -> EngineError {
    const PRECONDITION_FAILED: u16 = 406;
    let broken = matches!(error.kind(), ErrorKind::ProtocolError(e)
        if [ACCESS_REFUSED, PRECONDITION_FAILED].contains(&e.get_id()));
    let cause = anyhow::Error::new(error).context(what.to_owned());
    if broken { EngineError::broken(ENGINE, cause) } else { EngineError::away(ENGINE, cause) }
}

/// The broker does not answer, or not in time: waiting may help.
pub(super) fn away(why: &'static str) -> EngineError {
    EngineError::away(ENGINE, anyhow!(why))
}

/// Our own names are far shorter than the 255 bytes that AMQP allows.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::from(text)
}

/// A text in a header or in a queue's arguments.
pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A connection that is closed once it is dropped, cleanly and in the background. lapin's own would stay open while the
/// broker owes an answer on one of its channels: a consumer that the broker takes on it after its task has given up would
/// be sent messages that nobody settles. The heartbeat handles a peer that does not answer.
pub(super) struct OwnConnection(Arc<Connection>);

impl Deref for OwnConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        let connection = Arc::clone(&self.0);
        let Ok(runtime) = Handle::try_current() else { return };
        if !connection.status().connected() {
            return;
        }
        runtime.spawn(async move {
            let closing = connection.close(200, "done".into());
            if !matches!(timeout(CONNECT_TIMEOUT, closing).await, Ok(Ok(()))) {
                tracing::debug!("broker connection not closed cleanly");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_wrong_url_is_reported_without_its_password() {
        let url = SecretString::from("http://latchkey:hunter2hunter2@broker");
        let error = Link::parse(&url, "test").err().expect("not a broker URL");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("AMQP_URL"), "{error}");
    }
}
