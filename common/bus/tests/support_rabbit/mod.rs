//! A private RabbitMQ node from the installed binaries: own folder, ports, cookie and port mapper. It dies with the test
//! process, however that ends: a watchdog holds a pipe to it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use secrecy::SecretString;

pub mod confirm_rounds;

const SBIN: &str = "/usr/lib/rabbitmq/bin";

pub struct Node {
    dir: PathBuf,
    pub port: u16,
    dist_port: u16,
    epmd_port: u16,
    epmd: Mutex<Child>,
    server: Mutex<Option<Child>>,
    watchdogs: Mutex<Vec<Child>>,
}

/// The node that the tests of this process share; each takes a virtual host of its own.
pub fn shared() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(Node::start)
}

impl Node {
    pub fn start() -> Self {
        static NODES: AtomicU32 = AtomicU32::new(0);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let name = format!("latchkey-rabbit-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("plugins"), "[].").unwrap();
        let [port, dist_port, epmd_port] = free_ports();
        fs::write(
            dir.join("rabbitmq.conf"),
            format!(
                "listeners.tcp.default = 127.0.0.1:{port}\nloopback_users = none\n\
                 disk_free_limit.absolute = 50MB\nlog.file.level = warning\n"
            ),
        )
        .unwrap();
        let epmd = Command::new("epmd")
            .args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd is installed with Erlang");
        let watchdogs = Mutex::new(vec![watchdog(epmd.id(), &dir)]);
        let node = Self {
            dir,
            port,
            dist_port,
            epmd_port,
            epmd: Mutex::new(epmd),
            server: Mutex::new(None),
            watchdogs,
        };
        node.start_server();
        node
    }

    /// Starts the server on what it left behind, and waits until it takes connections.
    pub fn start_server(&self) {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(format!("{SBIN}/rabbitmq-server"));
        let log = fs::File::create(self.dir.join("console.log")).unwrap();
        let server = self
            .environment(&mut command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("RabbitMQ is installed");
        self.watchdogs.lock().unwrap().push(watchdog(server.id(), &self.dir));
        *self.server.lock().unwrap() = Some(server);
        let deadline = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "RabbitMQ did not start: see {}",
                self.dir.display()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// As a power cut: the whole process group gets signal 9.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap().take().expect("the server runs");
        let group = format!("-{}", server.id());
        assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
        server.wait().unwrap();
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            sleep(Duration::from_millis(20));
        }
    }

    /// A new virtual host, and the URL of it.
    pub fn vhost(&self) -> SecretString {
        static VHOSTS: AtomicU32 = AtomicU32::new(0);
        let name = format!("v{}", VHOSTS.fetch_add(1, Ordering::Relaxed));
        self.ctl(&[
            "eval",
            &format!(
                "rabbit_vhost:add(<<\"{name}\">>, <<\"test\">>), \
                 rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"{name}\">>, \
                 <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)."
            ),
        ]);
        format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.port).into()
    }

    pub fn ctl(&self, arguments: &[&str]) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let mut command = Command::new(format!("{SBIN}/rabbitmqctl"));
            let output = self.environment(&mut command).args(arguments).output().unwrap();
            if output.status.success() {
                return;
            }
            // The listener is up a little before the node answers its tools.
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(Instant::now() < deadline, "rabbitmqctl {arguments:?}: {told}");
            sleep(Duration::from_millis(200));
        }
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let dir = self.dir.display();
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", format!("latchkey{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", format!("{dir}/mnesia"))
            .env("RABBITMQ_LOG_BASE", format!("{dir}/log"))
            .env("RABBITMQ_CONFIG_FILE", format!("{dir}/rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{dir}/plugins"))
            .env("RABBITMQ_PID_FILE", format!("{dir}/pid"))
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.server.lock().unwrap().is_some() {
            self.kill();
        }
        let mut epmd = self.epmd.lock().unwrap();
        drop(epmd.kill());
        drop(epmd.wait());
        for mut watchdog in self.watchdogs.lock().unwrap().drain(..) {
            drop(watchdog.stdin.take());
            drop(watchdog.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Kills the process and its group when this process is gone, and removes its folder. It waits on a pipe that only this
/// process holds.
fn watchdog(process: u32, dir: &Path) -> Child {
    use std::os::unix::process::CommandExt as _;
    // The dying server still writes, so one removal may not be enough.
    let script = "read -r _; kill -s KILL -- -$1; kill -s KILL $1; \
        while sleep 0.2; rm -rf -- \"$2\"; test -e \"$2\"; do :; done";
    Command::new("sh")
        .args(["-c", script, "watchdog", &process.to_string()])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Below the ephemeral range, where collisions were seen. No port is given twice in a process, and processes begin apart.
fn free_ports() -> [u16; 3] {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    let start = u16::try_from(std::process::id() % 1_500).unwrap() * 14;
    let mut free = (next.unwrap_or(10_000 + start)..32_000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports = std::array::from_fn(|_| free.next().expect("three free ports"));
    *next = Some(ports[2] + 1);
    ports
}
