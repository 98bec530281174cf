//! A plain connection to Redis: the protocol itself, past the store and its client.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// A connection past the store.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    /// Connects to a URL of the form `redis://:password@host:port/number`.
    pub fn connect(url: &str) -> Self {
        let (password, address) = url.strip_prefix("redis://:").unwrap().split_once('@').unwrap();
        let stream = TcpStream::connect(address.split('/').next().unwrap()).unwrap();
        stream.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
        let mut connection = Self { stream: BufReader::new(stream) };
        assert_eq!(connection.command(&["AUTH", password]), "+OK");
        connection
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
