//! How a private server is launched: on a free port, and only in a run that may start one.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::folder::free_port;
use crate::server::{Launch, Server};

/// RabbitMQ needs 5 to 8 s on two idle cores, the others less than two.
pub const START_LIMIT: Duration = Duration::from_mins(2);

/// What a server keeps over a `kill -9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// For the shared servers, which are never killed: as fast as possible.
    Nothing,
    /// As in production: fsync, append-only file. Redis may lose its last second (W5), the longer the busier the disk.
    AsInProduction,
    /// Everything acknowledged.
    Everything,
}

/// Starts a server on a free port, or another one if that was taken meanwhile, and waits until it answers.
pub async fn start_on_a_free_port(
    launch: impl Fn(u16) -> Launch,
    answers: impl AsyncFn(u16) -> bool,
) -> (Server, u16) {
    allowed();
    let mut failures = String::new();
    for _ in 0..3 {
        let port = free_port();
        let mut server = Server::new(launch(port));
        server.spawn();
        match server.try_ready(START_LIMIT, async || answers(port).await).await {
            Ok(()) => return (server, port),
            Err(why) => failures.push_str(&why),
        }
    }
    panic!("{failures}");
}

/// A private server that can be restarted on the same port and data.
#[expect(async_fn_in_trait, reason = "tests await these in their own task")]
pub trait Restart {
    fn server(&mut self) -> (&mut Server, u16);

    /// Whether the server on this port answers.
    async fn answers(port: u16) -> bool;

    /// Ends it like a power cut and starts it again.
    async fn restart(&mut self) {
        self.server().0.kill9().await;
        self.start_again().await;
    }

    /// Starts it after [`Server::kill9`].
    async fn start_again(&mut self) {
        let (server, port) = self.server();
        server.spawn();
        server.ready(START_LIMIT, async || Self::answers(port).await).await;
    }
}

/// Sends these bytes and reports whether the answer begins as expected.
pub async fn exchange(port: u16, request: &[u8], answer: &[u8]) -> bool {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request).await?;
        let mut got = vec![0; answer.len()];
        stream.read_exact(&mut got).await?;
        std::io::Result::Ok(got == answer)
    };
    matches!(timeout(Duration::from_secs(2), talk).await, Ok(Ok(true)))
}

/// Sends this text and returns what came back until half a second of silence; `None` if nothing did.
pub async fn answer(port: u16, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(request).await.ok()?;
    let (mut all, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(Ok(length @ 1..)) =
        timeout(Duration::from_millis(500), stream.read(&mut piece)).await
    {
        all.extend_from_slice(&piece[..length]);
    }
    (!all.is_empty()).then(|| String::from_utf8_lossy(&all).into_owned())
}

/// Fails if only the embedded engines are allowed: `tests/run --fast` sets this in the environment, and a test that is
/// not skipped by name fails here instead of starting servers.
#[expect(clippy::disallowed_methods, reason = "a switch for the tests, which config does not know")]
pub(crate) fn allowed() {
    let embedded_only =
        std::env::var("LATCHKEY_TEST_ENGINES").is_ok_and(|engines| engines == "embedded");
    assert!(
        !embedded_only,
        "a test that needs a real engine belongs in a module named on_the_engines"
    );
}
