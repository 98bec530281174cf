//! In-process waiters for a request's next status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use domain::ids::RequestId;

/// Wakes the waiters of a request. Thousands may wait; they share one subscription to the store.
#[derive(Clone, Default)]
pub(super) struct StatusWatchers {
    waiting: Arc<Mutex<HashMap<RequestId, watch::Sender<()>>>>,
}

impl StatusWatchers {
    pub fn watch(&self, request: RequestId) -> Watch {
        let receiver =
            self.lock().entry(request).or_insert_with(|| watch::channel(()).0).subscribe();
        Watch { request, receiver: Some(receiver), watchers: self.clone() }
    }

    pub fn wake(&self, request: RequestId) {
        if let Some(sender) = self.lock().get(&request) {
            sender.send_replace(());
        }
    }

    /// Wakes all waiters: changes may have been missed.
    pub fn wake_all(&self) {
        for sender in self.lock().values() {
            sender.send_replace(());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, watch::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for changes of one request's status.
pub struct Watch {
    request: RequestId,
    receiver: Option<watch::Receiver<()>>,
    watchers: StatusWatchers,
}

impl Watch {
    /// Returns when the status may have changed since the last call. It should never return early, but callers read the
    /// status again in any case.
    pub async fn changed(&mut self) {
        let gone = match &mut self.receiver {
            Some(receiver) => receiver.changed().await.is_err(),
            None => true,
        };
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.receiver.take());
        let mut waiting = self.watchers.lock();
        if waiting.get(&self.request).is_some_and(|sender| sender.receiver_count() == 0) {
            waiting.remove(&self.request);
        }
    }
}
