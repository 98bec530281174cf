//! Whether connections wait at the port for longer than they should: then this process has too much to do, or too little of
//! a processor, and nothing else would tell, because a request that was not read has no time yet.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

/// A burst is accepted sooner.
const BEHIND: Duration = Duration::from_millis(200);

/// What is known of the connections that wait at a port. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcceptQueue(Arc<Mutex<Option<Instant>>>);

impl AcceptQueue {
    /// Accepts the next connection.
    ///
    /// # Errors
    /// See [`TcpListener::accept`].
    pub(crate) async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = poll_fn(|context| {
            let polled = listener.poll_accept(context);
            // Without budget, the runtime only wants another task to have its turn.
            if polled.is_pending() && has_budget_remaining() {
                self.emptied();
            }
            polled
        });
        let accepted = accepted.await?;
        self.waiting_since().get_or_insert_with(Instant::now);
        Ok(accepted)
    }

    /// Nobody waits, or whoever waits does so for another reason.
    pub(crate) fn emptied(&self) {
        *self.waiting_since() = None;
    }

    /// Whether connections have been waiting all the time for a fifth of a second.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting_since().is_some_and(|since| since.elapsed() > BEHIND)
    }

    fn waiting_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_behind_while_connections_wait_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (queue, port) = (AcceptQueue::default(), listener.local_addr().unwrap());
        let connect = async || TcpStream::connect(port).await.unwrap();
        advance(BEHIND * 2).await;
        assert!(!queue.is_behind(), "nobody came");
        let _clients = [connect().await, connect().await];
        queue.accept(&listener).await.unwrap();
        advance(BEHIND * 2).await;
        assert!(queue.is_behind(), "one waits all the time");
        queue.accept(&listener).await.unwrap();
        assert!(queue.accept(&listener).now_or_never().is_none());
        assert!(!queue.is_behind(), "nobody waits");
        let _third = connect().await;
        queue.accept(&listener).await.unwrap();
        advance(BEHIND * 2).await;
        queue.emptied();
        assert!(!queue.is_behind(), "whoever waits does so for another reason");
    }
}
