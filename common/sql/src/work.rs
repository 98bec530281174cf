//! Units of work: one SQL text and one body for two engines, over a closed enum.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use super::held::HeldConnection;
use super::values::{Arg, Row, bind_postgres, bind_sqlite};
use super::{Engine, Pool};
use domain::engine_error::EngineError;

enum Connection {
    Postgres(PoolConnection<Postgres>),
    Held(HeldConnection),
    Sqlite(PoolConnection<Sqlite>),
}

/// What a statement runs on, whoever keeps it.
enum Running<'a> {
    Postgres(&'a mut PgConnection),
    Sqlite(&'a mut SqliteConnection),
}

/// A connection in use, for a single statement or a transaction.
///
/// It returns to its pool only at the end of its unit of work. If it is dropped before (an error, the time limit, a
/// caller that went away), the connection is closed, which ends its transaction. A pool would ping it first, and a
/// server that has just stopped answering would block that until TCP gives up.
pub struct Work {
    connection: Option<Connection>,
    in_transaction: bool,
}

/// Units of work. Each runs within [`super::LIMIT`] and classifies a failure; `act` names it in errors.
impl Pool {
    pub fn is_postgres(&self) -> bool {
        !matches!(self.engine, Engine::Sqlite { .. })
    }

    /// Runs statements that only read, on one connection, each a transaction of its own.
    pub async fn read<T>(
        &self,
        act: &'static str,
        steps: impl AsyncFnOnce(&mut Work) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.within(act, async { self.reader().await?.finish(steps).await }).await
    }

    /// Runs statements on one connection, each a transaction of its own unless the steps begin one
    /// ([`Work::transaction`]).
    pub async fn statement<T>(
        &self,
        act: &'static str,
        steps: impl AsyncFnOnce(&mut Work) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.within(act, async { self.writer().await?.finish(steps).await }).await
    }

    /// Runs several statements that succeed or fail together: commits on `Ok`, whatever it holds, unless the steps have
    /// called [`Work::undo`].
    pub async fn transaction<T>(
        &self,
        act: &'static str,
        steps: impl AsyncFnOnce(&mut Work) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.statement(act, async |work| work.transaction(steps).await).await
    }

    /// The rows of one statement that only reads, each as `of` reads it.
    pub async fn rows<T>(
        &self,
        act: &'static str,
        sql: &'static str,
        args: &[Arg<'_>],
        of: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, EngineError> {
        self.read(act, async |work| work.rows(sql, args).await?.iter().map(of).collect()).await
    }

    /// The first row of one statement that only reads, if there is one.
    pub async fn optional<T>(
        &self,
        act: &'static str,
        sql: &'static str,
        args: &[Arg<'_>],
        of: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, EngineError> {
        self.read(act, async |work| work.optional(sql, args).await?.as_ref().map(of).transpose())
            .await
    }

    /// The row of one statement that only reads and always has one.
    pub async fn one<T>(
        &self,
        act: &'static str,
        sql: &'static str,
        args: &[Arg<'_>],
        of: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.read(act, async |work| of(&work.one(sql, args).await?)).await
    }

    /// Runs one statement and returns how many rows it changed.
    pub async fn run(
        &self,
        act: &'static str,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<u64, EngineError> {
        self.statement(act, async |work| work.run(sql, args).await).await
    }

    async fn writer(&self) -> Result<Work, sqlx::Error> {
        Ok(Work::on(match &self.engine {
            Engine::Postgres { pool, .. } => Connection::Postgres(pool.acquire().await?),
            Engine::Held(held) => Connection::Held(held.acquire().await?),
            Engine::Sqlite { write, .. } => Connection::Sqlite(write.acquire().await?),
        }))
    }

    async fn reader(&self) -> Result<Work, sqlx::Error> {
        match &self.engine {
            Engine::Postgres { .. } | Engine::Held(_) => self.writer().await,
            Engine::Sqlite { read, .. } => Ok(Work::on(Connection::Sqlite(read.acquire().await?))),
        }
    }
}

impl Work {
    fn on(connection: Connection) -> Self {
        Self { connection: Some(connection), in_transaction: false }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.connection, Some(Connection::Postgres(_) | Connection::Held(_)))
    }

    fn running(&mut self) -> Result<Running<'_>, sqlx::Error> {
        match self.connection.as_mut() {
            Some(Connection::Postgres(pooled)) => Ok(Running::Postgres(pooled)),
            Some(Connection::Held(held)) => Ok(Running::Postgres(&mut held.connection)),
            Some(Connection::Sqlite(pooled)) => Ok(Running::Sqlite(pooled)),
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    pub async fn rows(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        match self.running()? {
            Running::Postgres(connection) => {
                let rows = bind_postgres(sql, args).fetch_all(connection).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
            Running::Sqlite(connection) => {
                let rows = bind_sqlite(sql, args).fetch_all(connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    pub async fn optional(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    pub async fn one(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Row, sqlx::Error> {
        self.optional(sql, args).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, sqlx::Error> {
        match self.running()? {
            Running::Postgres(connection) => {
                Ok(bind_postgres(sql, args).execute(connection).await?.rows_affected())
            }
            Running::Sqlite(connection) => {
                Ok(bind_sqlite(sql, args).execute(connection).await?.rows_affected())
            }
        }
    }

    /// Runs several statements that succeed or fail together, after others of this unit of work, if there were any.
    /// Commits if `steps` returns `Ok` and has not called [`Work::undo`].
    pub async fn transaction<T>(
        &mut self,
        steps: impl AsyncFnOnce(&mut Self) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        // IMMEDIATE: a SQLite transaction that reads first and writes later may fail to get the write lock.
        let begin = if self.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" };
        self.run(begin, &[]).await?;
        self.in_transaction = true;
        let result = steps(self).await?;
        if std::mem::take(&mut self.in_transaction) {
            self.run("COMMIT", &[]).await?;
        }
        Ok(result)
    }

    /// Rolls the transaction back. Its steps can still succeed, with the reason why nothing changed.
    pub async fn undo(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = false;
        self.run("ROLLBACK", &[]).await?;
        Ok(())
    }

    /// Runs the steps and returns the connection to its pool.
    async fn finish<T>(
        mut self,
        steps: impl AsyncFnOnce(&mut Self) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let result = steps(&mut self).await?;
        match self.connection.take() {
            Some(Connection::Held(held)) => held.give_back(),
            // A pool takes its connections back by itself.
            pooled => drop(pooled),
        }
        Ok(result)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(Connection::Postgres(connection)) => drop(connection.detach()),
            Some(Connection::Sqlite(connection)) => drop(connection.detach()),
            Some(Connection::Held(_)) | None => {}
        }
    }
}
