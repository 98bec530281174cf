//! A private PostgreSQL server, started once for this test binary and removed with it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection as _;

pub struct Server {
    port: u16,
    /// Holds the pipe that keeps the server alive: the server stops when this process ends, in any way.
    _keeper: Child,
}

/// The URL of a new, empty database.
pub async fn new_database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(start);
    let url = |name: &str| format!("postgres://latchkey@127.0.0.1:{}/{name}", server.port);
    let name = format!("db{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = connect(&url("postgres")).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    url(&name)
}

async fn connect(url: &str) -> sqlx::PgConnection {
    let start = Instant::now();
    loop {
        match sqlx::PgConnection::connect(url).await {
            Ok(connection) => return connection,
            Err(error) if start.elapsed() > Duration::from_secs(20) => {
                panic!("the private PostgreSQL did not start: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn start() -> Server {
    let bin = binaries();
    let folder = std::env::temp_dir().join(format!("latchkey-postgres-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    // PostgreSQL refuses to run as root.
    let as_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let command = || {
        if as_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c"]);
            command
        } else {
            let mut command = Command::new("sh");
            command.arg("-c");
            command
        }
    };
    if as_root {
        assert!(Command::new("chown").arg("postgres").arg(&folder).status().unwrap().success());
    }
    let (bin, folder) = (bin.display(), folder.display());
    let made = command()
        .arg(format!(
            "cd / && '{bin}/initdb' -D '{folder}/data' -A trust -U latchkey -E UTF8 --no-sync"
        ))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "initdb failed");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keeper = command()
        .arg(format!(
            "cd /; '{bin}/postgres' -D '{folder}/data' -p {port} -c listen_addresses=127.0.0.1 \
             -c unix_socket_directories='' -c fsync=off -c max_connections=200 >'{folder}/log' 2>&1 & \
             cat >/dev/null; kill -INT $!; wait; rm -rf '{folder}'"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Server { port, _keeper: keeper }
}

/// The binaries of the newest installed version.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| {
        let initdb = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/pgsql-17/bin"]
            .into_iter()
            .find(|folder| Path::new(folder).join("initdb").is_file());
        initdb.map(PathBuf::from).expect("PostgreSQL's binaries are needed for this suite")
    })
}
