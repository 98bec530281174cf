//! Malformed and hostile bytes on the socket.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::system;
use testkit::http::{Api, new_phone};
use testkit::system::Side;
use testkit::{PATIENCE, both_sides};

both_sides!(
    odd_bodies_are_answered_with_problems,
    odd_requests_are_answered_with_problems,
    odd_ids_in_paths_are_not_found,
    slow_clients_are_disconnected_and_delay_nobody,
    every_answer_carries_the_security_headers,
    f20_a_head_that_a_proxy_may_read_otherwise_is_refused,
    f21_an_answer_is_not_much_longer_than_its_request,
);

/// Sends these bytes; returns everything received in time, and whether the connection was closed.
async fn raw(api: &Api, bytes: &[u8]) -> (String, bool) {
    let mut socket = TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
    // A refusal may arrive before everything is written.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut closed = false;
    loop {
        let mut piece = [0; 8192];
        // The first bytes may take long on a busy machine. After them, a server that keeps the connection open has sent
        // the rest by then.
        let wait = if answer.is_empty() { PATIENCE } else { Duration::from_millis(1500) };
        match timeout(wait, socket.read(&mut piece)).await {
            Ok(Ok(length @ 1..)) => answer.extend_from_slice(&piece[..length]),
            Ok(_) => {
                closed = true;
                break;
            }
            Err(_) => break,
        }
        if answer.ends_with(b"}") {
            break;
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), closed)
}

/// How many bytes of a gigabyte in chunks the server accepts before it ends the connection.
async fn taken_of_a_gigabyte(api: &Api, head: &str, chunk: &str) -> usize {
    let mut socket = TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut taken = 0;
    while taken < 1 << 30 {
        // The write stalls when the server stops reading, and fails when the server closes.
        match timeout(Duration::from_secs(10), socket.write_all(chunk.as_bytes())).await {
            Ok(Ok(())) => taken += chunk.len(),
            _ => break,
        }
    }
    taken
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn is(answer: &(String, bool), status: u16, code: &str, what: &str) {
    let (text, _) = answer;
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {text}");
    assert!(text.contains("application/problem+json"), "{what}: {text}");
    assert!(text.contains(&format!("\"code\":\"{code}\"")), "{what}: {text}");
}

async fn odd_bodies_are_answered_with_problems(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    let mut deep = "[".repeat(100_000);
    deep.push_str(&"]".repeat(100_000));
    let shallow = format!("{{\"phone_number\":{}{}}}", "[".repeat(17), "]".repeat(17));
    let long = format!("{{\"phone_number\":\"{}\"}}", "1".repeat(17_000));
    for (what, body, status, code) in [
        (
            "duplicate keys",
            format!("{{\"phone_number\":\"{phone}\",\"phone_number\":\"{phone}\"}}"),
            400,
            "invalid_request",
        ),
        (
            "unknown field",
            format!("{{\"phone_number\":\"{phone}\",\"x\":1}}"),
            400,
            "invalid_request",
        ),
        ("lone surrogate", "{\"phone_number\":\"\\ud800\"}".to_owned(), 400, "invalid_request"),
        (
            "byte order mark",
            format!("\u{feff}{{\"phone_number\":\"{phone}\"}}"),
            400,
            "invalid_request",
        ),
        ("1e400", "{\"phone_number\":1e400}".to_owned(), 400, "invalid_request"),
        ("depth 18", shallow, 400, "invalid_request"),
        // As deep as the size limit allows, and never closed.
        ("depth 16,000", "[".repeat(16_000), 400, "invalid_request"),
        ("depth 100,000", deep, 413, "payload_too_large"),
        ("17 kB", long, 413, "payload_too_large"),
        ("two documents", format!("{{\"phone_number\":\"{phone}\"}}{{}}"), 400, "invalid_request"),
        ("an array", "[]".to_owned(), 400, "invalid_request"),
        ("nothing", String::new(), 400, "invalid_request"),
        ("NaN", "{\"phone_number\":NaN}".to_owned(), 400, "invalid_request"),
    ] {
        is(&raw(&api, &post("/v1/otp", "", body.as_bytes())).await, status, code, what);
    }
    is(
        &raw(&api, &post("/v1/otp", "", b"{\"phone_number\":\"\xff\xfe\"}")).await,
        400,
        "invalid_request",
        "no UTF-8",
    );
    let good = format!("{{\"phone_number\":\"{phone}\"}}");
    for (encoding, bytes) in
        [("gzip", &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]), ("identity", good.as_bytes())]
    {
        let header = format!("Content-Encoding: {encoding}\r\n");
        is(
            &raw(&api, &post("/v1/otp", &header, bytes)).await,
            415,
            "unsupported_media_type",
            encoding,
        );
    }
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "multipart/form-data",
    ] {
        let request = post("/v1/otp", "", good.as_bytes());
        let request = String::from_utf8(request).unwrap().replace("application/json", media);
        is(&raw(&api, request.as_bytes()).await, 415, "unsupported_media_type", media);
    }
    let untyped = String::from_utf8(post("/v1/otp", "", good.as_bytes())).unwrap();
    let untyped = untyped.replace("Content-Type: application/json\r\n", "");
    is(&raw(&api, untyped.as_bytes()).await, 415, "unsupported_media_type", "no media type");
    // A gigabyte in chunks is cut off at the limit.
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let head = "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = [head, &chunk.repeat(20)].concat();
    is(&raw(&api, request.as_bytes()).await, 413, "payload_too_large", "chunks without end");
    let taken = taken_of_a_gigabyte(&api, head, &chunk).await;
    assert!(taken < 64 << 20, "{taken} bytes of a gigabyte were accepted");
}

async fn odd_requests_are_answered_with_problems(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let body = format!("{{\"phone_number\":\"{}\"}}", new_phone());
    let both = format!(
        "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
        body.len()
    );
    let answer = raw(&api, both.as_bytes()).await;
    assert!(answer.0.starts_with("HTTP/1.1 400 "), "{}", answer.0);
    assert_eq!(answer.0.matches("HTTP/1.1").count(), 1, "a request was smuggled: {}", answer.0);
    let twice = format!(
        "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n{body}"
    );
    assert!(raw(&api, twice.as_bytes()).await.0.starts_with("HTTP/1.1 400 "));
    for method in ["TRACE", "GET", "BREW", "CONNECT"] {
        let answer =
            raw(&api, format!("{method} /v1/otp HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let status = answer.0.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "404", "405"].contains(&status), "{method}: {}", answer.0);
        if status == "405" {
            assert!(answer.0.to_lowercase().contains("\r\nallow: "), "{}", answer.0);
        }
    }
    let huge = |name: &str, bytes: usize| {
        format!("GET /v1/me HTTP/1.1\r\nHost: x\r\n{name}{}\r\n\r\n", "a".repeat(bytes))
    };
    for name in ["X-Big: ", "Authorization: Bearer "] {
        let answer = raw(&api, huge(name, 100 * 1024).as_bytes()).await;
        is(&answer, 431, "payload_too_large", name);
    }
    let answer = raw(&api, huge("Authorization: Bearer ", 15 * 1024).as_bytes()).await;
    is(&answer, 401, "token_not_valid", "a token of 15 KiB");
    for path in [
        "//",
        "/..;/console",
        "/v1/..;/me",
        "/%2e%2e/console",
        "/v1//otp",
        "/%2Fconsole",
        "/console%2f..",
        "/v1/otp%00",
    ] {
        let answer = raw(&api, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        is(&answer, 404, "not_found", path);
    }
    // A request id that would break a log line or a header, or is too long, is replaced.
    for id in ["a\tb", "x y", "\u{7f}", &"a".repeat(5000), "%0d%0aSet-Cookie:x=1", ""] {
        let request = format!("GET /v1/me HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n\r\n");
        let answer = raw(&api, request.as_bytes()).await.0.to_lowercase();
        if let Some(given) = answer.split("x-request-id: ").nth(1) {
            let given = given.lines().next().unwrap();
            assert!(
                given.len() == 36 && given.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'),
                "{given}"
            );
        } else {
            assert!(answer.starts_with("http/1.1 400"), "{answer}");
        }
    }
    let nobody = api
        .post_with("/v1/otp", json!({ "phone_number": new_phone() }), &[("origin", "null")])
        .await;
    assert!(nobody.header("access-control-allow-origin").is_none());
    for key in ["", "x y", &"k".repeat(65), "é"] {
        let Ok(value) = reqwest::header::HeaderValue::from_bytes(key.as_bytes()) else { continue };
        let headers = [("idempotency-key", value.to_str().unwrap_or("\u{1}"))];
        if headers[0].1 == "\u{1}" {
            continue;
        }
        let answer =
            api.post_with("/v1/otp", json!({ "phone_number": new_phone() }), &headers).await;
        answer.problem(400, "invalid_request");
    }
}

async fn odd_ids_in_paths_are_not_found(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    for id in ["x", "%ff", "%00", "018f4e7a-0000-7000-8000-000000000000", "..%2f", "1' OR '1'='1"] {
        let id = id.replace(' ', "%20").replace('\'', "%27");
        for path in [format!("/v1/otp/{id}"), format!("/v1/otp/{id}/events")] {
            api.get(&path).await.problem(404, "not_found");
        }
        let answer = raw(
            &api,
            format!(
                "POST /webhooks/twilio/status/{id} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
        is(&answer, 403, "invalid_signature", &id);
    }
    let access = api.sign_in(&new_phone()).await["access"].as_str().unwrap().to_owned();
    for id in ["x", "%ff", "018f4e7a-0000-7000-8000-000000000000"] {
        let path = format!("/v1/me/sessions/{id}");
        api.signed_in(reqwest::Method::DELETE, &path, &access, None)
            .await
            .problem(404, "not_found");
    }
    api.get("/inbox/messages?phone_number=%2B1&phone_number=%2B2")
        .await
        .problem(400, "invalid_request");
}

/// 2,000, or a quarter of what one process may open: the server is a process with the same limit.
fn idle_sockets() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    (soft / 4).min(2_000)
}

async fn slow_clients_are_disconnected_and_delay_nobody(side: Side) {
    let (attacked, elsewhere) = (system(side, &[]).await, system(side, &[]).await);
    let api = attacked.api();
    let unattacked = elsewhere.api();
    let address = api.url.trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..idle_sockets() {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let drips = |first: &'static str, drop: &'static str| {
        let address = address.clone();
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(&address).await.unwrap();
            socket.write_all(first.as_bytes()).await.unwrap();
            let started = Instant::now();
            let mut answer = String::new();
            let mut piece = [0; 4096];
            loop {
                match timeout(Duration::from_millis(500), socket.read(&mut piece)).await {
                    Ok(Ok(length @ 1..)) => {
                        answer.push_str(&String::from_utf8_lossy(&piece[..length]));
                    }
                    Ok(_) => break,
                    Err(_) => {
                        if socket.write_all(drop.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                }
                if started.elapsed() > Duration::from_secs(30) || answer.contains("too_slow") {
                    break;
                }
            }
            (answer, started.elapsed())
        })
    };
    let header = drips("GET /v1/me HTTP/1.1\r\nHost: x\r\n", "X: y\r\n");
    let body = drips(
        "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        " ",
    );
    // Meanwhile other clients are served as usual.
    for _ in 0..20 {
        let phone = new_phone();
        let request = api.in_time_beside(&unattacked, "meanwhile", api.otp(&phone));
        request.await.expect(202);
    }
    // The limit is 10 s. Without one they would drip until 30 s.
    let (answer, took) = header.await.unwrap();
    assert!(took < Duration::from_secs(25), "a dripping head: {took:?} {answer}");
    let (answer, took) = body.await.unwrap();
    assert!(took < Duration::from_secs(25), "a dripping body: {took:?}");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("too_slow"), "{answer}");
    // Silent sockets are closed by now.
    for mut socket in idle {
        let ended = timeout(PATIENCE, socket.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "a silent socket is still open");
    }
}

async fn every_answer_carries_the_security_headers(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let phone = new_phone();
    for answer in [
        api.otp(&phone).await,
        api.otp("x").await,
        api.login(&phone, "000000").await,
        api.get("/v1/me").await,
        api.get("/nothing").await,
        api.get("/v1/login").await,
    ] {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", answer.body);
        }
        assert!(answer.header("x-request-id").is_some());
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
    }
}

async fn f20_a_head_that_a_proxy_may_read_otherwise_is_refused(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    for head in [
        "GET /v1/me HTTP/1.1\nHost: x\n\n",
        "GET /v1/me HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nHost: a b@c/\r\n\r\n",
        // The second of two requests sent at once is judged like the first.
        "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/me HTTP/1.1\r\n\r\n",
    ] {
        let (answer, closed) = raw_to_the_end(&api, head.as_bytes()).await;
        let refusal = answer.rfind("HTTP/1.1 ").map(|at| answer[at..].to_owned());
        is(&(refusal.unwrap_or_default(), closed), 400, "invalid_request", head);
        assert!(closed, "{head:?} leaves the connection open");
    }
}

/// Sends these bytes; returns everything received, and whether the connection was closed.
async fn raw_to_the_end(api: &Api, bytes: &[u8]) -> (String, bool) {
    let mut socket = TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    (String::from_utf8_lossy(&answer).into_owned(), ended.is_ok())
}

async fn f21_an_answer_is_not_much_longer_than_its_request(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let fields = (0..1_500).map(|n| (format!("f{n}"), json!(0)));
    let body = serde_json::Value::Object(fields.collect());
    let answer = api.post("/v1/otp", body).await;
    let length = answer.body.to_string().len();
    let refused = answer.problem(400, "invalid_request");
    assert_eq!(refused["errors"].as_array().unwrap().len(), 20);
    assert!(refused["detail"].as_str().unwrap().contains("more errors"), "{}", refused["detail"]);
    assert!(length < 4_000, "{length} bytes");
}
