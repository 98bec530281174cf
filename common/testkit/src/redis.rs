//! A private Redis server.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::eventually;
use crate::folder::Folder;
use crate::guard::Ending;
use crate::launch::{self, Keeps, Restart, START_LIMIT};
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
        let folder = Folder::new("redis");
        let launch = |port| launch_in(&folder, &settings(&folder, port, keeps), &[]);
        let (server, port) = launch::start_on_a_free_port(launch, Self::answers).await;
        Self { server, port, given: AtomicU32::new(0), folder }
    }

    /// Starts a replica of this server. Either of the two can follow the other.
    pub async fn replica(&self) -> Self {
        let folder = Folder::new("replica");
        let launch = |port| {
            let own = settings(&folder, port, Keeps::Everything);
            launch_in(&folder, &format!("{own}replicaof 127.0.0.1 {}\n", self.port), &[])
        };
        let (server, port) = launch::start_on_a_free_port(launch, Self::answers).await;
        let replica = Self { server, port, given: AtomicU32::new(0), folder };
        eventually("the replica's copy", START_LIMIT, async || {
            let told = told(replica.port, PASSWORD, "INFO replication").await?;
            told.contains("master_link_status:up").then_some(())
        })
        .await;
        replica
    }

    /// Returns whether it is a primary now, by its own word; `None` if it does not answer.
    pub async fn is_primary(&self) -> Option<bool> {
        let told = told(self.port, PASSWORD, "INFO replication").await?;
        told.contains("role:").then(|| told.contains("role:master"))
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

/// Three Sentinels that watch a primary and its replicas. Two must agree that it is gone.
#[derive(Debug)]
pub struct Sentinels {
    ports: Vec<u16>,
    _servers: Vec<(Server, Folder)>,
}

impl Sentinels {
    /// What they call it.
    const NAME: &str = "latchkey";
    const PASSWORD: &str = "sentinel-password-of-the-tests";
    /// Milliseconds of silence after which one of them counts the primary as gone: more than a busy machine lets pass.
    const SILENCE_MS: u32 = 5_000;

    pub async fn of(primary: &Redis) -> Self {
        let (mut ports, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let folder = Folder::new("sentinel");
            let launch = |port| {
                let (name, silence) = (Self::NAME, Self::SILENCE_MS);
                let own = format!(
                    "bind 127.0.0.1\nport {port}\ndir {}\nrequirepass {own}\nsentinel sentinel-pass {own}\n\
                     sentinel monitor {name} 127.0.0.1 {} 2\nsentinel auth-pass {name} {PASSWORD}\n\
                     sentinel down-after-milliseconds {name} {silence}\nsentinel failover-timeout {name} 20000\n",
                    folder.path().display(),
                    primary.port,
                    own = Self::PASSWORD,
                );
                launch_in(&folder, &own, &["--sentinel"])
            };
            let answers = async |port| {
                let hello = format!("AUTH {}\r\nPING\r\n", Self::PASSWORD);
                launch::exchange(port, hello.as_bytes(), b"+OK\r\n+PONG\r\n").await
            };
            let (server, port) = launch::start_on_a_free_port(launch, answers).await;
            ports.push(port);
            servers.push((server, folder));
        }
        let sentinels = Self { ports, _servers: servers };
        eventually("the Sentinels to know each other and the replica", START_LIMIT, async || {
            let all = sentinels.told("INFO sentinel").await;
            all.iter().all(|told| told.contains("slaves=1,sentinels=3")).then_some(())
        })
        .await;
        sentinels
    }

    /// Returns the setting `REDIS_URL` of a service that finds the primary through them.
    pub fn url(&self, database: u32) -> String {
        let hosts: Vec<String> =
            self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let (hosts, name, own) = (hosts.join(","), Self::NAME, Self::PASSWORD);
        format!("redis+sentinel://:{PASSWORD}@{hosts}/{name}/{database}?sentinel_password={own}")
    }

    /// Has the replica take over while the primary is well.
    pub async fn fail_over(&self) {
        eventually("a Sentinel to begin a failover", START_LIMIT, async || {
            for port in &self.ports {
                let begin = format!("SENTINEL FAILOVER {}", Self::NAME);
                let answer = told(*port, Self::PASSWORD, &begin).await;
                // To the password and to the command. A second Sentinel would begin a second failover.
                if answer.is_some_and(|answer| answer.starts_with("+OK\r\n+OK")) {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    /// Returns the number of the election by which the primary leads. It rises with each failover.
    pub async fn epoch(&self) -> u64 {
        let told = self.told(&format!("SENTINEL MASTER {}", Self::NAME)).await;
        let epoch = |told: &String| {
            let after = told.split_once("config-epoch\r\n")?.1;
            after.lines().nth(1)?.parse().ok()
        };
        told.iter().filter_map(epoch).max().unwrap_or_default()
    }

    async fn told(&self, command: &str) -> Vec<String> {
        let mut all = Vec::new();
        for port in &self.ports {
            all.push(told(*port, Self::PASSWORD, command).await.unwrap_or_default());
        }
        all
    }
}

/// What the server on this port answers to the password and to a command.
async fn told(port: u16, password: &str, command: &str) -> Option<String> {
    launch::answer(port, format!("AUTH {password}\r\n{command}\r\n").as_bytes()).await
}

fn launch_in(folder: &Folder, settings: &str, more: &[&str]) -> Launch {
    let config = folder.join("redis.conf");
    fs::write(&config, settings).expect("write redis.conf");
    let mut args = vec![config.display().to_string()];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    Launch {
        program: find_program("redis-server", &[], "redis-server"),
        args,
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        folder: folder.path().to_owned(),
        log: folder.join("log"),
        owner: None,
        ending: Ending::Kill,
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
        "bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\ndatabases {DATABASES}\ndir {}\nsave \"\"\n\
         appendonly {append}\nappendfsync {fsync}\nmaxmemory-policy noeviction\ndaemonize no\n",
        data.display()
    )
}
