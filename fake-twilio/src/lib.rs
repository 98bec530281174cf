//! A Twilio for tests: scripted answers on the paths of its REST API, signed callbacks, and a record of every call.
//!
//! Tests hold a [`Fake`] in their own process. This crate's program serves the same at its own address; its scripts are
//! set and its record is read over HTTP, on paths that Twilio does not have (`/fake/…`). A [`ScriptedProvider`] is no
//! Twilio: it answers anything, also what Twilio never would.

pub mod callback;
mod http;
mod provider;
mod script;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use provider::{Received, Reply, ScriptedProvider};
pub use script::{Act, Script};

/// The account that the fake serves.
#[derive(Clone, Debug)]
pub struct Account {
    pub sid: String,
    /// Signs callbacks, and is the password unless an API key is used.
    pub auth_token: String,
}

/// One request to send something.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    pub sid: String,
    pub voice: bool,
    pub to: String,
    pub from: String,
    /// Every field of the form.
    pub form: BTreeMap<String, String>,
    pub act: Act,
    /// The text was accepted.
    pub taken: bool,
    /// The whole answer was written.
    pub answered: bool,
    pub at_ms: i64,
}

impl Call {
    /// Returns the words to read or to speak.
    pub fn text(&self) -> &str {
        self.form.get("Body").or_else(|| self.form.get("Twiml")).map_or("", String::as_str)
    }

    /// Returns where receipts go, without the fragment that Twilio keeps to itself.
    pub fn callback(&self) -> Option<&str> {
        self.form.get("StatusCallback")?.split('#').next()
    }
}

/// A running fake; clones share it. It ends with its runtime.
#[derive(Clone)]
pub struct Fake {
    pub account: Account,
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    calls: Mutex<Vec<Call>>,
    /// By number prefix; the longest match counts, and the empty prefix matches every number.
    scripts: Mutex<BTreeMap<String, Script>>,
    /// Incremented to release held answers.
    released: watch::Sender<u64>,
    /// Callbacks for the first URL go to the second: a test does not listen at the public address.
    instead: Mutex<Option<(String, String)>>,
    client: reqwest::Client,
}

impl Fake {
    /// Serves on this listener, with TLS if there is an acceptor.
    pub fn serve(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        account: Account,
    ) -> anyhow::Result<Self> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15)).build()?;
        let fake = Self {
            account,
            address: listener.local_addr()?,
            state: Arc::new(State {
                calls: Mutex::default(),
                scripts: Mutex::default(),
                released: watch::Sender::new(0),
                instead: Mutex::default(),
                client,
            }),
        };
        tokio::spawn(http::serve(fake.clone(), listener, tls));
        Ok(fake)
    }

    /// Serves on a free local port, without TLS.
    pub async fn start() -> anyhow::Result<Self> {
        let sid = format!(
            "AC{:016x}{:016x}",
            domain::rng::spread_below(u64::MAX),
            domain::rng::spread_below(u64::MAX)
        );
        let auth_token = format!("{:032x}", domain::rng::spread_below(u64::MAX));
        Self::serve(TcpListener::bind("127.0.0.1:0").await?, None, Account { sid, auth_token })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the script for the numbers of a prefix (`+98912…`; empty: all others).
    pub fn script(&self, prefix: &str, script: Script) {
        lock(&self.state.scripts).insert(prefix.to_owned(), script);
    }

    /// Releases every held answer.
    pub fn release(&self) {
        self.state.released.send_modify(|count| *count += 1);
    }

    /// Posts callbacks for `public` to `real`.
    pub fn post_instead(&self, public: &str, real: &str) {
        *lock(&self.state.instead) = Some((public.to_owned(), real.to_owned()));
    }

    /// Returns all calls in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// Returns the calls to one number.
    pub fn calls_to(&self, phone: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.to == phone).collect()
    }

    /// Posts a receipt signed for this account; returns the status of the answer, if any.
    pub async fn post(&self, call: &Call, state: &str) -> Option<u16> {
        let url = call.callback()?;
        let form = callback::form(&self.account.sid, call, state);
        let signature = callback::sign(&self.account.auth_token, url, &form);
        self.post_form(url, &form, &[("X-Twilio-Signature", &signature)]).await
    }

    /// Posts any form to a callback's address.
    pub async fn post_form(
        &self,
        url: &str,
        form: &[(String, String)],
        headers: &[(&str, &str)],
    ) -> Option<u16> {
        let target = match &*lock(&self.state.instead) {
            Some((public, real)) => url.replacen(public.as_str(), real, 1),
            None => url.to_owned(),
        };
        let mut request = self.state.client.post(target).form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// Builds the form of a receipt, for a test to alter.
    pub fn form(&self, call: &Call, state: &str) -> Vec<(String, String)> {
        callback::form(&self.account.sid, call, state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
