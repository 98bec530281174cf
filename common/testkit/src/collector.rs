//! A collector of traces: takes spans by OTLP over HTTP, keeps every byte, and reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as Encoded;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How the collector behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Takes all and keeps none, for measurements.
    Forgets,
    /// Answers 400: a retry cannot help.
    Refuses,
    /// Reads and never answers.
    Hangs,
}

/// A running collector; clones share what it has. It ends with its runtime.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    manner: Manner,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of its process.
    pub service: String,
    pub name: String,
    /// `Server`, `Client`, `Producer`, `Consumer` or `Internal`.
    pub kind: String,
    /// Ids in lower-case hex, as in a `traceparent`.
    pub trace: String,
    pub id: String,
    /// Empty: the first of its trace.
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub has_failed: bool,
}

impl Span {
    /// An attribute; empty if it is missing.
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// Serves on a free local port.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let collector = Self { url, manner, bodies: Arc::default() };
        let server = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // A client that disconnects is ignored.
                tokio::spawn(async move { drop(server.serve(stream).await) });
            }
        });
        collector
    }

    /// How many calls arrived.
    pub fn calls(&self) -> usize {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Every byte that arrived.
    pub fn bytes(&self) -> Vec<u8> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    /// Every span that arrived.
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut spans = Vec::new();
        for body in bodies {
            let request =
                ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP as protobuf");
            for of_process in request.resource_spans {
                let resource = of_process.resource.map(|resource| read(resource.attributes));
                let resource = resource.unwrap_or_default();
                for name in ["service.version", "service.instance.id"] {
                    assert!(resource.contains_key(name), "{resource:?} lacks {name}");
                }
                let service = resource["service.name"].clone();
                let encoded = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(encoded.map(|span| of(&service, span)));
            }
        }
        spans
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut read = Vec::new();
        loop {
            let Some((path, body)) = next_request(&mut stream, &mut read).await? else {
                return Ok(());
            };
            assert_eq!(path, "/v1/traces");
            if self.manner != Manner::Forgets {
                self.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
            }
            let status = match self.manner {
                Manner::Takes | Manner::Forgets => "200 OK",
                Manner::Refuses => "400 Bad Request",
                Manner::Hangs => std::future::pending().await,
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Reads one request; `None` at the end of the connection. What follows it stays in `read`.
async fn next_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(end) = read.windows(END.len()).position(|part| part == END) {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
            });
            let length = length.and_then(Result::ok).unwrap_or_default();
            let (from, to) = (end + END.len(), end + END.len() + length);
            if read.len() >= to {
                let body = read[from..to].to_vec();
                read.drain(..to);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                return Ok(Some((path, body)));
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

fn of(service: &str, span: Encoded) -> Span {
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
    assert!(span.events.is_empty(), "log lines are no part of a span: {:?}", span.events);
    let links =
        span.links.iter().map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)));
    Span {
        service: service.to_owned(),
        links: links.collect(),
        kind: format!("{:?}", span.kind()),
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        has_failed: span.status.is_some_and(|status| status.code == 2),
        attributes: read(span.attributes),
        name: span.name,
    }
}

fn read(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("an attribute is a text or a number, not {other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}
