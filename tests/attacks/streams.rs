//! Event streams: what they report, how many may be open, what they cost, and how they end.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{both, system};
use testkit::http::{new_phone, once};
use testkit::system::{STOP_LIMIT, Side};
use testkit::{PATIENCE, both_sides, eventually};

both_sides!(
    a_stream_resumes_after_the_last_event_id_and_ends_with_the_final_status,
    one_request_has_a_limited_number_of_streams_of_its_own,
    f06_a_stream_takes_no_body,
    f06_a_stream_ends_with_its_client_whatever_it_sent_behind_its_request,
    p12_streams_end_when_the_process_stops,
);

/// An open stream, read as data arrives.
pub(super) struct Stream {
    socket: TcpStream,
    pub text: String,
}

impl Stream {
    pub(super) async fn open(url: &str, request: &str, last_event: Option<&str>) -> Self {
        let last = last_event.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        Self::open_with(url, request, &last).await
    }

    /// Like [`Stream::open`], with these header lines. Is as patient as [`testkit::http::Api`], but for [`Self::open_once`].
    pub(super) async fn open_with(url: &str, request: &str, lines: &str) -> Self {
        eventually("a stream, or an answer other than 503", PATIENCE, async || {
            let stream = Self::open_once(url, request, lines).await;
            (stream.status() != 503).then_some(stream)
        })
        .await
    }

    pub(super) async fn open_once(url: &str, request: &str, lines: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head =
            format!("GET /v1/otp/{request}/events HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Self { socket, text: String::new() };
        stream.until("\r\n\r\n").await;
        stream
    }

    pub(super) fn status(&self) -> u16 {
        self.text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let length = self.socket.read(&mut piece).await.unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&piece[..length]));
        length > 0
    }

    pub(super) async fn until(&mut self, mark: &str) {
        while !self.text.contains(mark) {
            assert!(self.more().await, "the stream ended before {mark:?}: {}", self.text);
        }
    }

    /// Reads to the end of the body and returns its events.
    pub(super) async fn read_to_end(mut self, within: Duration) -> Vec<Value> {
        let ends = async { while !self.text.contains("\r\n0\r\n\r\n") && self.more().await {} };
        timeout(within, ends).await.unwrap_or_else(|_| panic!("still open: {}", self.text));
        self.events()
    }

    fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| serde_json::from_str(data.trim()).unwrap()).collect()
    }

    fn ids(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("id:")).map(str::trim).collect()
    }
}

async fn a_stream_resumes_after_the_last_event_id_and_ends_with_the_final_status(side: Side) {
    let system = system(side, &[]).await;
    let [api, other] = both(&system);
    let phone = new_phone();
    let request = api.otp(&phone).await.expect(202).text("request_id");
    let mut first = Stream::open(&api.url, &request, None).await;
    let head = first.text.to_lowercase();
    assert_eq!(first.status(), 200);
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let code = api.code(&phone, 1).await;
    timeout(PATIENCE, first.until("\"sent\"")).await.unwrap();
    let rank = (*first.ids().last().unwrap()).to_owned();
    drop(first);
    // Resume at another gateway.
    let resumed = Stream::open(&other.url, &request, Some(&rank)).await;
    api.login_for(&phone, &code, &request).await.expect(200);
    let events = resumed.read_to_end(PATIENCE).await;
    let statuses: Vec<_> = events.iter().map(|event| event["status"].as_str().unwrap()).collect();
    assert_eq!(statuses.last(), Some(&"verified"));
    assert!(!statuses.contains(&"sent"), "{statuses:?}");
    // A client that saw the end gets nothing more; a client that saw nothing, or sends nonsense, gets the end.
    let started = Instant::now();
    assert!(
        Stream::open(&api.url, &request, Some("5")).await.read_to_end(PATIENCE).await.is_empty()
    );
    for nonsense in ["999", "-7", "x", ""] {
        let told =
            Stream::open(&api.url, &request, Some(nonsense)).await.read_to_end(PATIENCE).await;
        assert_eq!(told.len(), 1, "{nonsense}");
    }
    // A stream that waited would wait for a heartbeat, which comes after 15 s.
    assert!(started.elapsed() < Duration::from_secs(15), "not at once: {:?}", started.elapsed());
}

async fn one_request_has_a_limited_number_of_streams_of_its_own(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let request = api.otp(&new_phone()).await.expect(202).text("request_id");
    let mut open = Vec::new();
    for _ in 0..8 {
        let stream = Stream::open(&api.url, &request, None).await;
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    let refused = once(api.get(&format!("/v1/otp/{request}/events"))).await;
    refused.problem(503, "temporarily_unavailable");
    let another = api.otp(&new_phone()).await.expect(202).text("request_id");
    assert_eq!(Stream::open(&api.url, &another, None).await.status(), 200);
    open.pop();
    eventually("the slot of a client that disconnected", PATIENCE, async || {
        (Stream::open(&api.url, &request, None).await.status() == 200).then_some(())
    })
    .await;
}

async fn f06_a_stream_takes_no_body(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let request = api.otp(&new_phone()).await.expect(202).text("request_id");
    // More than there are streams for one request.
    for _ in 0..5 {
        for line in ["Content-Length: 50\r\n", "Transfer-Encoding: chunked\r\n"] {
            let refused = Stream::open_with(&api.url, &request, line).await;
            assert_eq!(refused.status(), 400, "{line}");
            let head = refused.text.to_lowercase();
            assert!(head.contains("connection: close"), "{head}");
        }
    }
    for line in ["", "Content-Length: 0\r\n"] {
        assert_eq!(Stream::open_with(&api.url, &request, line).await.status(), 200, "{line:?}");
    }
}

async fn f06_a_stream_ends_with_its_client_whatever_it_sent_behind_its_request(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let request = api.otp(&new_phone()).await.expect(202).text("request_id");
    for behind in ["x".to_owned(), format!("GET /{} HTTP/1.1\r\n", "x".repeat(20 * 1024))] {
        let mut stream = Stream::open(&api.url, &request, None).await;
        assert_eq!(stream.status(), 200);
        stream.socket.write_all(behind.as_bytes()).await.unwrap();
        // It has closed its side, and still reads: no write of the server fails.
        stream.socket.shutdown().await.unwrap();
        let ends = async { while stream.more().await {} };
        let ended = timeout(PATIENCE, ends).await;
        assert!(ended.is_ok(), "{} bytes behind it, still open: {}", behind.len(), stream.text);
    }
}

async fn p12_streams_end_when_the_process_stops(side: Side) {
    let mut system = system(side, &[]).await;
    let [_, api] = both(&system);
    let request = api.otp(&new_phone()).await.expect(202).text("request_id");
    let stream = Stream::open(&api.url, &request, Some("4")).await;
    let index = system.processes.iter().position(|p| p.url.as_ref() == Some(&api.url)).unwrap();
    let server = &mut system.processes[index].server;
    server.signal("TERM");
    assert!(stream.read_to_end(PATIENCE).await.is_empty());
    assert!(server.terminate(STOP_LIMIT).await.success());
    // A stream that did not heed the stop would have been cut after 20 s.
    assert!(!server.output().contains("connections cut at shutdown"), "{}", server.output());
}

pub(super) mod on_the_engines {
    use super::*;

    /// How many times a status was read from Redis.
    async fn reads(url: &str) -> u64 {
        calls(url, "hmget").await
    }

    pub(in crate::attacks) async fn calls(url: &str, command: &str) -> u64 {
        let mut redis = crate::attacks::redis(url).await;
        let info: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
        let line = format!("cmdstat_{command}:calls=");
        let calls = info.lines().find_map(|l| l.strip_prefix(line.as_str()));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waiting_streams_are_kept_alive_without_querying_redis() {
        let private = testkit::redis::Redis::start(testkit::launch::Keeps::Nothing).await;
        let mut engines = testkit::engines::Engines::shared().fresh().await;
        engines.redis_url = private.url(0);
        let url = engines.redis_url.clone();
        // One address may hold 20 streams.
        let proxy = [("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
        let system = testkit::system::System::on(engines, &proxy).await;
        let api = system.api();
        let mut open = Vec::new();
        for client in 0..50 {
            let lines = format!("Last-Event-ID: 4\r\nX-Forwarded-For: 198.51.{client}.1\r\n");
            let phone = new_phone();
            let request = api.otp(&phone).await.expect(202).text("request_id");
            api.code(&phone, 1).await;
            for _ in 0..4 {
                open.push(Stream::open_with(&api.url, &request, &lines).await);
            }
        }
        let before = reads(&url).await;
        // A heartbeat is due after 15 s; the wait for it is what is under test.
        for stream in &mut open {
            timeout(PATIENCE, stream.until(":\n")).await.expect("a heartbeat");
        }
        let asked = reads(&url).await - before;
        assert!(asked < 20, "200 streams read a status {asked} times while nothing changed");
    }
}
