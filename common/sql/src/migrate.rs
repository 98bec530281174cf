//! Brings the schema and its functions up to date at startup; safe when several processes start at once.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use sqlx::Connection as _;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;

use super::{Engine, POSTGRES, Pool, SQLITE, error};
use domain::engine_error::EngineError;

static FOR_POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static FOR_SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a startup waits for another process's migration.
const LIMIT: Duration = Duration::from_mins(1);

/// The version of the newest migration of this build.
pub(crate) fn newest(postgres: bool) -> i64 {
    let migrator = if postgres { &FOR_POSTGRES } else { &FOR_SQLITE };
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// A rule that runs inside PostgreSQL, called by the statements of the crate that owns its tables. SQLite has none.
///
/// A migration never changes; a function is replaced whenever its text does. What it takes and what it answers never
/// change under one name: while a new version is rolled out, programs of the former one call the same database. So the
/// name ends with a version, and the former function stays for one release.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    pub name: &'static str,
    /// `CREATE OR REPLACE FUNCTION ..`, one statement.
    pub definition: &'static str,
}

impl Pool {
    /// Applies the missing migrations, then creates or replaces the functions whose text differs. One process does it,
    /// the others wait for it.
    ///
    /// # Errors
    /// Broken if an applied migration is unknown here or was changed: an older version of Latchkey on a newer database,
    /// or a damaged build.
    pub async fn migrate(&self, functions: &[Function]) -> Result<(), EngineError> {
        match tokio::time::timeout(LIMIT, self.migrate_unlimited(functions)).await {
            Ok(done) => done,
            Err(_) => Err(EngineError::away(
                self.name(),
                anyhow!("migrate: another migration has not ended within {LIMIT:?}"),
            )),
        }
    }

    /// Whether this login may create tables. A service with a login of its own may not: the owner of the schema migrates
    /// it with `latchkey migrate`, and the service waits for that (contract, ruling 54).
    async fn may_migrate(&self) -> Result<bool, EngineError> {
        if !self.is_postgres() {
            return Ok(true);
        }
        let sql = "SELECT has_schema_privilege(current_schema(), 'CREATE') AS allowed";
        self.statement("ask whether this login may migrate", async |work| {
            work.one(sql, &[]).await?.get::<bool>("allowed")
        })
        .await
    }

    async fn migrate_unlimited(&self, functions: &[Function]) -> Result<(), EngineError> {
        if !self.may_migrate().await? {
            return self.has_schema(functions).await;
        }
        match &self.engine {
            Engine::Postgres { pool, .. } => migrate_by(&pool.connect_options(), functions).await,
            Engine::Held(held) => migrate_by(held.options(), functions).await,
            Engine::Sqlite { write, lock, .. } => {
                // The migrator has no lock for SQLite: two processes that start together would both create the tables.
                let lock =
                    wait_for(lock).await.map_err(|cause| EngineError::away(SQLITE, cause))?;
                let done = FOR_SQLITE.run(write).await;
                drop(lock);
                done.map_err(|cause| judged(SQLITE, cause))
            }
        }
    }
}

/// By a separate connection without the limits of these: the migrator waits for the others with an advisory lock, and an
/// index may take longer than a request may.
async fn migrate_by(options: &PgConnectOptions, functions: &[Function]) -> Result<(), EngineError> {
    let options = options.clone().options([
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ]);
    let mut connection = sqlx::PgConnection::connect_with(&options)
        .await
        .map_err(|cause| error::judged(POSTGRES, "connect to migrate", cause))?;
    let done = migrate_postgres(&mut connection, functions).await;
    // The connection holds the lock, so dropping it releases the lock in any case.
    drop(connection);
    done.map_err(|cause| judged(POSTGRES, cause))
}

async fn migrate_postgres(
    connection: &mut sqlx::PgConnection,
    functions: &[Function],
) -> Result<(), MigrateError> {
    // The migrator takes the same lock once more, and releases only its own.
    connection.lock().await?;
    FOR_POSTGRES.run_direct(None, connection, false).await?;
    let mut transaction = connection.begin().await?;
    for Function { name, definition } in functions {
        // An unchanged function stays: to replace it takes its owner, and makes every connection plan it anew.
        let is_new = "SELECT NOT EXISTS (
            SELECT 1 FROM pg_proc WHERE oid = to_regproc($1) AND position(prosrc IN $2) > 0)";
        let is_new = sqlx::query_scalar(is_new).bind(name).bind(definition);
        if is_new.fetch_one(&mut *transaction).await? {
            sqlx::raw_sql(*definition).execute(&mut *transaction).await?;
        }
    }
    Ok(transaction.commit().await?)
}

/// The file, locked until it is dropped or its process dies.
async fn wait_for(path: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).context("open the migration lock")?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(cause)) => {
                return Err(cause).context("take the migration lock");
            }
        }
    }
}

fn judged(engine: &'static str, cause: MigrateError) -> EngineError {
    match cause {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            error::judged(engine, "migrate", cause)
        }
        other => EngineError::broken(engine, anyhow::Error::new(other).context("migrate")),
    }
}
