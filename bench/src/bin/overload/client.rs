//! A client of a few bytes: thousands are started a second on one core, each with a connection of its own from an address
//! of its own, as apps come.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A call without an answer by then has none. Far above the promised 2.5 s, so that a late answer is seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// One keep-alive connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    head: String,
    body: String,
}

impl Client {
    /// Connects from an own address of the loopback network.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        let from = Ipv4Addr::new(127, a.wrapping_add(1) % 250 + 1, b, c);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = timeout(PATIENCE, socket.connect(to)).await.map_err(|_| timed_out())??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Posts JSON to a path, with this `Idempotency-Key`.
    pub async fn post(&mut self, path: &str, key: &str, body: &str) -> io::Result<Answer> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: latchkey.test\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let call = async {
            self.stream.write_all(request.as_bytes()).await?;
            self.answer().await
        };
        let (status, head, body) = timeout(PATIENCE, call).await.map_err(|_| timed_out())??;
        Ok(Answer { status, head, body })
    }

    async fn answer(&mut self) -> io::Result<(u16, String, String)> {
        self.read.clear();
        let mut wanted = None;
        loop {
            if let Some((head, whole)) = wanted
                && self.read.len() >= whole
            {
                let text = String::from_utf8_lossy(&self.read);
                let (head, body) = text.split_at(head);
                let status = head.get(9..12).and_then(|digits| digits.parse().ok());
                return Ok((status.ok_or_else(not_http)?, head.to_owned(), body.to_owned()));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if wanted.is_none() {
                wanted = whole_length(&self.read)?;
            }
        }
    }
}

/// The length of the head, and of the whole answer, once the head is there.
fn whole_length(read: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&read[..end]);
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    Ok(Some((end + 4, end + 4 + length.ok_or_else(not_http)?)))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1);
    let mut pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.find(|(this, _)| this.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

impl Answer {
    /// A string member of the body. The bodies are ours: flat enough for a search.
    pub fn text(&self, member: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(body[member].as_str()?.to_owned())
    }

    /// Whether a 503 says when to come back (P8).
    pub fn says_when(&self) -> bool {
        header(&self.head, "retry-after").is_some_and(|secs| secs.parse::<u64>().is_ok())
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn not_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no answer of HTTP with a length")
}
