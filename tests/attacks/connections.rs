//! What clients may hold: connections, unfinished heads, descriptors, event streams.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::streams::Stream;
use super::system;
use testkit::folder::Folder;
use testkit::http::{Api, new_phone, status_of};
use testkit::process::{Binary, Process};
use testkit::system::Side;
use testkit::{PATIENCE, both_sides, eventually};

both_sides!(
    f06_three_thousand_unfinished_heads_cost_little_and_keep_nobody_waiting,
    f06_one_client_with_all_the_sockets_it_can_have_shuts_nobody_out,
    f06_an_address_holds_its_share_of_connections_and_a_trusted_proxy_any_number,
    f06_bodies_that_never_end_shut_nobody_out,
    f02_a_clients_event_streams_are_limited_whatever_the_connection,
);

/// Less than the time that a head has.
const HEAD_WITHIN: Duration = Duration::from_secs(8);

const KEYS: &str = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n";

/// The gateway asks for a body: it has a slot then.
const CONTINUE: &str = "HTTP/1.1 100 ";

const REFUSED: &str = "HTTP/1.1 503 ";

const OTP: &str = "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// Connects from this address of the loopback network; nobody answers a refused connection.
async fn connect(from: &str, api: &Api) -> TcpStream {
    let to: SocketAddr = api.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends these bytes and returns the beginning of the answer; empty if the connection is closed instead.
async fn exchange(stream: &mut TcpStream, bytes: &str) -> String {
    // The server may have closed already.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut piece = [0; 4096];
    let answer = timeout(PATIENCE, stream.read(&mut piece)).await.expect("an answer or an end");
    String::from_utf8_lossy(&piece[..answer.unwrap_or(0)]).into_owned()
}

/// How many of these are served by a gateway that this client connects to once for each.
async fn served(from: &str, api: &Api, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, api).await;
        if exchange(&mut stream, &format!("{KEYS}\r\n")).await.starts_with("HTTP/1.1 200 ") {
            open.push(stream);
        }
    }
    open
}

/// 3,000, or a quarter of what one process may open: the server is a process with the same limit.
fn sockets() -> usize {
    service::open_files::raise();
    (service::open_files::limit() / 4).min(3_000)
}

/// How many of these event streams are open. They keep their connections busy.
async fn streaming(from: &str, api: &Api, request: &str, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, api).await;
        let events = format!("GET /v1/otp/{request}/events HTTP/1.1\r\nHost: x\r\n\r\n");
        if exchange(&mut stream, &events).await.starts_with("HTTP/1.1 200 ") {
            open.push(stream);
        }
    }
    open
}

/// The most memory that a process has used, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

async fn f06_three_thousand_unfinished_heads_cost_little_and_keep_nobody_waiting(side: Side) {
    let (attacked, elsewhere) =
        (system(side, &[("LATCHKEY_CONNECTIONS_PER_IP", "100")]).await, system(side, &[]).await);
    let (api, unattacked) = (attacked.api(), elsewhere.api());
    api.otp(&new_phone()).await.expect(202);
    let before = peak_memory(&attacked.processes[0]);
    // Nearly a whole head, from sixty networks, each with half of what one address may hold.
    let head = format!("{KEYS}X: {}", "y".repeat(16 * 1024 - KEYS.len() - 3 - 1));
    let from = |n: usize| format!("127.0.{}.1", 1 + n / 50);
    // Also where it is not the first one of its connection. Those connections are made before: a head has 10 s, in which
    // nothing is waited for.
    let mut used = Vec::new();
    for n in (0..sockets()).step_by(4) {
        used.extend(served(&from(n), &api, 1).await);
    }
    let (mut held, mut used) = (Vec::new(), used.into_iter());
    let begun = Instant::now();
    for n in 0..sockets() {
        // All are held at once: on a slow machine there are fewer.
        if begun.elapsed() > HEAD_WITHIN {
            break;
        }
        let reused = if n % 4 == 0 { used.next() } else { None };
        let mut stream = match reused {
            Some(stream) => stream,
            None => connect(&from(n), &api).await,
        };
        // Those that idled for too long are closed.
        if stream.write_all(head.as_bytes()).await.is_ok() {
            held.push(stream);
        }
    }
    let is_open = |stream: &&TcpStream| matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    let count = held.iter().filter(is_open).count();
    for _ in 0..5 {
        let phone = new_phone();
        api.in_time_beside(&unattacked, "meanwhile", api.otp(&phone)).await.expect(202);
    }
    let peak = peak_memory(&attacked.processes[0]);
    assert!(peak < 256 << 20, "{} MiB", peak >> 20);
    assert!(count >= 500, "only {count} unfinished heads at once: allow more open files, or time");
    let each = peak.saturating_sub(before) / count;
    println!("{each} bytes for each of {count} unfinished heads");
    assert!(each <= 24 * 1024, "{each} bytes for each unfinished head");
    // None of them is answered; all are cut.
    for mut stream in held {
        let ended = timeout(PATIENCE, stream.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "an unfinished head is still held");
    }
}

async fn f06_one_client_with_all_the_sockets_it_can_have_shuts_nobody_out(side: Side) {
    let system = system(side, &[("LATCHKEY_CONNECTIONS_PER_IP", "100")]).await;
    let (home, mut env) = (Folder::new("few-descriptors"), system.env.clone());
    env.insert("LATCHKEY_DATA_DIR".to_owned(), home.join("data").display().to_string());
    let binary = if side == Side::Embedded { Binary::Latchkey } else { Binary::Gateway };
    let mut process = Process::start_with_open_files(binary, home.path(), &env, 256);
    process.ready().await;
    let api = Api::new(process.url.as_ref().unwrap());
    // It keeps each connection open after an answer; its next ones beyond its share close the longest idle ones.
    let mut open = Vec::new();
    for mut stream in served("127.0.7.1", &api, 300).await {
        if exchange(&mut stream, &format!("{KEYS}\r\n")).await.starts_with("HTTP/1.1 200 ") {
            open.push(stream);
        }
    }
    assert!((30..=100).contains(&open.len()), "{}", open.len());
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connect("127.0.7.1", &api).await);
    }
    for n in 0..20 {
        assert_eq!(served(&format!("127.0.8.{n}"), &api, 1).await.len(), 1, "another client");
        assert_eq!(status_of(&format!("{}/readyz", process.ops_url)).await, Some(200));
    }
    let body = json!({ "phone_number": new_phone() }).to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(&mut connect("127.0.9.1", &api).await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    drop((open, silent));
    let output = process.server.output();
    assert!(!output.contains("Too many open files"), "{output}");
}

async fn f06_an_address_holds_its_share_of_connections_and_a_trusted_proxy_any_number(side: Side) {
    let proxy = ("LATCHKEY_TRUSTED_PROXIES", "127.0.2.1/32");
    let system = system(side, &[("LATCHKEY_CONNECTIONS_PER_IP", "5"), proxy]).await;
    let api = system.api();
    let request = api.otp(&new_phone()).await.expect(202).text("request_id");
    let mut open = streaming("127.0.1.1", &api, &request, 8).await;
    assert_eq!(open.len(), 5, "busy connections");
    // Idle ones make room for the address's next.
    let mut idle = Vec::new();
    eventually(
        "the eighth answer, also where a connection counts as idle late",
        PATIENCE,
        async || {
            idle.extend(served("127.0.4.1", &api, 1).await);
            (idle.len() == 8).then_some(())
        },
    )
    .await;
    assert_eq!(served("127.0.3.1", &api, 1).await.len(), 1, "another address");
    assert_eq!(served("127.0.2.1", &api, 20).await.len(), 20, "the proxy");
    open.pop();
    eventually("a slot of a connection that was closed", PATIENCE, async || {
        (served("127.0.1.1", &api, 1).await.len() == 1).then_some(())
    })
    .await;
}

/// What is answered until the connection is closed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end").unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends the head of a code request whose body of this length is still to come, by a client that a proxy may name.
async fn asked(from: &str, client: Option<&str>, api: &Api, length: usize) -> TcpStream {
    let named = client.map(|client| format!("X-Forwarded-For: {client}\r\n")).unwrap_or_default();
    let head = format!("{OTP}{named}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = connect(from, api).await;
    // Its answer tells whether the server has closed already.
    let _ = stream.write_all(head.as_bytes()).await;
    stream
}

/// Whether a client like this has its share of four bodies, and no fifth. All are sent at once: a body has 10 s.
async fn has_four(from: &str, client: Option<&str>, api: &Api, length: usize) -> bool {
    let mut all = join_all((0..5).map(|_| asked(from, client, api, length))).await;
    let answers = join_all(all.iter_mut().map(|stream| exchange(stream, ""))).await;
    let mut refused = Vec::new();
    for (stream, mut answer) in all.iter_mut().zip(answers) {
        if !answer.starts_with(CONTINUE) {
            answer.push_str(&rest(stream).await);
            refused.push(answer.to_lowercase());
        }
    }
    let [answer] = &*refused else { return false };
    // A head that was late has no answer.
    if answer.is_empty() {
        return false;
    }
    for part in ["http/1.1 503 ", "retry-after: ", "connection: close", "temporarily_unavailable"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    true
}

async fn f06_bodies_that_never_end_shut_nobody_out(side: Side) {
    let proxy = ("LATCHKEY_TRUSTED_PROXIES", "127.0.2.1/32");
    let system = system(side, &[("LATCHKEY_CONNECTIONS_PER_IP", "100"), proxy]).await;
    let (home, mut env) = (Folder::new("few-bodies"), system.env.clone());
    env.insert("LATCHKEY_DATA_DIR".to_owned(), home.join("data").display().to_string());
    let binary = if side == Side::Embedded { Binary::Latchkey } else { Binary::Gateway };
    // 128 connections, and so 64 waiting bodies: 4 of an address.
    let mut process = Process::start_with_open_files(binary, home.path(), &env, 256);
    process.ready().await;
    let api = Api::new(process.url.as_ref().unwrap());
    let new_body = || json!({ "phone_number": new_phone() }).to_string();
    let length = new_body().len();
    // Directly, and behind the proxy, whose own connections count for nobody. A machine that stands still for the 10 s
    // of a head or a body gets another round, here and below.
    for (from, client) in [("127.0.7.1", None), ("127.0.2.1", Some("198.51.100.1"))] {
        eventually("four waiting bodies of an address, and no fifth", PATIENCE, async || {
            has_four(from, client, &api, length).await.then_some(())
        })
        .await;
    }
    eventually("a late body that is served while strangers hold all slots", PATIENCE, async || {
        // From twenty networks, each with its share: those that have waited longest make room.
        let from = |n: usize| format!("127.0.{}.1", 10 + n / 4);
        let mut held =
            join_all((0..80).map(async |n| asked(&from(n), None, &api, length).await)).await;
        let begun = join_all(held.iter_mut().map(|stream| exchange(stream, ""))).await;
        let mut late = asked("127.0.9.1", None, &api, length).await;
        let asks = exchange(&mut late, "").await;
        let answer = exchange(&mut late, &new_body()).await;
        let ends = join_all(held.iter_mut().map(rest)).await;
        let mut made_room = 0;
        for (begun, end) in begun.iter().zip(ends) {
            let told = format!("{begun}{end}");
            made_room += usize::from(told.contains("temporarily_unavailable"));
            assert!(!told.starts_with(REFUSED), "a newcomer has a slot: {told}");
        }
        assert!(!asks.starts_with(REFUSED), "the last newcomer has a slot: {asks}");
        // Of 81 bodies 64 are waited for. A slow machine sees some of the first ones end before the last begin.
        (made_room > 0 && answer.starts_with("HTTP/1.1 202 ")).then_some(())
    })
    .await;
    let body = new_body();
    let whole = format!("{OTP}Content-Length: {length}\r\n\r\n{body}");
    let answer = exchange(&mut connect("127.0.9.1", &api).await, &whole).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let refused = "latchkey_bodies_refused_total ";
    let metrics = Api::new(&process.ops_url).get("/metrics").await.expect(200);
    let metrics = metrics.body.as_str().unwrap().to_owned();
    let count = metrics.lines().find_map(|line| line.strip_prefix(refused)).unwrap();
    assert!(count.parse::<usize>().unwrap() > 2, "{count}");
    let output = process.server.output();
    assert!(output.contains("a body is not waited for"), "{output}");
    assert!(output.contains("127.0.7.0") && !output.contains("127.0.7.1"), "{output}");
}

async fn f02_a_clients_event_streams_are_limited_whatever_the_connection(side: Side) {
    let proxy = ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32");
    let system = system(side, &[proxy]).await;
    let api = system.api();
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(api.otp(&new_phone()).await.expect(202).text("request_id"));
    }
    let forwarded = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let open = async |request: &str, client: &str| {
        Stream::open_with(&api.url, request, &forwarded(client)).await
    };
    let mut held = Vec::new();
    for n in 0..20 {
        let stream = open(&requests[n / 7], "2001:db8:1:2::1").await;
        assert_eq!(stream.status(), 200, "{n}");
        held.push(stream);
    }
    let last = &requests[3];
    for same in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "198.51.100.9, 2001:db8:1:2::1"] {
        let refused = Stream::open_once(&api.url, last, &forwarded(same)).await;
        assert_eq!(refused.status(), 503, "{same}");
        assert!(refused.text.contains("retry-after: "), "{}", refused.text);
    }
    assert_eq!(open(last, "2001:db8:1:3::1").await.status(), 200, "another client");
    held.pop();
    eventually("the slot of a stream that ended", PATIENCE, async || {
        (open(last, "2001:db8:1:2::1").await.status() == 200).then_some(())
    })
    .await;
}
