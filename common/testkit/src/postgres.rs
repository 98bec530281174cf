//! A private PostgreSQL server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::eventually;
use crate::folder::Folder;
use crate::guard::Ending;
use crate::launch::{self, Keeps, Restart};
use crate::server::{Launch, Server, find_program};

const USER: &str = "latchkey";
/// Not checked (`trust`), but part of the URL, so that a search of the logs for it is meaningful.
const PASSWORD: &str = "postgres-password-of-the-tests";

/// Asks whether it speaks TLS. It says yes or no before anybody has signed in.
pub(crate) const HELLO: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

#[derive(Debug)]
pub struct Postgres {
    pub server: Server,
    port: u16,
    databases: AtomicU32,
    // Declared after the server: it ends before its folder is removed.
    _folder: Folder,
}

impl Postgres {
    pub async fn start(keeps: Keeps) -> Self {
        let program = find_program("postgres", &["/usr/lib/postgresql"], "postgresql");
        let folder = Folder::new("postgres");
        let owner = given_to_the_server(&folder);
        let mut initdb = Command::new(program.with_file_name("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username",
            USER,
            "-D",
        ]);
        run_as(&mut initdb, owner).arg(folder.join("data")).current_dir(folder.path());
        let made = initdb.output().expect("run initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        Self::launch(folder, owner, keeps).await
    }

    async fn launch(folder: Folder, owner: Option<(u32, u32)>, keeps: Keeps) -> Self {
        let launch = |port: u16| Launch {
            program: find_program("postgres", &["/usr/lib/postgresql"], "postgresql"),
            args: settings(&folder, port, keeps),
            env: BTreeMap::from([
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("LC_ALL".into(), "C.UTF-8".into()),
            ]),
            folder: folder.path().to_owned(),
            log: folder.join("log"),
            owner,
            ending: Ending::Quit,
        };
        let (server, port) = launch::start_on_a_free_port(launch, Self::answers).await;
        Self { server, port, databases: AtomicU32::new(0), _folder: folder }
    }

    /// Starts a standby that this server streams to. From then on a commit here waits for it, so that no promotion
    /// loses one.
    pub async fn standby(&self) -> Self {
        let folder = Folder::new("standby");
        let owner = given_to_the_server(&folder);
        let program = find_program("pg_basebackup", &["/usr/lib/postgresql"], "postgresql-client");
        let mut backup = Command::new(program);
        backup.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "-D"]);
        backup.arg(folder.join("data")).arg("-d").arg(self.url("postgres"));
        run_as(&mut backup, owner).current_dir(folder.path());
        let made = tokio::task::spawn_blocking(move || backup.output()).await;
        let made = made.expect("no panic").expect("run pg_basebackup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let standby = Self::launch(folder, owner, Keeps::Everything).await;
        let mut primary = connect(&self.url("postgres")).await.expect("connect to the primary");
        for change in
            ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
        {
            sqlx::query(change).execute(&mut primary).await.expect("wait for the standby");
        }
        eventually("a synchronous standby", launch::START_LIMIT, async || {
            let sql = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";
            sqlx::query_scalar(sql)
                .fetch_one(&mut primary)
                .await
                .ok()
                .filter(|sync| *sync)
                .map(|_| ())
        })
        .await;
        standby
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) {
        let mut connection = connect(&self.url("postgres")).await.expect("connect to the standby");
        let promoting = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut connection);
        let promoted: bool = promoting.await.expect("promote");
        assert!(promoted, "it is not a primary after a minute");
    }

    /// Returns its address, `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection =
            connect(&self.url("postgres")).await.expect("connect to the private PostgreSQL");
        let sql = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(sql).execute(&mut connection).await.expect("create a database");
        connection.close().await.expect("close the connection");
        self.url(&name)
    }
}

impl Restart for Postgres {
    fn server(&mut self) -> (&mut Server, u16) {
        (&mut self.server, self.port)
    }

    async fn answers(port: u16) -> bool {
        connect(&format!("postgres://{USER}@127.0.0.1:{port}/postgres")).await.is_ok()
    }
}

/// Opens the test's own connection, to inspect what the product wrote.
pub async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    url.parse::<PgConnectOptions>()?.disable_statement_logging().connect().await
}

/// Dumps a database as SQL text, to search for what must not be there.
pub fn dump(url: &str) -> String {
    let program = find_program("pg_dump", &["/usr/lib/postgresql"], "postgresql-client");
    let output = Command::new(program).args(["--inserts", url]).output().expect("run pg_dump");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the database is UTF-8")
}

fn settings(folder: &Folder, port: u16, keeps: Keeps) -> Vec<String> {
    let fsync = if keeps == Keeps::Nothing { "off" } else { "on" };
    let mut args = vec!["-D".to_owned(), folder.join("data").display().to_string()];
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "max_connections=300".to_owned(),
        format!("fsync={fsync}"),
        // Not in /dev/shm, where files of killed servers would pile up.
        "dynamic_shared_memory_type=mmap".to_owned(),
    ] {
        args.extend(["-c".to_owned(), setting]);
    }
    args
}

/// Gives the folder to the account that the server runs as; `None`: ours.
fn given_to_the_server(folder: &Folder) -> Option<(u32, u32)> {
    let owner = account_for_the_server(folder);
    if let Some((user, group)) = owner {
        chown(folder.path(), Some(user), Some(group)).expect("give the folder to postgres");
    }
    owner
}

fn run_as(command: &mut Command, owner: Option<(u32, u32)>) -> &mut Command {
    match owner {
        Some((user, group)) => command.gid(group).uid(user),
        None => command,
    }
}

/// PostgreSQL refuses to run as root: as root, use the account that its package creates.
fn account_for_the_server(ours: &Folder) -> Option<(u32, u32)> {
    if fs::metadata(ours.path()).expect("our folder is there").uid() != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let fields = accounts.lines().find_map(|line| line.strip_prefix("postgres:")).expect(
        "PostgreSQL does not run as root and the account `postgres` is missing: apt-get install postgresql makes it",
    );
    let mut numbers = fields.split(':').skip(1).map(|field| field.parse().expect("a number"));
    numbers.next().zip(numbers.next())
}
