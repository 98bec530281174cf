//! A client for the ops port, for the `health` commands: small enough to start in a millisecond.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A probe that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(3);

/// Requests a path over HTTP/1.1 and returns the status.
///
/// # Errors
/// When nothing listens, no response arrives within 3 s, or the response is not HTTP.
pub async fn get_status(addr: SocketAddr, path: &str) -> anyhow::Result<u16> {
    tokio::time::timeout(WITHIN, get_unbounded(addr, path)).await.context("wait for a response")?
}

async fn get_unbounded(addr: SocketAddr, path: &str) -> anyhow::Result<u16> {
    ensure!(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()), "not a path");
    let mut stream = TcpStream::connect(addr).await.context("connect to the ops port")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("send the request")?;
    let mut line = String::new();
    // A status line is short; a peer that does not speak HTTP may never end its line.
    BufReader::new(stream).take(1024).read_line(&mut line).await.context("read the status line")?;
    status_of(&line).context("read the status: not an HTTP response")
}

fn status_of(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    let version = words.next()?;
    let status: u16 = words.next()?.trim_end().parse().ok()?;
    (version.starts_with("HTTP/1.") && (100..600).contains(&status)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_parsed_and_anything_else_is_rejected() {
        assert_eq!(status_of("HTTP/1.1 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status_of("HTTP/1.0 200\r\n"), Some(200));
        for bad in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 abc\r\n",
            "HTTP/1.1 9999 x\r\n",
        ] {
            assert_eq!(status_of(bad), None, "{bad:?}");
        }
    }
}
