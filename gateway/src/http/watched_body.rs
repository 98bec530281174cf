//! A body with a watcher, which learns when it is read and, by being dropped, when it is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

pub(crate) trait Watcher: Unpin {
    /// Called before each read.
    fn on_read(&mut self) {}
}

/// A body that holds its watcher until it is sent, read to its end or dropped.
#[derive(Debug)]
pub(crate) struct WatchedBody<W> {
    inner: Body,
    watcher: W,
}

impl<W> WatchedBody<W> {
    pub fn new(inner: Body, watcher: W) -> Self {
        Self { inner, watcher }
    }
}

impl<W: Watcher> http_body::Body for WatchedBody<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.watcher.on_read();
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
