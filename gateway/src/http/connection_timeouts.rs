//! How fast a connection must be: deadlines for headers, for idling and for reading a response.
//!
//! hyper knows when a request is complete, and the socket knows when bytes arrive: both report to [`Pace`]. All of it
//! runs in the connection's one task, so the lock is never contended.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::http::connection_limits::Limits;
use crate::http::raw_error_response;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request, or only a part of its head.
    Waiting {
        until: Instant,
        /// Whether a byte of the head has arrived.
        begun: bool,
    },
    Busy,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the client stopped reading what we write.
    stalled: Option<Instant>,
    /// The head that is being read, as received.
    head: Vec<u8>,
}

/// One connection's pace. Clones share it.
#[derive(Clone, Debug)]
pub struct Pace {
    limits: Limits,
    state: Arc<Mutex<State>>,
}

impl Pace {
    pub fn new(limits: Limits) -> Self {
        let phase = Phase::Waiting { until: Instant::now() + limits.headers_within, begun: false };
        let state = State { phase, stalled: None, head: Vec::new() };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request's head is complete. Returns whether it gives its length in two ways: hyper uses
    /// `Transfer-Encoding` and hides the other, so the bytes themselves are inspected.
    pub fn request_began(&self, is_chunked: bool) -> bool {
        let mut state = self.state();
        state.phase = Phase::Busy;
        let head = std::mem::take(&mut state.head);
        is_chunked && has_content_length(&head)
    }

    /// Notes that the response is written or abandoned.
    pub fn request_ended(&self) {
        let until = Instant::now() + self.limits.idle_within;
        self.state().phase = Phase::Waiting { until, begun: false };
    }

    fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        let Phase::Waiting { begun, .. } = state.phase else { return };
        if !begun && !bytes.is_empty() {
            let until = Instant::now() + self.limits.headers_within;
            state.phase = Phase::Waiting { until, begun: true };
        }
        let room = self.limits.header_bytes.saturating_sub(state.head.len());
        state.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn written(&self, taken: bool) {
        let mut state = self.state();
        state.stalled = if taken { None } else { state.stalled.or_else(|| Some(Instant::now())) };
    }

    fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let waiting = match state.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Busy => None,
        };
        let stalled = state.stalled.map(|since| since + self.limits.stalled_within);
        match (waiting, stalled) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Completes when the connection is too slow. Poll it after the connection, in the same task: it reads the deadline
    /// whenever it is polled, and needs no wake-up of its own when the deadline moves.
    pub async fn expired(&self) {
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|context| {
            let Some(deadline) = self.deadline() else { return Poll::Pending };
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context)
        })
        .await;
    }
}

/// Whether a head contains `Content-Length`. The search stops at the empty line: the rest is the body.
fn has_content_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    head.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .any(|line| {
            line.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
                name.eq_ignore_ascii_case(NAME) && rest.trim_ascii_start().starts_with(b":")
            })
        })
}

/// How many bytes a client may still send at the end, and for how long; they are discarded. Closing a socket with
/// unread bytes sends a reset, and the client may lose the response.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(500);

/// A socket that reports to its pace, replaces hyper's own refusals, and closes without a reset.
#[derive(Debug)]
pub struct Paced<T> {
    inner: T,
    pace: Pace,
    /// What is written instead of hyper's refusal, and how many of its bytes are written.
    refusal: Option<(Vec<u8>, usize)>,
    /// Set once our side of the socket is closed.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<T> Paced<T> {
    pub fn new(inner: T, pace: Pace) -> Self {
        Self { inner, pace, refusal: None, lingering: None }
    }
}

impl<T: AsyncRead + Unpin> Paced<T> {
    /// Ready when the client has closed too, or its time is up.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (timer, left) =
            self.lingering.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        let mut bytes = [0; 4096];
        while *left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match std::task::ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncWrite + Unpin> Paced<T> {
    /// Writes our own response where hyper would refuse a malformed request with an empty one. `None`: these bytes are
    /// not such a refusal.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        first: &[u8],
        length: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            self.refusal = Some((raw_error_response::instead_of(first)?, 0));
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

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.pace.received(&buffer.filled()[before..]);
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<T> {
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
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            std::task::ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_the_head_and_nowhere_else() {
        for (head, wanted) in [
            (&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"[..], true),
            (b"\r\n\r\nPOST / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\n", true),
            (b"POST / HTTP/1.1\nContent-Length:3\n\n", true),
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 3\r\n", false),
            (b"POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Lengths: 3\r\n\r\n", false),
            (b"GET /?Content-Length:3 HTTP/1.1\r\n\r\n", false),
            (b"", false),
        ] {
            assert_eq!(has_content_length(head), wanted, "{}", String::from_utf8_lossy(head));
        }
    }
}
