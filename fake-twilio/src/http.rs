//! The server: handwritten HTTP/1.1, because a fake must be able to cut connections where no framework allows it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Act, Call, Fake, Script, lock};

/// More than any sender's request.
const MOST_BYTES: usize = 64 * 1024;

pub(crate) struct Request {
    method: String,
    path: String,
    /// The request line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// Status, `Retry-After`, body.
type Answer = (u16, Option<u32>, Value);

pub(crate) async fn serve(fake: Fake, listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (fake, tls) = (fake.clone(), tls.clone());
        tokio::spawn(async move {
            // A client that disconnects is ignored.
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(connection(&fake, stream).await);
                    }
                }
                None => drop(connection(&fake, stream).await),
            }
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    fake: &Fake,
    mut stream: S,
) -> std::io::Result<()> {
    let Some(request) = read(&mut stream).await? else { return Ok(()) };
    let answer = if let Some(path) = request.path.strip_prefix("/fake/") {
        Some(control(fake, path, &request))
    } else {
        return twilio(fake, &mut stream, &request).await;
    };
    answer_with(&mut stream, answer.unwrap_or((404, None, Value::Null))).await
}

pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let wanted = end + 4 + length.unwrap_or(0);
            if bytes.len() >= wanted {
                let mut words = head.split_whitespace().map(str::to_owned);
                let (method, path) =
                    (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let body = bytes[end + 4..wanted].to_vec();
                return Ok(Some(Request { method, path, head, body }));
            }
        }
        let read = stream.read(&mut chunk).await?;
        if read == 0 || bytes.len() > MOST_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// Handles `GET /fake/calls`, `POST /fake/scripts` `{"+98": {…}}` and `POST /fake/release`.
fn control(fake: &Fake, path: &str, request: &Request) -> Answer {
    match (request.method.as_str(), path) {
        ("GET", "calls") => (200, None, json!(fake.calls())),
        ("POST", "release") => {
            fake.release();
            (200, None, Value::Null)
        }
        ("POST", "scripts") => {
            match serde_json::from_slice::<BTreeMap<String, Script>>(&request.body) {
                Ok(scripts) => {
                    for (prefix, script) in scripts {
                        fake.script(&prefix, script);
                    }
                    (200, None, Value::Null)
                }
                Err(error) => (400, None, json!({ "message": error.to_string() })),
            }
        }
        _ => (404, None, Value::Null),
    }
}

async fn twilio<S: AsyncRead + AsyncWrite + Unpin>(
    fake: &Fake,
    stream: &mut S,
    request: &Request,
) -> std::io::Result<()> {
    let root = format!("/2010-04-01/Accounts/{}/", fake.account.sid);
    let Some(resource) = request.path.strip_prefix(&root) else {
        return answer_with(stream, error(404, 20404)).await;
    };
    let voice = match (request.method.as_str(), resource) {
        ("POST", "Messages.json") => false,
        ("POST", "Calls.json") => true,
        _ => return answer_with(stream, one(fake, resource)).await,
    };
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(&request.body).into_owned().collect();
    // Subscribe before the call becomes visible, so that no release of it is missed.
    let mut released = fake.state.released.subscribe();
    let (at, call, script) = record(fake, voice, form);
    let receipts = script.to_post();
    if call.taken && script.early {
        post_all(fake, &call, &receipts).await;
    }
    tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
    let queued = (201, None, resource_of(&call));
    let answer = match call.act {
        Act::Take => queued,
        Act::TakeAndHold => {
            drop(released.changed().await);
            queued
        }
        Act::TakeAndFail(status) => error(status, 20500),
        Act::Refuse { status, code, retry_after } => {
            let (status, _, body) = error(status, code);
            (status, retry_after, body)
        }
        Act::Cut | Act::TakeAndCut => return Ok(()),
        Act::Hang => return std::future::pending().await,
    };
    let written = answer_with(stream, answer).await;
    lock(&fake.state.calls)[at].answered = written.is_ok();
    if call.taken && !script.early {
        let (fake, call) = (fake.clone(), call);
        tokio::spawn(async move { post_all(&fake, &call, &receipts).await });
    }
    written
}

fn record(fake: &Fake, voice: bool, form: BTreeMap<String, String>) -> (usize, Call, Script) {
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let to = field("To");
    let (act, script) = {
        let mut scripts = lock(&fake.state.scripts);
        let prefix = scripts
            .keys()
            .filter(|prefix| to.starts_with(prefix.as_str()))
            .max_by_key(|prefix| prefix.len());
        match prefix.cloned().and_then(|prefix| scripts.get_mut(&prefix)) {
            Some(script) => (script.next(), script.clone()),
            None => (Act::Take, Script::default()),
        }
    };
    let mut calls = lock(&fake.state.calls);
    let call = Call {
        sid: format!("{}{:032x}", if voice { "CA" } else { "SM" }, calls.len() + 1),
        voice,
        from: field("From"),
        to,
        form,
        taken: act.takes(),
        act,
        answered: false,
        at_ms: domain::clock::Clock::system().now_ms(),
    };
    calls.push(call.clone());
    (calls.len() - 1, call, script)
}

async fn post_all(fake: &Fake, call: &Call, states: &[String]) {
    for state in states {
        fake.post(call, state).await;
    }
}

/// Answers a query or a redaction of an earlier text or call.
fn one(fake: &Fake, resource: &str) -> Answer {
    let sid = resource.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    let found = fake.calls().into_iter().find(|call| Some(&*call.sid) == sid && call.taken);
    found.map_or_else(|| error(404, 20404), |call| (200, None, resource_of(&call)))
}

fn resource_of(call: &Call) -> Value {
    json!({
        "sid": call.sid, "status": "queued", "to": call.to, "from": call.from, "num_segments": "1",
        "price": null, "price_unit": null, "error_code": null, "error_message": null,
    })
}

fn error(status: u16, code: u32) -> Answer {
    (status, None, error_body(status, code))
}

pub(crate) fn error_body(status: u16, code: u32) -> Value {
    json!({ "code": code, "message": "by script", "status": status })
}

async fn answer_with<S: AsyncWrite + Unpin>(
    stream: &mut S,
    (status, retry_after, body): Answer,
) -> std::io::Result<()> {
    let wait = retry_after.map_or_else(String::new, |secs| format!("Retry-After: {secs}\r\n"));
    let headers = format!("Content-Type: application/json\r\n{wait}");
    write(stream, status, &headers, &body.to_string()).await
}

/// Writes an answer; each of `headers` ends its line.
pub(crate) async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    headers: &str,
    body: &str,
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await
}
