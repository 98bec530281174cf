//! A provider of any kind: one script answers every request, whatever its path, and each request is on record.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::{http, lock};

/// One scripted answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Takes the text and confirms it as Twilio does.
    Take,
    /// Like [`Reply::Take`], after a delay.
    TakeSlowly(Duration),
    /// Status, extra headers, body; the text is not taken.
    Say(u16, &'static str, String),
    /// Like [`Reply::Say`], but the text was taken.
    TakeAndSay(u16, &'static str, String),
    TakeAndCut,
    /// Reads and never answers.
    Hang,
}

impl Reply {
    /// An error in Twilio's form.
    pub fn error(status: u16, code: u32) -> Self {
        Self::Say(status, "", http::error_body(status, code).to_string())
    }

    const fn takes(&self) -> bool {
        !matches!(self, Self::Say(..) | Self::Hang)
    }
}

/// One request on record.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: String,
    /// The text was taken.
    pub taken: bool,
}

impl Received {
    /// Returns a field of the form.
    pub fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// A running provider; clones share it. It ends with its runtime.
#[derive(Clone, Debug)]
pub struct ScriptedProvider {
    pub url: Url,
    calls: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
}

impl ScriptedProvider {
    /// Serves on a free local port. The last reply repeats.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let provider = Self {
            url: format!("http://{}/", listener.local_addr()?).parse()?,
            calls: Arc::default(),
            script: Arc::default(),
        };
        provider.script(script);
        let server = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // A client that disconnects is ignored.
                tokio::spawn(async move { drop(server.serve(stream).await) });
            }
        });
        Ok(provider)
    }

    /// Returns all requests in order of arrival.
    pub fn calls(&self) -> Vec<Received> {
        lock(&self.calls).clone()
    }

    /// Returns the number of texts that were taken.
    pub fn taken(&self) -> usize {
        self.calls().iter().filter(|call| call.taken).count()
    }

    /// Replaces the script.
    pub fn script(&self, script: impl IntoIterator<Item = Reply>) {
        *lock(&self.script) = script.into_iter().collect();
    }

    fn next(&self) -> Reply {
        let mut script = lock(&self.script);
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        next.unwrap_or(Reply::Take)
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(request) = http::read(&mut stream).await? else { return Ok(()) };
        let reply = self.next();
        let number = {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let mut calls = lock(&self.calls);
            calls.push(Received { head: request.head, body, taken: reply.takes() });
            calls.len()
        };
        let queued = format!(
            r#"{{"sid":"SM{number:032x}","status":"queued","num_segments":"1","price":null,"price_unit":null}}"#
        );
        let (status, headers, body) = match reply {
            Reply::Take => (201, "", queued),
            Reply::TakeSlowly(wait) => {
                tokio::time::sleep(wait).await;
                (201, "", queued)
            }
            Reply::Say(status, headers, body) | Reply::TakeAndSay(status, headers, body) => {
                (status, headers, body)
            }
            Reply::TakeAndCut => return Ok(()),
            Reply::Hang => return std::future::pending().await,
        };
        http::write(&mut stream, status, headers, &body).await
    }
}
