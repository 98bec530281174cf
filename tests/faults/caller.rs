//! A client of the strictest kind: it keeps its one connection until an answer tells it that this one is the last, never
//! looks whether the connection is still open, and makes no call a second time. A server that closes a connection
//! between two calls without a word breaks one of its calls.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Between two calls. Much less than what a gateway waits for a call that is on its way (1 s).
pub(super) const BETWEEN_CALLS: Duration = Duration::from_millis(20);

pub(super) struct Caller {
    address: String,
    open: Option<TcpStream>,
}

impl Caller {
    pub fn of(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned(), open: None }
    }

    /// Makes one call, on a new connection if the last answer said so.
    pub async fn call(&mut self) -> Result<(), String> {
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => TcpStream::connect(&self.address).await.map_err(|e| format!("connect: {e}"))?,
        };
        let request = format!(
            "GET /.well-known/jwks.json HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.map_err(|e| format!("a call: {e}"))?;
        let head = answer(&mut stream).await?;
        if !head.starts_with("http/1.1 200 ") {
            return Err(head);
        }
        if !head.contains("\r\nconnection: close\r\n") {
            self.open = Some(stream);
        }
        Ok(())
    }
}

/// Reads one answer to its end; returns its head, in lower case.
async fn answer(stream: &mut TcpStream) -> Result<String, String> {
    let (mut received, mut piece) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece).await.map_err(|e| format!("an answer: {e}"))?;
        if length == 0 {
            return Err(format!("a connection was closed behind {received:?}"));
        }
        received.push_str(&String::from_utf8_lossy(&piece[..length]));
        let Some((head, body)) = received.split_once("\r\n\r\n") else { continue };
        let head = format!("{}\r\n", head.to_lowercase());
        let mut lines = head.lines();
        let wanted = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let wanted: usize = wanted.ok_or_else(|| format!("no length: {head}"))?;
        if body.len() >= wanted {
            return Ok(head);
        }
    }
}
