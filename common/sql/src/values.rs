//! Arguments and rows of a statement, the same for both engines.
//!
//! Placeholders are `$1, $2, ...` on both. Integers are 64 bits wide, ids are UUIDs, times are milliseconds.

use std::str::FromStr;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};
use uuid::Uuid;

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
    /// A column of rows that are written together, on PostgreSQL only: SQLite has no arrays, and takes a JSON text.
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

impl<'a> From<Option<&'a E164>> for Arg<'a> {
    fn from(number: Option<&'a E164>) -> Self {
        Self::Text(number.map(E164::expose))
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

pub(crate) fn bind_postgres<'q>(
    sql: &'static str,
    args: &[Arg<'q>],
) -> Query<'q, Postgres, PgArguments> {
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

pub(crate) fn bind_sqlite<'q>(
    sql: &'static str,
    args: &[Arg<'q>],
) -> Query<'q, Sqlite, SqliteArguments> {
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
