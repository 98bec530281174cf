//! One SQL text and one body for two engines: arguments, rows and a unit of work over a closed enum.
//!
//! Placeholders are `$1, $2, ...` on both. Integers are 64 bits wide, ids are UUIDs, times are milliseconds.

use std::str::FromStr;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};
use uuid::Uuid;

use super::{Engine, Pool};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, EventId, SessionId, UserId};
use domain::phone::{E164, NotE164};
use domain::timestamp::Timestamp;

/// A value for a placeholder.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Text(Option<&'a str>),
    Flag(bool),
    /// A column of rows that are written together, on PostgreSQL only: SQLite has no arrays, and gains nothing
    /// from shared commits.
    Uuids(&'a [Option<Uuid>]),
    Ints(&'a [Option<i64>]),
    Texts(&'a [Option<&'a str>]),
}

/// The arguments of a statement, in the order of their placeholders.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::Arg::from($value)),*] };
}

macro_rules! into_arg {
    ($($from:ty => $variant:ident, $convert:expr;)+) => { $(
        impl From<$from> for Arg<'_> {
            fn from(value: $from) -> Self {
                Self::$variant(Some(($convert)(value)))
            }
        }
        impl From<Option<$from>> for Arg<'_> {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map($convert))
            }
        }
    )+ };
}
into_arg! {
    Uuid => Uuid, |id| id;
    UserId => Uuid, UserId::uuid;
    SessionId => Uuid, SessionId::uuid;
    CodeId => Uuid, CodeId::uuid;
    EventId => Uuid, EventId::uuid;
    i64 => Int, |number| number;
    Timestamp => Int, Timestamp::ms;
    u32 => Int, i64::from;
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a E164> for Arg<'a> {
    fn from(number: &'a E164) -> Self {
        Self::Text(Some(number.expose()))
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Arg<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<&'a Vec<Option<Uuid>>> for Arg<'a> {
    fn from(column: &'a Vec<Option<Uuid>>) -> Self {
        Self::Uuids(column)
    }
}

impl<'a> From<&'a Vec<Option<i64>>> for Arg<'a> {
    fn from(column: &'a Vec<Option<i64>>) -> Self {
        Self::Ints(column)
    }
}

impl<'a> From<&'a Vec<Option<&'a str>>> for Arg<'a> {
    fn from(column: &'a Vec<Option<&'a str>>) -> Self {
        Self::Texts(column)
    }
}

pub enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl Row {
    pub fn get<T>(&self, column: &str) -> Result<T, sqlx::Error>
    where
        T: for<'r> Decode<'r, Postgres>
            + Type<Postgres>
            + for<'r> Decode<'r, Sqlite>
            + Type<Sqlite>,
    {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
    }

    pub fn time(&self, column: &str) -> Result<Timestamp, sqlx::Error> {
        self.get(column).map(Timestamp::from_ms)
    }

    /// A word of a vocabulary.
    ///
    /// # Errors
    /// Also if this version does not know the word.
    pub fn word<T: FromStr>(&self, column: &str) -> Result<T, sqlx::Error> {
        self.maybe_word(column)?.ok_or_else(|| unknown_word(column))
    }

    pub fn maybe_word<T: FromStr>(&self, column: &str) -> Result<Option<T>, sqlx::Error> {
        let word = self.get::<Option<String>>(column)?;
        word.map(|word| word.parse().map_err(|_| unknown_word(column))).transpose()
    }

    /// # Errors
    /// Also if the column holds no number in E.164.
    pub fn e164(&self, column: &str) -> Result<E164, sqlx::Error> {
        let wrong = |cause: NotE164| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: cause.into(),
        };
        self.get::<String>(column)?.try_into().map_err(wrong)
    }

    pub fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_ms))
    }
}

fn unknown_word(column: &str) -> sqlx::Error {
    let source = "no word that this version knows".into();
    sqlx::Error::ColumnDecode { index: column.to_owned(), source }
}

enum Connection {
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
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
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Runs one statement that only reads.
    pub async fn read<T>(
        &self,
        act: &'static str,
        steps: impl AsyncFnOnce(&mut Work) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.within(act, async { self.reader().await?.finish(steps).await }).await
    }

    /// Runs one statement, which is a transaction of its own.
    pub async fn statement<T>(
        &self,
        act: &'static str,
        steps: impl AsyncFnOnce(&mut Work) -> Result<T, sqlx::Error>,
    ) -> Result<T, EngineError> {
        self.within(act, async { self.writer().await?.finish(steps).await }).await
    }

    /// Runs several statements that succeed or fail together: see [`Work::transaction`].
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
            Engine::Postgres(pool) => Connection::Postgres(pool.acquire().await?),
            Engine::Sqlite { write, .. } => Connection::Sqlite(write.acquire().await?),
        }))
    }

    async fn reader(&self) -> Result<Work, sqlx::Error> {
        match &self.engine {
            Engine::Postgres(_) => self.writer().await,
            Engine::Sqlite { read, .. } => Ok(Work::on(Connection::Sqlite(read.acquire().await?))),
        }
    }
}

impl Work {
    fn on(connection: Connection) -> Self {
        Self { connection: Some(connection), in_transaction: false }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.connection, Some(Connection::Postgres(_)))
    }

    pub async fn rows(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        match self.connection.as_mut() {
            Some(Connection::Postgres(connection)) => {
                let rows = bind_postgres(sql, args).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
            Some(Connection::Sqlite(connection)) => {
                let rows = bind_sqlite(sql, args).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            None => Err(sqlx::Error::PoolClosed),
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
        match self.connection.as_mut() {
            Some(Connection::Postgres(connection)) => {
                Ok(bind_postgres(sql, args).execute(&mut **connection).await?.rows_affected())
            }
            Some(Connection::Sqlite(connection)) => {
                Ok(bind_sqlite(sql, args).execute(&mut **connection).await?.rows_affected())
            }
            None => Err(sqlx::Error::PoolClosed),
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
        drop(self.connection.take());
        Ok(result)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(Connection::Postgres(connection)) => drop(connection.detach()),
            Some(Connection::Sqlite(connection)) => drop(connection.detach()),
            None => {}
        }
    }
}

fn bind_postgres<'q>(sql: &'static str, args: &[Arg<'q>]) -> Query<'q, Postgres, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match *arg {
        Arg::Uuid(id) => query.bind(id),
        Arg::Int(number) => query.bind(number),
        Arg::Text(text) => query.bind(text),
        Arg::Flag(flag) => query.bind(flag),
        Arg::Uuids(column) => query.bind(column),
        Arg::Ints(column) => query.bind(column),
        Arg::Texts(column) => query.bind(column),
    })
}

fn bind_sqlite<'q>(sql: &'static str, args: &[Arg<'q>]) -> Query<'q, Sqlite, SqliteArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match *arg {
        Arg::Uuid(id) => query.bind(id),
        Arg::Int(number) => query.bind(number),
        // Owned: a statement outlives its caller on the connection's own thread.
        Arg::Text(text) => query.bind(text.map(str::to_owned)),
        Arg::Flag(flag) => query.bind(flag),
        // No SQLite statement has a column argument.
        Arg::Uuids(_) | Arg::Ints(_) | Arg::Texts(_) => query.bind(None::<i64>),
    })
}
