//! One connection to PostgreSQL, handed from a unit of work to the next.
//!
//! A pool pings each connection that comes back to it: a round trip after each statement, which wakes the server's
//! process once more. A group writer (`batch.rs`) uses one connection and needs no pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use super::{ACQUIRE, IDLE_CHECK};

/// A connection is replaced after so long, as sqlx' pools do by default: after a failover it may be at the wrong server.
const LIFETIME: Duration = Duration::from_mins(30);

/// The connection's place. Clones share it.
#[derive(Clone)]
pub(crate) struct Held {
    options: Arc<PgConnectOptions>,
    /// Empty before the first use, and after a unit of work that failed.
    idle: Arc<Mutex<Option<Idle>>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
    made: Instant,
}

/// The connection in use. Dropped, it is closed; [`HeldConnection::give_back`] keeps it.
pub(crate) struct HeldConnection {
    pub(crate) connection: PgConnection,
    made: Instant,
    place: OwnedMutexGuard<Option<Idle>>,
}

impl Held {
    /// Connects at the first use.
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self { options: Arc::new(options), idle: Arc::default() }
    }

    pub(crate) async fn acquire(&self) -> Result<HeldConnection, sqlx::Error> {
        let taking = timeout(ACQUIRE, Arc::clone(&self.idle).lock_owned());
        let mut place = taking.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if let Some(idle) = place.take()
            && let Some(Idle { connection, made, .. }) = idle.usable().await
        {
            return Ok(HeldConnection { connection, made, place });
        }
        // One to a standby is dropped with the first write that fails.
        let connecting = timeout(ACQUIRE, self.options.connect());
        let connection = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(HeldConnection { connection, made: Instant::now(), place })
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Closes the connection once it is idle.
    pub(crate) async fn close(&self) {
        if let Some(idle) = self.idle.lock().await.take() {
            drop(idle.connection.close().await);
        }
    }
}

impl Idle {
    /// The connection, unless it is old or the server has ended it.
    async fn usable(mut self) -> Option<Self> {
        if self.made.elapsed() > LIFETIME {
            drop(timeout(ACQUIRE, self.connection.close()).await);
            return None;
        }
        if self.since.elapsed() >= IDLE_CHECK {
            self.connection.ping().await.ok()?;
        }
        Some(self)
    }
}

impl HeldConnection {
    /// Keeps the connection for the next unit of work. The last one must have ended well.
    pub(crate) fn give_back(self) {
        let Self { connection, made, mut place } = self;
        *place = Some(Idle { connection, since: Instant::now(), made });
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}
