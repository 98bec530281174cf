//! Users who sign in, step by step, and expect that each step works: no refusal, no broken connection, no second try.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::caller::{BETWEEN_CALLS, Caller};
use super::load::{Told, Word};
use super::provider::Provider;
use testkit::http::{Answer, Api, new_phone};

/// Users who type at once. Every second one opens a new connection for each sign-in, the others keep theirs.
const FAST: usize = 6;
/// Users who take their time, with their event stream open.
const SLOW: usize = 4;
const TYPES_FOR: Duration = Duration::from_secs(2);
/// Clients who notice each connection that is closed without a word.
const STRICT: usize = 6;
/// Between two sign-ins of a user: a slow machine makes fewer, because this is not about overload.
const RESTS_FOR: Duration = Duration::from_millis(100);

/// What the users saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub told: Vec<Told>,
    /// Calls of the strict clients.
    pub calls: usize,
    /// Whole sign-ins.
    pub sign_ins: usize,
    /// Streams that ended in an orderly way before the final status, and were opened again.
    pub reopened: usize,
    /// Each step that did not work.
    pub harms: Vec<String>,
}

#[derive(Clone)]
struct User {
    provider: Arc<Provider>,
    url: String,
    seen: Arc<Mutex<Seen>>,
}

/// Users who sign in until they are stopped.
pub(super) struct Users {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    signing_in: JoinSet<()>,
}

impl Users {
    pub fn of(url: &str, provider: &Arc<Provider>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let user =
            User { provider: Arc::clone(provider), url: url.to_owned(), seen: Arc::clone(&seen) };
        let mut signing_in = JoinSet::new();
        for number in 0..FAST + SLOW {
            let types_for = if number < FAST { Duration::ZERO } else { TYPES_FOR };
            let keeps = number % 2 == 0;
            signing_in.spawn(user.clone().signs_in(types_for, keeps, stopped.clone()));
        }
        for _ in 0..STRICT {
            signing_in.spawn(user.clone().calls(stopped.clone()));
        }
        Self { seen, stop, signing_in }
    }

    /// Waits until this many more sign-ins are done.
    pub async fn more(&self, count: usize) {
        let done = || self.seen.lock().expect("no panic while held").sign_ins;
        let goal = done() + count;
        testkit::eventually("more sign-ins", super::HEALED_WITHIN, async || {
            (done() >= goal).then_some(())
        })
        .await;
    }

    /// Lets each user finish the sign-in in hand; returns what all of them saw.
    pub async fn stop(self) -> Seen {
        self.stop.send_replace(true);
        self.signing_in.join_all().await;
        let seen = std::mem::take(&mut *self.seen.lock().expect("no panic while held"));
        let Seen { sign_ins, calls, reopened, .. } = &seen;
        println!("{sign_ins} sign-ins, {calls} strict calls, {reopened} streams reopened");
        seen
    }
}

impl User {
    async fn signs_in(self, types_for: Duration, keeps: bool, mut stopped: watch::Receiver<bool>) {
        let kept = Api::new(&self.url);
        loop {
            let api = if keeps { kept.clone() } else { Api::new(&self.url) };
            let end = self.signs_in_once(&api, types_for).await;
            self.sees(|seen| match end {
                Ok(()) => seen.sign_ins += 1,
                Err(harm) => seen.harms.push(harm),
            });
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(RESTS_FOR) => {}
            }
        }
    }

    async fn calls(self, mut stopped: watch::Receiver<bool>) {
        let mut caller = Caller::of(&self.url);
        loop {
            let end = caller.call().await;
            self.sees(|seen| match end {
                Ok(()) => seen.calls += 1,
                Err(harm) => seen.harms.push(harm),
            });
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(BETWEEN_CALLS) => {}
            }
        }
    }

    fn sees<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        what(&mut self.seen.lock().expect("no panic while held"))
    }

    /// A code request with its stream, a login, two refreshes and a look at the account.
    async fn signs_in_once(&self, api: &Api, types_for: Duration) -> Result<(), String> {
        let phone = new_phone();
        let request = self.requests_a_code(api, &phone).await?;
        let mut stream = Stream::new(&self.url, &request);
        stream.until(&["sent"]).await?;
        let code = self.provider.code(&phone).ok_or("a text is sent and did not arrive")?;
        let types = async {
            tokio::time::sleep(types_for).await;
            let body = json!({ "phone_number": phone, "otp": code, "request_id": request });
            call(api, Method::POST, "/v1/login", Some(body), &[]).await
        };
        // The stream is read meanwhile, as an app does.
        let (login, told) = tokio::join!(types, stream.until(&["verified"]));
        self.sees(|seen| seen.reopened += stream.reopened);
        // Without a login there is no event: its failure says more.
        let mut tokens = login?;
        told?;
        for _ in 0..2 {
            let body = json!({ "refresh": tokens.text("refresh") });
            tokens = call(api, Method::POST, "/v1/token/refresh", Some(body), &[]).await?;
        }
        let bearer = format!("Bearer {}", tokens.text("access"));
        let me = call(api, Method::GET, "/v1/me", None, &[("authorization", &bearer)]).await?;
        if me.text("phone_number") == phone { Ok(()) } else { Err(format!("{}", me.body)) }
    }

    /// A sign-up or, for every second phone, a code request.
    async fn requests_a_code(&self, api: &Api, phone: &str) -> Result<String, String> {
        let (path, body) = if phone.ends_with(['0', '2', '4', '6', '8']) {
            let names = json!({ "phone_number": phone, "first_name": "Ada", "last_name": "Byron" });
            ("/v1/signup", names)
        } else {
            ("/v1/otp", json!({ "phone_number": phone }))
        };
        let asked_at = Instant::now();
        let answer = api.try_call(Method::POST, path, Some(&body), &[]).await;
        let word = match &answer {
            Ok(answer) if answer.status == 202 => Word::Accepted(answer.text("request_id")),
            Ok(answer) => Word::Odd(answer.status, answer.body.to_string()),
            Err(_) => Word::Nothing,
        };
        let (took, at) = (asked_at.elapsed(), Instant::now());
        self.sees(|seen| seen.told.push(Told { phone: phone.to_owned(), word, took, at }));
        Ok(judged(path, answer, 202)?.text("request_id"))
    }
}

/// Makes a call that must be answered 200.
async fn call(
    api: &Api,
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    judged(path, api.try_call(method, path, body.as_ref(), headers).await, 200)
}

fn judged(path: &str, answer: reqwest::Result<Answer>, status: u16) -> Result<Answer, String> {
    match answer {
        Ok(answer) if answer.status == status => Ok(answer),
        Ok(answer) => Err(format!("{path}: {} {}", answer.status, answer.body)),
        Err(error) => Err(format!("{path}: {error:?}")),
    }
}

/// The events of a code request, read as a browser reads them: a stream that ends is opened again with the id of the
/// last event. One that breaks is a harm.
struct Stream {
    client: reqwest::Client,
    url: String,
    open: Option<reqwest::Response>,
    /// What was read since the last open.
    text: String,
    last_id: Option<String>,
    reopened: usize,
}

impl Stream {
    fn new(url: &str, request: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("make a client");
        let url = format!("{url}/v1/otp/{request}/events");
        Self { client, url, open: None, text: String::new(), last_id: None, reopened: 0 }
    }

    /// Reads until one of these statuses, or a later one that ends the stream.
    async fn until(&mut self, statuses: &[&str]) -> Result<(), String> {
        let marks: Vec<_> =
            statuses.iter().map(|status| format!("\"status\":\"{status}\"")).collect();
        let reads = async {
            loop {
                if marks.iter().any(|mark| self.text.contains(mark)) {
                    return Ok(());
                }
                self.more().await?;
            }
        };
        tokio::time::timeout(super::HEALED_WITHIN, reads)
            .await
            .unwrap_or_else(|_| Err(format!("no event {statuses:?}")))
    }

    async fn more(&mut self) -> Result<(), String> {
        let Some(open) = &mut self.open else { return self.opens().await };
        match open.chunk().await {
            Ok(Some(piece)) => self.text.push_str(&String::from_utf8_lossy(&piece)),
            Ok(None) => {
                self.last_id = self.id().or(self.last_id.take());
                self.reopened += 1;
                self.opens().await?;
            }
            Err(error) => return Err(format!("an event stream broke: {error:?}")),
        }
        Ok(())
    }

    fn id(&self) -> Option<String> {
        let mut ids = self.text.lines().filter_map(|line| line.strip_prefix("id:"));
        Some(ids.next_back()?.trim().to_owned())
    }

    async fn opens(&mut self) -> Result<(), String> {
        let mut request = self.client.get(&self.url);
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.map_err(|error| format!("a stream: {error:?}"))?;
        if answer.status() != 200 {
            return Err(format!("a stream: {}", answer.status()));
        }
        self.text.clear();
        self.open = Some(answer);
        Ok(())
    }
}
