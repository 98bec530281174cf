//! A pool of connections to PostgreSQL, or to a SQLite file in the embedded default; transactions, and the schema.
//!
//! Owns connections, their limits, migrations, and what an error of an engine means. Must never know what a table is
//! for: the statements stand in `accounts` and `ledger`, each beside its rule, and run on both engines where possible.
//!
//! No unit of work takes longer than [`LIMIT`]: an engine that is away or slow is [`EngineError::Away`] by then. The
//! ledger's hot operations, which no HTTP answer waits for, may wait as long again for a statement in progress ([`batch`]).

use std::future::Future;
use std::io;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use domain::engine_error::EngineError;

pub mod batch;
mod error;
mod held;
mod migrate;
mod timing;
mod values;
mod work;

use held::Held;
pub use migrate::Function;
pub use values::{Arg, Row};
pub use work::Work;

/// The longest time for any database operation: below the 2.5 s within which HTTP answers 503 (P12).
pub const LIMIT: Duration = Duration::from_secs(2);
/// A connection that was idle for this long is pinged before use. Under load none is idle that long, so a hot path
/// stays one round trip; after a restart of the server the idle ones are found dead.
const IDLE_CHECK: Duration = Duration::from_millis(500);
const ACQUIRE: Duration = Duration::from_millis(1500);
const MAX_CONNECTIONS: u32 = 16;
/// How statements that find each of their rows by a key are planned: by that key, whatever the server knows of the
/// table. A server without statistics, or with those of a table that was nearly empty then, reads whole tables, also for
/// foreign keys, and keeps such a plan for as long as the connection lives or until the next analysis. Without scans
/// alone it would join by whole indexes. Which of two tables a join begins with is left to it: the statement says that
/// itself. Measured on 5,600 texts, eight at a time, after an analysis of six: 0.09 s of the server's time for 1,000 texts
/// in place of 0.92 s; on tables that were never analysed 0.09 s in place of 0.28 s.
const BY_KEY: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // There is one good plan, so none is made anew for each statement. If there is none, its cost is not real.
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

pub const POSTGRES: &str = "PostgreSQL";
pub const SQLITE: &str = "SQLite";

/// The database. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Pool {
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Postgres {
        pool: PgPool,
        /// See [`Pool::by_key`].
        by_key: Arc<OnceLock<Pool>>,
        /// What was made from this one; closed with it.
        made: Arc<Mutex<Made>>,
    },
    /// PostgreSQL by one connection.
    Held(Held),
    Sqlite {
        /// One connection: SQLite has one writer at a time, and a queue of tasks is fairer than its busy loop.
        write: SqlitePool,
        read: SqlitePool,
        lock: std::path::PathBuf,
    },
}

/// How many connections to PostgreSQL a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open.
    pub size: u32,
    /// Working for somebody now.
    pub in_use: u32,
    /// The most that may be open.
    pub most: u32,
}

#[derive(Debug, Default)]
struct Made {
    pools: Vec<PgPool>,
    held: Vec<Held>,
}

impl Pool {
    /// PostgreSQL 15 or later. Connects once, so that a wrong address or password fails at startup.
    pub async fn postgres(url: &SecretString) -> Result<Self, EngineError> {
        // The parser takes any scheme, and its error may repeat parts of the URL, which holds a password.
        let not_ours = || EngineError::broken(POSTGRES, anyhow!("not a postgres:// URL"));
        let url = url.expose_secret();
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(not_ours());
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| not_ours())?
            .application_name("latchkey")
            // The server's own limits end statements that we no longer wait for, so that they hold no locks.
            .options([
                ("statement_timeout", "2000"),
                ("lock_timeout", "1500"),
                ("idle_in_transaction_session_timeout", "5000"),
            ])
            .disable_statement_logging();
        let pool = postgres_pool(MAX_CONNECTIONS).connect_with(options);
        let pool = within(POSTGRES, "connect", pool).await?;
        let (by_key, made) = (Arc::default(), Arc::default());
        Ok(Self { engine: Engine::Postgres { pool, by_key, made } })
    }

    /// The same database for statements that find each of their rows by a key, by connections of their own. Their plans
    /// cannot go wrong on a young table. SQLite has no other plans, and its connections serve both.
    #[must_use]
    pub fn by_key(&self) -> Self {
        match &self.engine {
            Engine::Postgres { pool, by_key, made } => {
                by_key.get_or_init(|| Self::with_plans_by_key(pool, made)).clone()
            }
            Engine::Held(_) | Engine::Sqlite { .. } => self.clone(),
        }
    }

    fn with_plans_by_key(pool: &PgPool, made: &Arc<Mutex<Made>>) -> Self {
        let options = (*pool.connect_options()).clone().options(BY_KEY);
        let pool = postgres_pool(MAX_CONNECTIONS).connect_lazy_with(options);
        made.lock().unwrap_or_else(PoisonError::into_inner).pools.push(pool.clone());
        let (by_key, made) = (Arc::default(), Arc::clone(made));
        Self { engine: Engine::Postgres { pool, by_key, made } }
    }

    /// A connection of its own, for statements that come one after the other. They wait for a lock no longer than
    /// [`batch::LOCK_WAIT`]. On SQLite the only writing connection serves all.
    fn of_one_connection(&self) -> Self {
        let Engine::Postgres { pool, made, .. } = &self.engine else { return self.clone() };
        let lock_wait = batch::LOCK_WAIT.as_millis().to_string();
        // Of two values for a setting the last one counts.
        let options = (*pool.connect_options()).clone().options([("lock_timeout", lock_wait)]);
        let held = Held::new(options);
        made.lock().unwrap_or_else(PoisonError::into_inner).held.push(held.clone());
        Self { engine: Engine::Held(held) }
    }

    /// Opens the file `latchkey.sqlite` in this folder. Creates both if missing, readable only by their owner.
    ///
    /// Write-ahead log with `synchronous = NORMAL`: committed data survives the death of the process; a power cut may
    /// lose the last moments, as documented for the embedded default.
    pub async fn sqlite(data_dir: &Path) -> Result<Self, EngineError> {
        let file = sqlite_file(data_dir);
        make_private(data_dir, &file).map_err(|cause| EngineError::away(SQLITE, cause))?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE)
            // Overwrite deleted data: anyone who obtains the file could read its free pages.
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        // Connections stay open. At least one reader is always open: SQLite folds its log into the file when the last
        // connection closes, and refuses a connection that is opened meanwhile.
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .min_connections(1)
                .acquire_timeout(ACQUIRE)
                // A question to a thread of this process that cannot be away: each costs a switch to it and back.
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let write = within(SQLITE, "open the file", pool(1).connect_with(options.clone())).await?;
        let reading = pool(4).connect_with(options.read_only(true));
        let read = within(SQLITE, "open the file to read", reading).await?;
        let lock = data_dir.join("latchkey.sqlite.lock");
        Ok(Self { engine: Engine::Sqlite { write, read, lock } })
    }

    /// Whether [`Pool::sqlite`] has created a database in this folder.
    pub fn sqlite_is_in(data_dir: &Path) -> bool {
        sqlite_file(data_dir).is_file()
    }

    /// Whether the database answers and can be written to.
    pub async fn ready(&self) -> Result<(), EngineError> {
        self.statement("check that the database is ready", async |work| {
            if work.is_postgres() {
                let row = work.one("SELECT pg_is_in_recovery() AS standby", &[]).await?;
                if row.get::<bool>("standby")? {
                    return Err(a_standby());
                }
            } else {
                work.one("SELECT 1 AS one", &[]).await?;
            }
            Ok(())
        })
        .await
    }

    /// Whether the tables are there, with every migration that this version knows, and these functions.
    ///
    /// # Errors
    /// [`EngineError::Away`] while they are not, as when the database cannot be asked: waiting mends both.
    pub async fn has_schema(&self, functions: &[Function]) -> Result<(), EngineError> {
        let (newest, missing) = self
            .read("read the schema's version", async |work| {
                let newest = work
                    .optional(
                        "SELECT MAX(version) AS version FROM _sqlx_migrations WHERE success",
                        &[],
                    )
                    .await?;
                let newest =
                    newest.and_then(|row| row.get::<Option<i64>>("version").ok().flatten());
                let mut missing = None;
                for Function { name, .. } in functions.iter().filter(|_| self.is_postgres()) {
                    let sql = "SELECT to_regproc($1) IS NULL AS missing";
                    if work.one(sql, args![*name]).await?.get("missing")? {
                        missing = Some(*name);
                    }
                }
                Ok((newest, missing))
            })
            .await
            .map_err(|error| EngineError::away("schema", error))?;
        let wanted = migrate::newest(self.is_postgres());
        let lacks = match missing {
            _ if newest < Some(wanted) => anyhow!("migration {wanted} is not applied"),
            Some(function) => anyhow!("function {function} is missing"),
            None => return Ok(()),
        };
        Err(EngineError::away("schema", lacks))
    }

    /// Closes all connections once they are idle.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Postgres { pool, made, .. } => {
                let made =
                    std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
                for held in made.held {
                    held.close().await;
                }
                for made in made.pools {
                    made.close().await;
                }
                pool.close().await;
            }
            Engine::Held(held) => held.close().await,
            Engine::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
        }
    }

    /// Folds SQLite's log into the file and empties it: it holds pages from before a deletion. Readers can prevent
    /// that; then the next sweep retries.
    pub async fn forget_log(&self) {
        if self.is_postgres() {
            return;
        }
        let folded = self.statement("fold the log into the file", async |work| {
            work.one("PRAGMA wal_checkpoint(TRUNCATE)", &[]).await?.get::<i64>("busy")
        });
        match folded.await {
            Ok(busy) if busy != 0 => {
                tracing::debug!("the SQLite log is in use, not emptied");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot empty the SQLite log");
            }
        }
    }

    /// How the connections are used; `None` for SQLite, which has none to run out of.
    pub fn usage(&self) -> Option<Usage> {
        let Engine::Postgres { pool, made, .. } = &self.engine else { return None };
        let made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut usage = Usage::default();
        for pool in [pool].into_iter().chain(&made.pools) {
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            usage.size += pool.size();
            usage.in_use += pool.size().saturating_sub(idle);
            usage.most += pool.options().get_max_connections();
        }
        Some(usage)
    }

    /// The engine's version, as it says it.
    pub async fn version(&self) -> Result<String, EngineError> {
        let sql = if self.is_postgres() {
            "SELECT current_setting('server_version') AS version"
        } else {
            "SELECT sqlite_version() AS version"
        };
        self.one("read the engine's version", sql, &[], |row| row.get("version")).await
    }

    /// The error of one operation among several that were done together.
    pub fn error(&self, act: &'static str, cause: sqlx::Error) -> EngineError {
        error::judged(self.name(), act, cause)
    }

    /// The engine's name.
    pub fn name(&self) -> &'static str {
        match self.engine {
            Engine::Postgres { .. } | Engine::Held(_) => POSTGRES,
            Engine::Sqlite { .. } => SQLITE,
        }
    }

    /// Runs the work within [`LIMIT`] and classifies a failure.
    pub(crate) async fn within<T>(
        &self,
        act: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, EngineError> {
        let begun = Instant::now();
        let done = traces::engine(self.system(), act, within(self.name(), act, work)).await;
        timing::record(self.name(), act, begun.elapsed());
        done
    }

    /// The engine's name in spans.
    fn system(&self) -> &'static str {
        match self.engine {
            Engine::Postgres { .. } | Engine::Held(_) => "postgresql",
            Engine::Sqlite { .. } => "sqlite",
        }
    }
}

fn postgres_pool(most: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(refuse_standby(connection)))
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for >= IDLE_CHECK {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// During a failover the address may still lead to a server that only reads. A connection to it would be kept, and fail
/// every writer that gets it, long after the address leads to the new primary.
async fn refuse_standby(connection: &mut PgConnection) -> sqlx::Result<()> {
    // By the simple protocol: one round trip, and no place among its prepared statements.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_is_in_recovery()")).await?;
    let standby: bool = row.try_get(0)?;
    if standby { Err(a_standby()) } else { Ok(()) }
}

fn a_standby() -> sqlx::Error {
    sqlx::Error::Io(io::Error::other("the server is a standby"))
}

async fn within<T>(
    engine: &'static str,
    act: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(cause)) => Err(error::judged(engine, act, cause)),
        Err(_) => Err(EngineError::away(engine, anyhow!("{act}: no answer within {LIMIT:?}"))),
    }
}

fn sqlite_file(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("latchkey.sqlite")
}

/// SQLite gives its log and its index the permissions of the file, so the file is created before it is opened.
fn make_private(folder: &Path, file: &Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).context("create the data folder")?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(file).context("create the database file")?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .context("make the database file private")?;
    }
    drop(file);
    Ok(())
}
