//! A client's socket, read request by request: it collects a whole head before hyper sees a byte of it, lets hyper read
//! that request and no more, replaces hyper's own refusals, and closes without a reset.
//!
//! So an unfinished head costs its own bytes and nothing besides, and each head is judged where it begins, also when a
//! client sends the next request before it has the answer.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::http::connection_timeouts::Pace;
use crate::http::error::ApiError;
use crate::http::raw_error_response;
use crate::http::request_head::{self, BodyLength};

/// How many bytes a client may still send at the end, and for how long; they are discarded. Closing a socket with
/// unread bytes sends a reset, and the client may lose the response.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(500);

/// How long an answer is waited for once the client has sent so much behind its request that its end can no longer be
/// seen. Twice what any answer takes (P1) but an event stream, whose client has nothing more to say.
const UNSEEN_WITHIN: Duration = Duration::from_secs(5);

/// The most bytes taken from the socket at once.
const PIECE: usize = 4096;

/// What hyper reads instead of a head that is refused; it is no HTTP, so hyper refuses it and closes.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";

#[derive(Debug)]
pub(crate) struct RequestSocket<T> {
    inner: T,
    pace: Pace,
    /// Bytes of a head: above, it is refused.
    most: usize,
    /// What arrived and was not read by hyper: at most `most` bytes.
    received: Vec<u8>,
    /// How much of it was searched for the end of the head.
    searched: usize,
    /// Whether the client has closed its side, or counts as gone.
    ended: bool,
    /// Set while the client's end cannot be seen, because `received` is full.
    unseen: Option<Pin<Box<Sleep>>>,
    /// What hyper may still read of the current request; `None`: everything, to the end of the connection.
    left: Option<u64>,
    /// Why the head was refused.
    flaw: Option<ApiError>,
    /// What is written instead of hyper's refusal, and how many of its bytes are written.
    refusal: Option<(Vec<u8>, usize)>,
    /// Set once our side of the socket is closed.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<T: AsyncRead + Unpin> RequestSocket<T> {
    pub(crate) fn new(inner: T, most: usize, pace: Pace) -> Self {
        Self {
            inner,
            pace,
            most,
            received: Vec::new(),
            searched: 0,
            ended: false,
            unseen: None,
            left: Some(0),
            flaw: None,
            refusal: None,
            lingering: None,
        }
    }

    /// Waits for the first byte of a request; `false` if the client closes instead. Empty lines before a request are
    /// skipped (RFC 9112, section 2.2).
    pub(crate) async fn begins(&mut self) -> bool {
        loop {
            self.skip_empty_lines();
            // A carriage return alone is half of an empty line, and no request yet.
            if !matches!(*self.received, [] | [b'\r']) {
                return true;
            }
            if !self.more().await {
                return false;
            }
        }
    }

    fn skip_empty_lines(&mut self) {
        let empty = self.received.chunks_exact(2).take_while(|line| line == b"\r\n").count();
        self.received.drain(..2 * empty);
        self.searched = self.searched.saturating_sub(2 * empty);
    }

    /// Waits for the end of the head, or for what refuses it; `false` if the client closes before. A refused head is
    /// replaced by one that hyper refuses, and then its answer by ours.
    pub(crate) async fn head(&mut self) -> bool {
        loop {
            match self.judge() {
                Ok(Some((head, BodyLength::Exactly(body)))) => {
                    return self.begin(Some((head as u64).saturating_add(body)));
                }
                Ok(Some((_, BodyLength::Chunked))) => return self.begin(None),
                Ok(None) => {}
                Err(flaw) => {
                    self.flaw = Some(flaw);
                    self.received = NO_HEAD.to_vec();
                    return self.begin(Some(NO_HEAD.len() as u64));
                }
            }
            if !self.more().await {
                return false;
            }
        }
    }

    /// Lets hyper read this much.
    fn begin(&mut self, length: Option<u64>) -> bool {
        self.searched = 0;
        self.unseen = None;
        self.left = length;
        self.pace.request_began();
        true
    }

    /// Whether the current request's body is chunked. Nobody but hyper sees its end, so the next head cannot be judged:
    /// its connection must end with the answer.
    pub(crate) fn is_last(&self) -> bool {
        self.left.is_none()
    }

    /// The length of the head that was received, and of its body; `None` if the head is not complete.
    fn judge(&mut self) -> Result<Option<(usize, BodyLength)>, ApiError> {
        // Never the end of a head: hyper would skip them too, and wait for a request that nobody has judged.
        self.skip_empty_lines();
        match *self.received {
            [] | [b'\r'] => return Ok(None),
            [first, ..] if request_head::can_begin_with(first) => {}
            _ => return Err(raw_error_response::not_http()),
        }
        let end = request_head::end(&self.received, self.searched)?;
        self.searched = self.received.len();
        match end {
            Some(end) => Ok(Some((end, request_head::check(&self.received[..end])?))),
            None if self.received.len() >= self.most => Err(ApiError::HeadTooLarge),
            None => Ok(None),
        }
    }

    /// Receives more; `false` at the end.
    async fn more(&mut self) -> bool {
        poll_fn(|context| self.poll_more(context)).await.unwrap_or(false)
    }

    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        let mut bytes = [0; PIECE];
        let room = self.most.saturating_sub(self.received.len()).min(PIECE);
        let mut piece = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut piece))?;
        let piece = piece.filled();
        self.ended = piece.is_empty();
        let wanted = self.received.len() + piece.len();
        if wanted > self.received.capacity() {
            // Doubled, but never beyond the most: `Vec` would grow to twice as much.
            let capacity = wanted.next_power_of_two().clamp(512, self.most.max(wanted));
            self.received.reserve_exact(capacity - self.received.len());
        }
        self.received.extend_from_slice(piece);
        Poll::Ready(Ok(!self.ended))
    }

    /// Watches whether the client goes away while its request is answered. What it sends meanwhile is kept, up to the
    /// size of a head. Ready at the end of the connection: a client that has left waits for no answer, whatever it sent
    /// last. One that sent more than is kept counts as gone after [`UNSEEN_WITHIN`].
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.received.len() < self.most && !self.ended {
            ready!(self.poll_more(context))?;
        }
        if !self.ended {
            let unseen = self.unseen.get_or_insert_with(|| Box::pin(sleep(UNSEEN_WITHIN)));
            ready!(unseen.as_mut().poll(context));
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes that hyper has read this much of the request.
    fn handed_on(&mut self, count: usize) {
        let Some(left) = &mut self.left else { return };
        *left = left.saturating_sub(count as u64);
        if *left == 0 {
            self.pace.request_read();
        }
    }

    /// Ready when the client has closed too, or its time is up.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (timer, left) =
            self.lingering.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        let mut bytes = [0; PIECE];
        while *left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncWrite + Unpin> RequestSocket<T> {
    /// Writes our own response where hyper would refuse a malformed request with an empty one. `None`: these bytes are
    /// not such a refusal.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        first: &[u8],
        length: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            self.refusal = Some((raw_error_response::instead_of(first, self.flaw.as_ref())?, 0));
        }
        let (words, written) = self.refusal.as_mut()?;
        while *written < words.len() {
            match Pin::new(&mut self.inner).poll_write(context, &words[*written..]) {
                Poll::Ready(Ok(0)) => {
                    return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(taken)) => *written += taken,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        Some(Poll::Ready(Ok(length)))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RequestSocket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        // hyper would take a longer piece as a reason to read with larger buffers.
        let room = buffer.remaining().min(most).min(PIECE);
        if most == 0 {
            return self.poll_gone(context);
        }
        if !self.received.is_empty() {
            let count = self.received.len().min(room);
            buffer.put_slice(&self.received[..count]);
            self.received.drain(..count);
            if self.received.is_empty() {
                // A connection that waits holds no memory.
                self.received = Vec::new();
            }
            self.handed_on(count);
            return Poll::Ready(Ok(()));
        }
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        self.ended = count == 0 && room > 0;
        self.handed_on(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RequestSocket<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .poll_refusal(context, bytes, bytes.len())
            .unwrap_or_else(|| Pin::new(&mut self.inner).poll_write(context, bytes));
        self.pace.written(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| slice);
        let length = slices.iter().map(|slice| slice.len()).sum();
        let written = self
            .poll_refusal(context, first, length)
            .unwrap_or_else(|| Pin::new(&mut self.inner).poll_write_vectored(context, slices));
        self.pace.written(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the socket once it has written all that it has.
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.pace.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pace.closing();
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, advance, timeout};

    use super::*;

    fn socket() -> (DuplexStream, RequestSocket<DuplexStream>) {
        let (client, server) = duplex(4096);
        (client, RequestSocket::new(server, 16 * 1024, Pace::new(LINGER)))
    }

    /// What hyper reads of a request that arrives in these pieces; nothing before the last piece.
    async fn read_of(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut client, mut socket) = socket();
        {
            let mut whole = pin!(async { socket.begins().await && socket.head().await });
            let (last, first) = pieces.split_last().unwrap();
            for piece in first {
                client.write_all(piece).await.unwrap();
                assert_eq!(whole.as_mut().now_or_never(), None, "{pieces:?}");
            }
            client.write_all(last).await.unwrap();
            assert_eq!(whole.now_or_never(), Some(true), "{pieces:?}");
        }
        let mut bytes = vec![0; 4096];
        let count = socket.read(&mut bytes).now_or_never().unwrap().unwrap();
        bytes.truncate(count);
        bytes
    }

    #[tokio::test]
    async fn f06_a_request_is_read_wherever_it_and_the_empty_lines_before_it_are_cut() {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let led = [b"\r\n\r\n", &request[..]].concat();
        for second in 2..led.len() {
            for first in 1..second {
                let pieces = [&led[..first], &led[first..second], &led[second..]];
                assert_eq!(read_of(&pieces).await, request, "{first} {second}");
            }
            assert_eq!(read_of(&[&led[..second], &led[second..]]).await, request, "{second}");
        }
        let alone: Vec<&[u8]> = led.chunks(1).collect();
        assert_eq!(read_of(&alone).await, request);
    }

    #[tokio::test]
    async fn f06_no_head_begins_with_an_empty_line() {
        for pieces in
            [&["\r", "\nG"][..], &["\r\n\r", "\n", "\r"], &["\r\n", "\r\nGET / HTTP/1.1\r\n"]]
        {
            let (mut client, mut socket) = socket();
            let mut whole = pin!(async { socket.begins().await && socket.head().await });
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.unwrap();
                assert_eq!(whole.as_mut().now_or_never(), None, "{pieces:?}");
            }
            drop(client);
            assert_eq!(whole.now_or_never(), Some(false), "{pieces:?}");
        }
        let (mut client, mut socket) = socket();
        client.write_all(b"\rG").await.unwrap();
        assert!(socket.begins().await && socket.head().await);
        assert!(socket.flaw.is_some(), "a carriage return alone begins nothing");
    }

    #[tokio::test]
    async fn f06_a_client_that_left_is_gone_whatever_it_sent_last() {
        for last in ["", "x", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let (mut client, mut socket) = socket();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(socket.begins().await && socket.head().await);
            let mut bytes = vec![0; 4096];
            assert!(socket.read(&mut bytes).await.unwrap() > 0);
            client.write_all(last.as_bytes()).await.unwrap();
            assert!(socket.read(&mut bytes).now_or_never().is_none(), "{last:?}: it is there");
            drop(client);
            let read = socket.read(&mut bytes).now_or_never();
            assert_eq!(read.expect("it has left").unwrap(), 0, "{last:?}");
        }
    }
    #[tokio::test(start_paused = true)]
    async fn f06_a_client_that_sent_more_than_is_kept_counts_as_gone_in_the_end() {
        for (behind, is_seen) in [(16 * 1024 - 1, true), (16 * 1024, false), (20 * 1024, false)] {
            let (mut client, server) = duplex(64 * 1024);
            let mut socket = RequestSocket::new(server, 16 * 1024, Pace::new(LINGER));
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(socket.begins().await && socket.head().await);
            let mut bytes = vec![0; 4096];
            assert!(socket.read(&mut bytes).await.unwrap() > 0);
            client.write_all(&vec![b'x'; behind]).await.unwrap();
            let started = Instant::now();
            let read = timeout(10 * UNSEEN_WITHIN, socket.read(&mut bytes)).await;
            assert_eq!(read.is_err(), is_seen, "{behind}");
            if let Ok(read) = read {
                assert_eq!((read.unwrap(), started.elapsed()), (0, UNSEEN_WITHIN), "{behind}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn f06_what_is_sent_behind_a_request_is_answered_in_its_turn() {
        let (mut client, server) = duplex(64 * 1024);
        let mut socket = RequestSocket::new(server, 16 * 1024, Pace::new(LINGER));
        let next = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9_000));
        client.write_all(next.repeat(5).as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4096];
        for turn in 0..3 {
            assert!(socket.begins().await && socket.head().await, "{turn}");
            let mut left = next.len();
            while left > 0 {
                left -= socket.read(&mut bytes).await.unwrap();
            }
            // The time of each answer is its own.
            for _ in 0..2 {
                assert!(socket.read(&mut bytes).now_or_never().is_none(), "{turn}");
                advance(UNSEEN_WITHIN * 2 / 5).await;
            }
        }
    }
}
