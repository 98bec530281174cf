//! A private Redis server for this test binary, and a plain connection to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const DATABASES: u32 = 4096;

pub struct Server {
    port: u16,
    given: AtomicU32,
    /// Holds the pipe that keeps the server alive: it ends when this process does, however it does.
    _keeper: Child,
}

/// The server that the tests of this binary share; each takes a database number of its own.
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    /// A server of its own.
    pub fn start() -> Self {
        for _ in 0..20 {
            let port = 10_000 + domain::rng::below(22_000);
            let port = u16::try_from(port).unwrap();
            let keeper = Command::new("sh")
                .args(["-c", &format!(
                    "redis-server --bind 127.0.0.1 --port {port} --databases {DATABASES} --save '' --appendonly no \
                     --maxmemory-policy noeviction >/dev/null 2>&1 & cat >/dev/null; kill $!; wait"
                )])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("run sh");
            let server = Self { port, given: AtomicU32::new(0), _keeper: keeper };
            if server.answers() {
                return server;
            }
        }
        panic!("redis-server did not start: apt-get install redis-server");
    }

    fn answers(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Raw::connect(self).command(&["DBSIZE"]) == ":0";
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// The URL of a database that no other test has.
    pub fn database(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "more than {DATABASES} databases are asked for");
        format!("redis://127.0.0.1:{}/{number}", self.port)
    }
}

/// A connection past the store.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    pub fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// The answer: a line, or the whole of a long text.
    pub fn command(&mut self, words: &[&str]) -> String {
        let stream = self.stream.get_mut();
        write!(stream, "*{}\r\n", words.len()).unwrap();
        for word in words {
            write!(stream, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        let mut first = String::new();
        self.stream.read_line(&mut first).unwrap();
        let Some(length) = first.strip_prefix('$') else { return first.trim_end().to_owned() };
        let mut text = vec![0; length.trim().parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// What comes in until a line that holds `end`.
    pub fn lines_until(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the server went away");
            if line.contains(end) {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Commands of clients since `CONFIG RESETSTAT`, by name; those that a script calls are among them.
    pub fn calls(&mut self) -> std::collections::BTreeMap<String, u64> {
        let stats = self.command(&["INFO", "commandstats"]);
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        stats.lines().filter_map(line).collect()
    }
}
