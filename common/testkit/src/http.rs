//! The tests' client: short functions for the API calls and for reading the inbox. It is as patient as a good client: a
//! call that gets 503, as a busy machine may answer (P12), is made again, unless the test wants its one answer ([`once`]).

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value, json};

use crate::stalls::lost_since;
use crate::{PATIENCE, described, eventually};

/// P12: no answer takes longer.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(2500);

/// How long an answer may take on a busy machine: as promised (P12), three times what a like call takes beside it where
/// nothing is broken, and what the machine lost since `begun`.
pub fn allowed(begun: Instant, beside: Duration) -> Duration {
    ANSWERED_WITHIN + 3 * beside + lost_since(begun)
}

/// Between a 503 and the call's repetition. A client should wait for `retry_after`; a test has no time for that.
const BETWEEN_CALLS: Duration = Duration::from_millis(200);

/// One client of one gateway. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Api {
    pub url: String,
    client: reqwest::Client,
}

/// A whole answer. `body` is null if empty, and a string if it is not JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What opens the inbox of a system that a test gives this `LATCHKEY_INBOX_TOKEN`; others on loopback need no token.
pub const INBOX_TOKEN: &str = "a-token-of-the-tests";

impl Api {
    pub fn new(url: &str) -> Self {
        // Uses no proxy of the machine, and follows no redirect that could hide an answer.
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(PATIENCE).build().expect("make a client");
        Self { url: url.to_owned(), client }
    }

    /// Makes a call; an error is a transport error. Fails if the OpenAPI document does not describe the answer.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        described::check(&method, path, status, &body);
        Ok(Answer { status, headers, body })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        // Not `served`: a spawned task cannot hold its closure.
        let (is_once, end) = (ONCE.try_with(|()| ()).is_ok(), Instant::now() + PATIENCE);
        loop {
            let answer = self.try_call(method.clone(), path, body, headers).await;
            let answer = answer.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
            if answer.status != 503 || is_once || Instant::now() > end {
                return answer;
            }
            before_the_next(&answer).await;
        }
    }

    /// Makes a call [`once`] and fails if its answer comes later than promised (P12). A busy machine delays every answer: three
    /// times what a call without an engine takes before or after this one is allowed besides.
    pub async fn in_time(&self, what: &str, call: impl Future<Output = Answer>) -> Answer {
        self.in_time_beside(self, what, call).await
    }

    /// Like [`Api::in_time`] while this gateway is under an attack that could delay all of its answers alike: the load of
    /// the machine is measured on another gateway, which is not attacked.
    pub async fn in_time_beside(
        &self,
        unattacked: &Self,
        what: &str,
        call: impl Future<Output = Answer>,
    ) -> Answer {
        let begun = Instant::now();
        let before = unattacked.without_an_engine().await;
        let start = Instant::now();
        let answer = once(call).await;
        let took = start.elapsed();
        let allowed = allowed(begun, before.max(unattacked.without_an_engine().await));
        assert!(took <= allowed, "{what}: {} after {took:?}, {allowed:?} allowed", answer.status);
        answer
    }

    /// How long a call takes that needs no engine.
    async fn without_an_engine(&self) -> Duration {
        let start = Instant::now();
        self.get("/.well-known/jwks.json").await.expect(200);
        start.elapsed()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    /// Makes a call with extra headers, such as `Idempotency-Key`.
    pub async fn post_with(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::POST, path, Some(&body), headers).await
    }

    /// Makes a call with an access token.
    pub async fn signed_in(
        &self,
        method: Method,
        path: &str,
        access: &str,
        body: Option<Value>,
    ) -> Answer {
        self.call(method, path, body.as_ref(), &[("authorization", &format!("Bearer {access}"))])
            .await
    }

    /// A call that the gateway may have done before it answered 503: repeated with its key, it is done once. Not for a
    /// login that is to be refused: with a key that takes as long as the wait for another that may just be let in.
    async fn keyed(&self, path: &str, body: Value) -> Answer {
        let key = domain::rng::id_v4().to_string();
        self.post_with(path, body, &[("idempotency-key", &key)]).await
    }

    pub async fn otp(&self, phone: &str) -> Answer {
        self.keyed("/v1/otp", json!({ "phone_number": phone })).await
    }

    pub async fn signup(&self, phone: &str, first_name: &str, last_name: &str) -> Answer {
        let body =
            json!({ "phone_number": phone, "first_name": first_name, "last_name": last_name });
        self.keyed("/v1/signup", body).await
    }

    pub async fn login(&self, phone: &str, code: &str) -> Answer {
        self.post("/v1/login", json!({ "phone_number": phone, "otp": code })).await
    }

    /// Logs in with the id of the request that the code belongs to.
    pub async fn login_for(&self, phone: &str, code: &str, request_id: &str) -> Answer {
        let body = json!({ "phone_number": phone, "otp": code, "request_id": request_id });
        self.post("/v1/login", body).await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/token/refresh", json!({ "refresh": token })).await
    }

    pub async fn verify(&self, token: &str) -> Answer {
        self.post("/v1/token/verify", json!({ "token": token })).await
    }

    /// Logs out.
    pub async fn blacklist(&self, token: &str) -> Answer {
        self.post("/v1/token/blacklist", json!({ "refresh": token })).await
    }

    pub async fn me(&self, access: &str) -> Answer {
        self.signed_in(Method::GET, "/v1/me", access, None).await
    }

    pub async fn status(&self, request_id: &str) -> Answer {
        self.get(&format!("/v1/otp/{request_id}")).await
    }

    /// Returns the texts sent to a phone, newest first, as the inbox shows them.
    pub async fn messages(&self, phone: &str) -> Vec<Value> {
        let digits = phone.trim_start_matches('+');
        let path = format!("/inbox/messages?phone_number=%2B{digits}&token={INBOX_TOKEN}");
        match self.get(&path).await.expect(200).body {
            Value::Array(messages) => messages,
            other => panic!("the inbox answered {other}"),
        }
    }

    /// Returns the newest code, once this many texts have arrived.
    pub async fn code(&self, phone: &str, count: usize) -> String {
        let what = format!("text {count}");
        let messages = eventually(&what, PATIENCE, async || {
            Some(self.messages(phone).await).filter(|messages| messages.len() >= count)
        });
        text(&messages.await[0]["code"])
    }

    /// Requests a code and reads it from its text.
    pub async fn fresh_code(&self, phone: &str) -> String {
        // Matches the request, not a count: texts of other requests and notices arrive at any time, and old ones leave
        // the inbox.
        let asked = self.otp(phone).await.expect(202).text("request_id");
        let text = eventually("the text", PATIENCE, async || {
            self.messages(phone).await.into_iter().find(|text| text["request_id"] == asked.as_str())
        })
        .await;
        self::text(&text["code"])
    }

    /// Signs in with a fresh code, into a new or existing account; returns the login's whole body.
    pub async fn sign_in(&self, phone: &str) -> Value {
        let code = self.fresh_code(phone).await;
        let body = json!({ "phone_number": phone, "otp": code });
        self.keyed("/v1/login", body).await.expect(200).body
    }
}

tokio::task_local! {
    /// Set where a call is made once.
    static ONCE: ();
}

/// Makes the calls in this future once each, for a test that expects 503, or counts what each call did. What the future
/// spawns is another task: it needs a `once` of its own.
pub async fn once<T>(calls: impl Future<Output = T>) -> T {
    ONCE.scope((), calls).await
}

async fn before_the_next(refused: &Answer) {
    println!("a call is repeated after {}", refused.body);
    tokio::time::sleep(BETWEEN_CALLS).await;
}

/// Repeats a call while it is refused as a busy machine may refuse it (P12); returns the first other answer. [`Api`]'s
/// calls do this by themselves, but for [`Api::try_call`].
pub async fn served(mut call: impl AsyncFnMut() -> Answer) -> Answer {
    eventually("an answer other than 503", PATIENCE, async || {
        let answer = call().await;
        if answer.status == 503 {
            before_the_next(&answer).await;
        }
        Some(answer).filter(|answer| answer.status != 503)
    })
    .await
}

impl Answer {
    /// Returns the answer if it has this status.
    #[expect(clippy::return_self_not_must_use, reason = "often called only to check the status")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// P8: a refusal is a problem document with a stable code, and its two retry times agree.
    pub fn problem(self, status: u16, code: &str) -> Map<String, Value> {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let Value::Object(ref members) = self.body else {
            panic!("a problem must be an object: {}", self.body)
        };
        for member in ["type", "title", "status", "detail", "code"] {
            assert!(members.contains_key(member), "{} has no {member}", self.body);
        }
        assert_eq!(members["status"], status);
        assert_eq!(members["code"], code, "{}", self.body);
        let told = members.get("retry_after").map(Value::to_string);
        assert_eq!(
            told.as_deref(),
            self.header(RETRY_AFTER.as_str()),
            "retry_after and Retry-After"
        );
        members.clone()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns a string member of the body.
    pub fn text(&self, member: &str) -> String {
        text(&self.body[member])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

/// Returns the status of a GET, if there is an answer.
pub async fn status_of(url: &str) -> Option<u16> {
    // A new client each time: a kept one would belong to the runtime of the test that made it.
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().ok()?;
    client.get(url).send().await.ok().map(|answer| answer.status().as_u16())
}

/// Returns a mobile number that no other test of this run has.
pub fn new_phone() -> String {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(domain::rng::spread_below(10_000_000)));
    format!("+98912{:07}", NEXT.fetch_add(1, Ordering::Relaxed) % 10_000_000)
}

/// Returns a different code of the same length.
pub fn wrong(code: &str, by: u64) -> String {
    let end = 10_u64.pow(u32::try_from(code.len()).expect("at most ten digits"));
    let number: u64 = code.parse().expect("a code is digits");
    format!("{:0width$}", (number + by) % end, width = code.len())
}

#[test]
fn phones_differ_and_a_wrong_code_is_wrong() {
    assert_ne!(new_phone(), new_phone());
    assert_eq!(new_phone().len(), 13);
    assert_eq!(wrong("999999", 1), "000000");
}

/// The answer of a server on this machine, headers and all, for callers that cannot await. `None` if it does not answer
/// within a second.
pub fn get_blocking(url: &str, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let limit = Duration::from_secs(1);
    let address = url.strip_prefix("http://")?.parse().ok()?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
