use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use domain::clock::Clock;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;
use crate::http::body::{BodyLimits, JsonBody};
use crate::http::client_ip::TrustedProxies;
use crate::http::layers::{self, Settings};

/// Short limits, so that a test waits a fraction of a second where a client would wait ten.
fn limits() -> Limits {
    Limits {
        headers_within: Duration::from_millis(400),
        idle_within: Duration::from_millis(1500),
        stalled_within: Duration::from_millis(400),
        late_within: Duration::from_millis(200),
        drain_within: Duration::from_secs(3),
        connections_of_one: usize::MAX,
        body: BodyLimits { within: Duration::from_millis(400), ..BodyLimits::default() },
        ..Limits::default()
    }
}

struct Server {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/json", post(async |JsonBody(fields): JsonBody| fields.finish()))
            .route("/me", get(async || "me"))
            .route("/none", get(async || http::StatusCode::NO_CONTENT))
            .route("/slow", get(slow))
            .route("/endless", get(endless))
            .route("/big", get(async || "x".repeat(64 << 20)));
        let settings = Settings::plain(Clock::system());
        let service = layers::finish(router, settings).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(
            listener,
            service,
            AcceptQueue::default(),
            limits,
            TrustedProxies::default(),
            stop.clone(),
        ));
        Self { at, stop, task }
    }

    async fn open(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Writes bytes, then reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.open().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }
}

async fn slow() -> &'static str {
    sleep(Duration::from_millis(600)).await;
    "late"
}

/// Writes now and then, for ever.
async fn endless() -> axum::body::Body {
    axum::body::Body::from_stream(futures::stream::unfold((), async |()| {
        sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, Infallible>("tick"), ()))
    }))
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let ended = timeout(Duration::from_secs(5), read).await;
    let reset = ended.expect("the server closes within 5 s");
    if let Err(error) = reset {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn until_contains(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

const GET_ME: &[u8] = b"GET /me HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_on_one_connection_are_answered_one_after_the_other() {
    let server = Server::start(limits()).await;
    let mut stream = server.open().await;
    for _ in 0..3 {
        stream.write_all(GET_ME).await.unwrap();
        until_contains(&mut stream, "\r\n\r\nme").await;
    }
    stream.write_all(&[GET_ME, GET_ME].concat()).await.unwrap();
    let text = until_contains(&mut stream, "\r\n\r\nme").await;
    if text.matches("\r\n\r\nme").count() < 2 {
        until_contains(&mut stream, "\r\n\r\nme").await;
    }
}

#[tokio::test]
async fn dripping_headers_are_cut_at_their_deadline() {
    let server = Server::start(limits()).await;
    let started = Instant::now();
    let mut stream = server.open().await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        write.write_all(b"GET /me HTTP/1.1\r\n").await?;
        loop {
            write.write_all(b"X: y\r\n").await?;
            sleep(Duration::from_millis(50)).await;
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        Ok::<(), io::Error>(())
    };
    let mut bytes = Vec::new();
    tokio::select! {
        _ = drip => {}
        _ = read.read_to_end(&mut bytes) => {}
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(380) && took < Duration::from_millis(1300), "{took:?}");
}

#[tokio::test]
async fn a_silent_socket_is_cut() {
    let server = Server::start(limits()).await;
    let started = Instant::now();
    assert_eq!(server.exchange(b"").await, "");
    assert!(started.elapsed() < Duration::from_millis(1300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_may_idle_longer_between_requests_than_headers_may_take() {
    let server = Server::start(limits()).await;
    let mut stream = server.open().await;
    for _ in 0..2 {
        stream.write_all(GET_ME).await.unwrap();
        until_contains(&mut stream, "\r\n\r\nme").await;
        sleep(limits().headers_within * 2).await;
    }
    // But a second request's head has no more time than the first's.
    stream.write_all(b"GET /me").await.unwrap();
    let started = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(started.elapsed() < limits().idle_within, "{:?}", started.elapsed());
}

#[tokio::test]
async fn hundreds_of_idle_sockets_do_not_keep_a_request_waiting() {
    let server = Server::start(Limits { headers_within: Duration::from_secs(5), ..limits() }).await;
    let idle = join_all((0..400).map(|_| server.open())).await;
    let started = Instant::now();
    let mut stream = server.open().await;
    stream.write_all(GET_ME).await.unwrap();
    until_contains(&mut stream, "\r\n\r\nme").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(idle);
}

#[tokio::test]
async fn connections_above_the_limit_wait_and_are_served_when_there_is_room() {
    let server = Server::start(Limits { connections: 2, ..limits() }).await;
    let idle = (server.open().await, server.open().await);
    let started = Instant::now();
    let mut stream = server.open().await;
    stream.write_all(GET_ME).await.unwrap();
    until_contains(&mut stream, "\r\n\r\nme").await;
    assert!(started.elapsed() >= Duration::from_millis(300), "it waited: {:?}", started.elapsed());
    drop(idle);
}

#[tokio::test]
async fn a_request_with_both_lengths_is_refused_and_its_connection_ended() {
    let server = Server::start(limits()).await;
    let smuggled = "0\r\n\r\nGET /me HTTP/1.1\r\nHost: a\r\n\r\n";
    for lengths in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "content-length:6\r\nTRANSFER-ENCODING: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: nonsense\r\n",
    ] {
        let text = format!(
            "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{lengths}\r\n{smuggled}"
        );
        let answer = server.exchange(text.as_bytes()).await;
        assert_eq!(problem_of(&answer).0, 400, "{lengths} {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing smuggled: {lengths} {answer}");
    }
    for lengths in [
        "Content-Length: 6\r\nContent-Length: 7\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1, 2\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let text = format!("POST /json HTTP/1.1\r\nHost: a\r\n{lengths}\r\n{smuggled}");
        let answer = server.exchange(text.as_bytes()).await;
        assert_eq!(problem_of(&answer).0, 400, "{lengths} {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lengths} {answer}");
    }
    let one = "POST /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert!(
        server.exchange(one.as_bytes()).await.starts_with("HTTP/1.1 200 "),
        "chunked alone is fine"
    );
}

#[tokio::test]
async fn f20_what_another_reader_may_see_otherwise_is_refused_and_its_connection_ended() {
    let server = Server::start(limits()).await;
    let after = "GET /me HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, field) in [
        ("GET /me HTTP/1.1\nHost: a\n\n", "request"),
        ("GET /me HTTP/1.1\r\nHost: a\r\nX: y\nZ: z\r\n\r\n", "request"),
        ("GET /me HTTP/1.1\r\nHost: a\r\n\n", "request"),
        ("\nGET /me HTTP/1.1\r\nHost: a\r\n\r\n", "request"),
        ("GET /me HTTP/1.1\r\n\r\n", "Host"),
        ("GET /me HTTP/1.1\r\nHost:\r\n\r\n", "Host"),
        ("GET /me HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "Host"),
        ("GET /me HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n", "Host"),
        ("GET /me HTTP/1.1\r\nHost: a b@c/\r\n\r\n", "Host"),
        ("GET http://a/me HTTP/1.1\r\n\r\n", "Host"),
    ] {
        let answer = server.exchange(format!("{head}{after}").as_bytes()).await;
        assert_eq!(problem_of(&answer), (400, "invalid_request".to_owned()), "{head:?} {answer}");
        assert!(answer.contains(&format!("\"field\":\"{field}\"")), "{head:?} {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?} {answer}");
    }
    let old = server.exchange(b"GET /me HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with("\r\n\r\nme"), "HTTP/1.0 needs no host: {old}");
    let led = server.exchange(b"\r\n\r\nGET /me HTTP/1.0\r\n\r\n").await;
    assert!(led.ends_with("\r\n\r\nme"), "empty lines before a request are skipped: {led}");
}

#[tokio::test]
async fn f20_the_second_of_two_requests_sent_at_once_is_judged_like_the_first() {
    let server = Server::start(limits()).await;
    let body = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for second in [
        "GET /me HTTP/1.1\r\n\r\n",
        "GET /me HTTP/1.1\nHost: a\n\n",
        "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        for first in ["GET /me HTTP/1.1\r\nHost: a\r\n\r\n", body] {
            let answer = server.exchange(format!("{first}{second}").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{second:?} {answer}");
            let refusal = answer.rfind("HTTP/1.1 ").unwrap();
            assert!(refusal > 0, "{second:?} {answer}");
            assert_eq!(problem_of(&answer[refusal..]).0, 400, "{second:?} {answer}");
        }
    }
}

#[tokio::test]
async fn a_request_that_arrives_in_pieces_is_one_request() {
    let server = Server::start(limits()).await;
    let request = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let mut stream = server.open().await;
    for cut in [1, 20, 40, request.len() - 5, request.len() - 1] {
        for part in [&request[..cut], &request[cut..]] {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(until_contains(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    }
    // The next request may follow a chunked body only on another connection: nobody else sees where the body ends.
    let chunked = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    stream.write_all([chunked.as_bytes(), GET_ME].concat().as_slice()).await.unwrap();
    let answer = rest(&mut stream).await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(answer.matches("http/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_connection_stays_open_after_an_answer_without_a_body() {
    let server = Server::start(limits()).await;
    let mut stream = server.open().await;
    for (request, status) in [
        ("HEAD /me HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        ("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /me HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = until_contains(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request} {answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let server = Server::start(Limits { connections: 1, ..limits() }).await;
    let mut gone = server.open().await;
    gone.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until_contains(&mut gone, "\r\n\r\n").await;
    drop(gone);
    let mut next = server.open().await;
    next.write_all(GET_ME).await.unwrap();
    timeout(Duration::from_secs(5), until_contains(&mut next, "\r\n\r\nme"))
        .await
        .expect("the one slot is free again");
}

/// Writes these pieces, with time for the server to read each by itself.
async fn in_pieces(stream: &mut TcpStream, pieces: &[&[u8]]) {
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // The server may have closed already.
        let _ = stream.write_all(piece).await;
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn f06_half_an_empty_line_holds_no_connection() {
    let server = Server::start(Limits { connections: 1, ..limits() }).await;
    for pieces in [
        &[&b"\r"[..], b"\nG"][..],
        &[b"\r"],
        &[b"\r\n", b"\r", b"\n"],
        &[b"\r", b"\n\r", b"\nGET "],
    ] {
        let mut held = server.open().await;
        in_pieces(&mut held, pieces).await;
        assert_eq!(rest(&mut held).await, "", "{pieces:?}");
        let mut next = server.open().await;
        next.write_all(GET_ME).await.unwrap();
        timeout(Duration::from_secs(5), until_contains(&mut next, "\r\n\r\nme"))
            .await
            .expect("the one slot is free again");
        drop(next);
    }
}

#[tokio::test]
async fn f06_an_honest_empty_line_that_was_cut_does_no_harm() {
    let patient = Limits { headers_within: Duration::from_secs(30), ..limits() };
    let server = Server::start(patient).await;
    let mut stream = server.open().await;
    in_pieces(&mut stream, &[b"\r", b"\n", GET_ME]).await;
    timeout(Duration::from_secs(20), until_contains(&mut stream, "\r\n\r\nme"))
        .await
        .expect("an answer");
}

#[tokio::test]
async fn f06_the_first_head_has_its_time_once_not_twice() {
    let server = Server::start(Limits { headers_within: Duration::from_secs(6), ..limits() }).await;
    let mut late = server.open().await;
    sleep(Duration::from_secs(5)).await;
    late.write_all(b"GET").await.unwrap();
    // It closes a second later. With the time twice it would close after six, and this waits for five.
    assert_eq!(rest(&mut late).await, "");
}

#[tokio::test]
async fn f06_a_client_that_sent_one_more_byte_and_left_ends_its_stream() {
    let server = Server::start(limits()).await;
    let mut gone = server.open().await;
    gone.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until_contains(&mut gone, "\r\n\r\n").await;
    gone.write_all(b"x").await.unwrap();
    // It still reads, so that no write fails.
    gone.shutdown().await.unwrap();
    rest(&mut gone).await;
}

#[tokio::test]
async fn f06_an_address_with_all_its_connections_is_refused_without_an_answer() {
    let server = Server::start(Limits { connections_of_one: 3, ..limits() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = server.open().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until_contains(&mut stream, "\r\n\r\n").await;
        held.push(stream);
    }
    let mut refused = server.open().await;
    // The server may have closed it already.
    let _ = refused.write_all(GET_ME).await;
    assert_eq!(rest(&mut refused).await, "");
    until_contains(&mut held[0], "tick").await;
}

#[tokio::test]
async fn f06_an_address_whose_connections_are_idle_is_still_served() {
    let limits = Limits { connections_of_one: 3, idle_within: Duration::from_mins(1), ..limits() };
    let server = Server::start(limits).await;
    let mut held = Vec::new();
    let started = Instant::now();
    while held.len() < 9 {
        let mut stream = server.open().await;
        // The server may have closed it already: a client can have its answer before the connection counts as idle.
        let _ = stream.write_all(GET_ME).await;
        let mut answer = [0; 1024];
        if stream.read(&mut answer).await.is_ok_and(|count| count > 0) {
            held.push(stream);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no idle connection made room");
    }
    assert_eq!(rest(&mut held[0]).await, "", "the longest idle one is closed");
    held[8].write_all(GET_ME).await.unwrap();
    until_contains(&mut held[8], "\r\n\r\nme").await;
}

#[tokio::test]
async fn f06_when_slots_run_out_the_idle_make_room_and_the_busy_do_not() {
    let limits = Limits { connections: 8, idle_within: Duration::from_mins(1), ..limits() };
    let server = Server::start(limits).await;
    let mut idle = Vec::new();
    let mut busy = server.open().await;
    busy.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until_contains(&mut busy, "\r\n\r\n").await;
    // More than there are slots for, each of which would idle for a minute.
    for _ in 0..30 {
        let mut stream = server.open().await;
        stream.write_all(GET_ME).await.unwrap();
        timeout(Duration::from_secs(5), until_contains(&mut stream, "\r\n\r\nme"))
            .await
            .expect("an idle connection made room");
        idle.push(stream);
    }
    assert_eq!(rest(&mut idle[0]).await, "", "the longest idle one is closed");
    let newest = idle.last_mut().unwrap();
    newest.write_all(GET_ME).await.unwrap();
    until_contains(newest, "\r\n\r\nme").await;
    until_contains(&mut busy, "tick").await;
}

#[tokio::test]
async fn a_dripping_body_is_400_and_does_not_hold_its_connection() {
    let server = Server::start(limits()).await;
    let started = Instant::now();
    let head = b"POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = server.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("too_slow"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

const POST_JSON: &str =
    "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";

/// A request that waits for its body in a slot: by then the server has asked for the body. `None` if it is refused.
async fn waiting(server: &Server) -> Option<TcpStream> {
    let mut stream = server.open().await;
    let head = format!("{POST_JSON}Expect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = until_contains(&mut stream, "\r\n\r\n").await;
    answer.starts_with("HTTP/1.1 100 ").then_some(stream)
}

/// Asserts that a request was ended because another body took its slot.
async fn made_room(mut stream: TcpStream) {
    let answer = rest(&mut stream).await;
    assert_eq!(problem_of(&answer), (503, "temporarily_unavailable".to_owned()), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
}

#[tokio::test]
async fn f06_with_all_slots_for_waiting_bodies_taken_the_longest_waiting_one_makes_room() {
    let long = Duration::from_mins(1);
    let body = BodyLimits { within: long, ..BodyLimits::default() };
    let patient = Limits { headers_within: long, idle_within: long, body, ..limits() };
    let server = Server::start(Limits { connections: 16, ..patient }).await;
    let mut held = std::collections::VecDeque::new();
    for _ in 0..8 {
        held.push_back(waiting(&server).await.expect("half of the connections"));
    }
    // One that asks first, and one whose body is just late.
    held.push_back(waiting(&server).await.expect("a slot of another"));
    made_room(held.pop_front().unwrap()).await;
    let mut late = server.open().await;
    late.write_all(format!("{POST_JSON}\r\n{{").as_bytes()).await.unwrap();
    made_room(held.pop_front().unwrap()).await;
    late.write_all(b"}").await.unwrap();
    let answer = until_contains(&mut late, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    held.push_back(waiting(&server).await.expect("the slot of a body that ended"));
    // Who sends all at once needs nobody's slot.
    let mut stream = server.open().await;
    for _ in 0..2 {
        stream.write_all(format!("{POST_JSON}\r\n{{}}").as_bytes()).await.unwrap();
        let answer = until_contains(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // In several pieces, all of which are there.
    let chunked = POST_JSON.replace("Content-Length: 2", "Transfer-Encoding: chunked");
    let answer = server.exchange(format!("{chunked}\r\n2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(held.len(), 8);
    for mut stream in held {
        stream.write_all(b"{}").await.unwrap();
        let answer = until_contains(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn bodies_above_the_limit_are_413_in_one_piece_or_in_chunks() {
    let server = Server::start(limits()).await;
    let head =
        "POST /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let whole = format!("{head}Content-Length: 20000\r\n\r\n{}", "x".repeat(20_000));
    let answer = server.exchange(whole.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"),
        "{answer}"
    );

    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    chunked.push_str(&chunk.repeat(20));
    chunked.push_str("0\r\n\r\n");
    let answer = server.exchange(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // A client that sends `Expect` is refused before it sends the body.
    let expecting = format!("{head}Expect: 100-continue\r\nContent-Length: 20000\r\n\r\n");
    let answer = server.exchange(expecting.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// The answer's status and code. Its body must be a problem, and its head must have the headers of every answer.
fn problem_of(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    for line in [
        "content-type: application/problem+json",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "connection: close",
        &format!("content-length: {}", body.len()),
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    let status = problem["status"].as_u64().unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    (u16::try_from(status).unwrap(), problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn p8_headers_above_the_limit_are_refused_with_a_problem() {
    let server = Server::start(limits()).await;
    let long = |bytes| {
        format!(
            "GET /me HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
            "y".repeat(bytes)
        )
    };
    let around = long(0).len();
    assert!(server.exchange(long(16 * 1024 - around).as_bytes()).await.ends_with("\r\n\r\nme"));
    let many = format!("GET /me HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    for head in [long(16 * 1024 + 1 - around), long(100_000), many, path] {
        let answer = server.exchange(head.as_bytes()).await;
        assert_eq!(problem_of(&answer), (431, "payload_too_large".to_owned()), "{answer}");
        assert!(answer.contains("at most 16 KiB"), "{answer}");
    }
}

#[tokio::test]
async fn p8_input_that_is_not_http_gets_a_problem_and_breaks_nothing() {
    let server = Server::start(limits()).await;
    for bytes in [
        &b"hello\r\n\r\n"[..],
        b"GET /me HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /me HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET /me HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = server.exchange(bytes).await;
        let refused = answer.is_empty() || problem_of(&answer) == (400, "invalid_request".into());
        assert!(refused, "{answer}");
    }
    assert_eq!(problem_of(&server.exchange(b"hello\r\n\r\n").await).0, 400);
    let mut stream = server.open().await;
    stream.write_all(GET_ME).await.unwrap();
    until_contains(&mut stream, "\r\n\r\nme").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    let server = Server::start(Limits { connections: 1, ..limits() }).await;
    let mut greedy = server.open().await;
    greedy.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // It never reads. The one slot is free again once it is cut.
    let mut next = server.open().await;
    next.write_all(GET_ME).await.unwrap();
    timeout(Duration::from_secs(5), until_contains(&mut next, "\r\n\r\nme"))
        .await
        .expect("the stalled connection was cut");
    drop(greedy);
}

#[tokio::test]
async fn p12_a_stop_finishes_requests_in_progress_and_accepts_no_new_ones() {
    let server = Server::start(Limits { idle_within: Duration::from_mins(1), ..limits() }).await;
    let mut idle = server.open().await;
    idle.write_all(GET_ME).await.unwrap();
    until_contains(&mut idle, "\r\n\r\nme").await;
    let mut busy = server.open().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "an idle connection ends");
    assert!(rest(&mut busy).await.ends_with("late"), "a request in progress is answered");
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.at).await.is_err(), "the port is closed");
}

/// Its answer tells the client to send the next one elsewhere.
async fn is_served_last(stream: &mut TcpStream) {
    let answer = rest(stream).await.to_lowercase();
    assert!(answer.ends_with("\r\n\r\nme") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn p12_a_request_on_its_way_at_the_stop_is_served_and_the_last_of_its_connection() {
    let long = Duration::from_mins(1);
    let patient = Limits { late_within: long, idle_within: long, drain_within: long, ..limits() };
    let server = Server::start(Limits { headers_within: long, ..patient }).await;
    let mut used = server.open().await;
    used.write_all(GET_ME).await.unwrap();
    until_contains(&mut used, "\r\n\r\nme").await;
    let mut fresh = server.open().await;
    // The accept loop has seen `fresh` once it has served a later one.
    let mut later = server.open().await;
    later.write_all(GET_ME).await.unwrap();
    until_contains(&mut later, "\r\n\r\nme").await;
    drop(later);
    server.stop.cancel();
    while TcpStream::connect(server.at).await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    for stream in [&mut used, &mut fresh] {
        stream.write_all(GET_ME).await.unwrap();
        is_served_last(stream).await;
    }
    timeout(Duration::from_secs(10), server.task).await.expect("nothing is left").unwrap();
}

#[tokio::test]
async fn p12_a_connection_that_waits_to_be_accepted_at_the_stop_is_served() {
    let server = Server::start(limits()).await;
    // Blocks this thread, which is the only one: the server cannot accept it before the stop.
    let mut waiting = std::net::TcpStream::connect(server.at).unwrap();
    io::Write::write_all(&mut waiting, GET_ME).unwrap();
    server.stop.cancel();
    waiting.set_nonblocking(true).unwrap();
    is_served_last(&mut TcpStream::from_std(waiting).unwrap()).await;
    server.task.await.unwrap();
}

#[tokio::test]
async fn p12_a_stop_does_not_wait_for_an_endless_request() {
    let server =
        Server::start(Limits { drain_within: Duration::from_millis(200), ..limits() }).await;
    let mut busy = server.open().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    server.stop.cancel();
    server.task.await.unwrap();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(190) && took < Duration::from_millis(480), "{took:?}");
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered() {
    let server = Arc::new(Server::start(limits()).await);
    let answered = Arc::new(AtomicUsize::new(0));
    let clients = (0..100).map(|_| {
        let (server, answered) = (server.clone(), answered.clone());
        async move {
            let mut stream = server.open().await;
            stream.write_all(GET_ME).await.unwrap();
            until_contains(&mut stream, "\r\n\r\nme").await;
            answered.fetch_add(1, Ordering::SeqCst);
        }
    });
    join_all(clients).await;
    assert_eq!(answered.load(Ordering::SeqCst), 100);
}
