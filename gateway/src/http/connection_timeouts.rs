//! How far a connection is with its request, how long a head may take to become one, and how long a client may take to
//! read the response.
//!
//! The socket and the response report to [`Pace`]. All of it runs in the connection's one task, so the lock is never
//! contended.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

#[derive(Debug, Default)]
struct State {
    /// Since when a head waits for its answer to begin.
    waiting: Option<Instant>,
    /// Whether hyper has read the whole request.
    read: bool,
    /// Whether the response is complete or abandoned.
    answered: bool,
    /// When the complete response had been handed to the system.
    flushed: Option<Instant>,
    /// Whether the connection is being closed.
    closing: bool,
    /// Since when the client has not read what we write.
    stalled: Option<Instant>,
}

/// One connection's pace. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    stalled_within: Duration,
    state: Arc<Mutex<State>>,
}

impl Pace {
    pub(crate) fn new(stalled_within: Duration) -> Self {
        Self { stalled_within, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that hyper may read a request.
    pub(crate) fn request_began(&self) {
        *self.state() = State { waiting: Some(Instant::now()), ..State::default() };
    }

    /// Notes that hyper has asked for the answer, which has time limits of its own.
    pub(crate) fn request_called(&self) {
        self.state().waiting = None;
    }

    /// Notes that hyper has read the whole request.
    pub(crate) fn request_read(&self) {
        self.state().read = true;
    }

    /// Whether hyper has read the whole request.
    pub(crate) fn is_read(&self) -> bool {
        self.state().read
    }

    /// Notes that the response is complete or abandoned.
    pub(crate) fn request_ended(&self) {
        self.state().answered = true;
    }

    /// Notes that all that there was to write is written.
    pub(crate) fn flushed(&self) {
        let mut state = self.state();
        if state.answered && state.flushed.is_none() {
            state.flushed = Some(Instant::now());
        }
    }

    pub(crate) fn closing(&self) {
        self.state().closing = true;
    }

    pub(crate) fn written(&self, taken: bool) {
        let mut state = self.state();
        state.stalled = if taken { None } else { state.stalled.or_else(|| Some(Instant::now())) };
    }

    /// Whether the request is read and answered and its connection stays open: another one may follow.
    pub(crate) fn is_between_requests(&self) -> bool {
        let state = self.state();
        state.read && state.flushed.is_some() && !state.closing
    }

    /// The end of the time until the answer begins, to read it, or, after it, to receive what is left of the request.
    fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let since = state.waiting.or(state.stalled).or(state.flushed);
        since.map(|since| since + self.stalled_within)
    }

    /// Completes when the connection is too slow. Poll it after the connection, in the same task: it reads the deadline
    /// whenever it is polled, and needs no wake-up of its own when the deadline moves.
    pub(crate) async fn expired(&self) {
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f06_a_request_that_never_gets_as_far_as_its_answer_expires() {
        let within = Duration::from_secs(30);
        let pace = Pace::new(within);
        pace.request_began();
        let mut expired = pin!(pace.expired());
        assert!(expired.as_mut().now_or_never().is_none());
        let waited = timeout(Duration::from_millis(29_999), expired.as_mut()).await;
        assert!(waited.is_err(), "too early");
        timeout(Duration::from_millis(2), expired).await.expect("it expires");

        pace.request_began();
        pace.request_called();
        let waited = timeout(10 * within, pace.expired()).await;
        assert!(waited.is_err(), "an answer has limits of its own");
    }
}
