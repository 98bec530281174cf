//! A private Redis server.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::folder::Folder;
use crate::guard::Ending;
use crate::launch::{self, Keeps, Restart};
use crate::server::{Launch, Server, find_program};

const PASSWORD: &str = "redis-password-of-the-tests";
/// One per test; each costs a few hundred bytes.
const DATABASES: u32 = 1024;

#[derive(Debug)]
pub struct Redis {
    pub server: Server,
    port: u16,
    given: AtomicU32,
    folder: Folder,
}

impl Redis {
    pub async fn start(keeps: Keeps) -> Self {
        let program = find_program("redis-server", &[], "redis-server");
        let folder = Folder::new("redis");
        let launch = |port: u16| {
            let config = folder.join("redis.conf");
            fs::write(&config, settings(&folder, port, keeps)).expect("write redis.conf");
            Launch {
                program: program.clone(),
                args: vec![config.display().to_string()],
                env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
                folder: folder.path().to_owned(),
                log: folder.join("log"),
                owner: None,
                ending: Ending::Kill,
            }
        };
        let (server, port) = launch::start_on_a_free_port(launch, Self::answers).await;
        Self { server, port, given: AtomicU32::new(0), folder }
    }

    /// Returns the URL of a database number that no other test has.
    pub fn database(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "more than {DATABASES} tests use a Redis database");
        self.url(number)
    }

    pub fn url(&self, database: u32) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the folder of everything it wrote to disk, to search for what must not be there.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.join("data")
    }
}

impl Restart for Redis {
    fn server(&mut self) -> (&mut Server, u16) {
        (&mut self.server, self.port)
    }

    async fn answers(port: u16) -> bool {
        let hello = format!("AUTH {PASSWORD}\r\nPING\r\n");
        // While it loads its file it answers LOADING instead of PONG.
        launch::exchange(port, hello.as_bytes(), b"+OK\r\n+PONG\r\n").await
    }
}

fn settings(folder: &Folder, port: u16, keeps: Keeps) -> String {
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("make the data folder");
    let (append, fsync) = match keeps {
        Keeps::Nothing => ("no", "no"),
        Keeps::AsInProduction => ("yes", "everysec"),
        Keeps::Everything => ("yes", "always"),
    };
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\ndatabases {DATABASES}\ndir {}\nsave \"\"\n\
         appendonly {append}\nappendfsync {fsync}\nmaxmemory-policy noeviction\ndaemonize no\n",
        data.display()
    )
}
