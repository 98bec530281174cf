//! Connections that all requests share, and what an error on one of them means.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::{Notify, RwLock};

use super::primary::Primary;
use super::{ANSWER_WITHIN, ENGINE, LANES, Redis};
use domain::engine_error::EngineError;

pub(super) type SharedConnection = RwLock<Option<Connected>>;

/// A shared connection.
#[derive(Clone)]
pub(super) struct Connected {
    connection: MultiplexedConnection,
    /// Distinguishes this connection from its successor.
    made: usize,
}

enum Failed {
    Connect(EngineError),
    Command { broken: bool, error: EngineError },
}

/// Kept, because it is on the way of every request. A process installs its recorder before it has a store.
static TIMES: LazyLock<metrics::Histogram> = LazyLock::new(
    || metrics::histogram!("latchkey_engine_seconds", "engine" => "redis", "operation" => "command"),
);

fn silent() -> EngineError {
    EngineError::away(ENGINE, anyhow!("no answer within {} ms", ANSWER_WITHIN.as_millis()))
}

impl Redis {
    /// Runs a command on a shared connection. A connection that fails or stays silent is replaced for later callers.
    pub(super) async fn run<T, F>(
        &self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let begun = Instant::now();
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % LANES];
        let mut used = None;
        // The wait for a connection counts too: callers queue behind one that cannot be made.
        let answer = tokio::time::timeout(ANSWER_WITHIN, async {
            let connection = self.connection(lane).await?;
            used = Some(connection.made);
            command(connection.connection).await.map_err(|error| {
                let broken = error.is_unrecoverable_error()
                    || error.is_io_error()
                    || error.is_timeout()
                    || is_no_primary(&error);
                Failed::Command { broken, error: judge(&error) }
            })
        })
        .await;
        TIMES.record(begun.elapsed());
        let (broken, error) = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Failed::Connect(error))) => return Err(error),
            Ok(Err(Failed::Command { broken, error })) => (broken, error),
            Err(_) => (true, silent()),
        };
        if let Some(made) = used.filter(|_| broken) {
            Self::drop_connection(lane, made).await;
        }
        Err(error)
    }

    async fn connection(&self, lane: &SharedConnection) -> Result<Connected, Failed> {
        let there = lane.read().await.clone();
        match there {
            Some(connection) => Ok(connection),
            None => self.fill(lane).await.map_err(Failed::Connect),
        }
    }

    /// Drops the connection that failed, unless another task has already replaced it.
    async fn drop_connection(lane: &SharedConnection, made: usize) {
        let dropped = async {
            let mut slot = lane.write().await;
            if slot.as_ref().is_some_and(|connection| connection.made == made) {
                *slot = None;
            }
        };
        // If another task holds the lock to connect, the slot is already empty.
        let _ = tokio::time::timeout(Duration::from_millis(50), dropped).await;
    }

    async fn fill(&self, lane: &SharedConnection) -> Result<Connected, EngineError> {
        let mut slot = lane.write().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        // Boxed: it is rare, and its state would be part of every command's.
        let mut connection = Box::pin(self.primary.connect()).await?;
        // The client's default timeout is half a second: a burst on a busy machine would be refused, and its connection
        // dropped, although Redis is healthy. Our own timeout is the one around it.
        connection.set_response_timeout(ANSWER_WITHIN);
        let connection =
            Connected { connection, made: self.next.fetch_add(LANES, Ordering::Relaxed) };
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

/// Drops the shared connections each time a Sentinel names another primary. The former one, if it is well, takes writes for
/// ten seconds more, until a Sentinel makes it a replica: then it forgets them.
pub(super) async fn leave_a_former_primary(
    primary: Primary,
    lanes: Arc<[SharedConnection; LANES]>,
) {
    let moved = Notify::new();
    let leave = async {
        loop {
            moved.notified().await;
            tracing::info!("the Sentinels name another primary of Redis");
            for lane in &*lanes {
                *lane.write().await = None;
            }
        }
    };
    // Nobody tells of an address: there the first ends at once.
    tokio::select! {
        () = primary.watch(&moved) => {}
        () = leave => {}
    }
}

/// A failover made this server a replica, or left it without its primary: the next connection finds the new primary.
fn is_no_primary(error: &RedisError) -> bool {
    use ServerErrorKind::{MasterDown, ReadOnly};
    matches!(error.kind(), ErrorKind::Server(ReadOnly | MasterDown))
}

/// A server that is full, loading, read-only or busy counts as away: it accepts no work from any client.
fn judge(error: &RedisError) -> EngineError {
    let away = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
            )
        )
        || matches!(error.code(), Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS"))
        // A script reports a refused command within it only by its text.
        || error.to_string().contains("OOM command not allowed");
    // The error's text can repeat what was sent, so only its kind and code are kept.
    let cause = anyhow!("{:?} {}", error.kind(), error.code().unwrap_or_default());
    if away { EngineError::away(ENGINE, cause) } else { EngineError::broken(ENGINE, cause) }
}
