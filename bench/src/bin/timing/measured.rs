//! The Latchkey that is measured: prepares phones and makes the calls.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use testkit::folder::Folder;
use testkit::system::System;

use crate::Arguments;
use crate::calls::{CALLS, Call, Known, Mode, Timed, code_request, sign_up};
use crate::figures::{Figures, check_alike, form};
use crate::stream::{self, Event, Forms};

/// Attempts per phone before its responses change: below the ten per code and before a wait.
const GUESSES_EACH: usize = 9;
/// The number of phones for code requests, which may repeat a phone without limit.
const ASKERS: usize = 50;
const PASSWORD: &str = "timing would tell nobody";
/// A twentieth of Django's current count, to keep the measurement short. Unequal work would still be visible, because
/// this takes longer than Argon2.
const IMPORTED_ITERATIONS: u32 = 50_000;
/// The pause after a code request in silent mode. Only a known phone's text is delivered, which takes about 10 ms and
/// would slow down the next call. That is mostly one for an unknown phone, because calls come in pairs.
const DELIVERED_WITHIN: Duration = Duration::from_millis(25);
/// Far longer than any call or stream takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The measured Latchkey: its name, clients with one connection each, and the system if this program started it.
pub struct Measured<'a> {
    name: &'static str,
    url: String,
    http: reqwest::Client,
    /// A stream that is left before its end closes its connection, so it has one of its own.
    streams: reqwest::Client,
    system: Option<&'a System>,
    plant: Duration,
}

/// What one call took, and what it told.
struct Sample {
    took: Duration,
    answer: Value,
    events: Vec<Event>,
}

impl<'a> Measured<'a> {
    pub fn new(
        name: &'static str,
        url: &str,
        system: Option<&'a System>,
        arguments: &Arguments,
    ) -> anyhow::Result<Self> {
        let client = || {
            let one = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1);
            one.timeout(PATIENCE).build()
        };
        let plant = Duration::from_secs_f64(arguments.plant_ms / 1e3);
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { name, url, http: client()?, streams: client()?, system, plant })
    }

    /// Measures the selected calls of this mode. Returns whether all figures are within the bounds.
    pub async fn all(&self, mode: Mode, arguments: &Arguments) -> anyhow::Result<bool> {
        let mut all_hold = true;
        for (block, call) in CALLS.iter().enumerate() {
            let can_be_made = call.known != Known::Imported || self.system.is_some();
            if call.mode == mode && arguments.wants(call) && can_be_made {
                let measured = self.measure(call, arguments.pairs, block).await;
                all_hold &= measured.with_context(|| format!("{}, {}", self.name, call.name))?;
            }
        }
        Ok(all_hold)
    }

    async fn measure(&self, call: &Call, pairs: usize, block: usize) -> anyhow::Result<bool> {
        let count = if call.requests_code() { ASKERS } else { pairs.div_ceil(GUESSES_EACH) + 1 };
        // Each class of each call has its own block of numbers.
        let phones = [0, 1].map(|class| {
            let block = block * 2 + class;
            (0..count).map(|n| format!("+98912{block:02}{n:05}")).collect::<Vec<_>>()
        });
        self.prepare(call, &phones).await?;
        let (mut figures, mut forms) = (Figures::default(), Forms::default());
        for n in 0..pairs {
            let first = usize::from(domain::rng::spread_below(2) == 1);
            let mut answers = [Value::Null, Value::Null];
            for class in [first, 1 - first] {
                if call.mode == Mode::Silent && call.requests_code() {
                    self.request_between(n).await?;
                }
                let mut sample = self.sample(call, &phones[class][n % count]).await?;
                if class == 1 {
                    sample.took += self.plant;
                }
                let took_ms = sample.took.as_secs_f64() * 1e3;
                figures.add(class, took_ms, sample.events.len())?;
                forms.check(call.mode, sample.events)?;
                answers[class] = form(sample.answer);
                if call.mode == Mode::Silent && call.requests_code() {
                    tokio::time::sleep(DELIVERED_WITHIN).await;
                }
            }
            check_alike(call.name, &answers)?;
        }
        if call.mode == Mode::Silent {
            self.check_texts(&phones).await?;
        }
        Ok(figures.report(self.name, call.name))
    }

    /// Requests a code for a phone of neither class, and lets its work end. In silent mode the call before was mostly one
    /// of the other class, and a processor that has just delivered a text is warmer than one that was idle: without a
    /// call between them, that difference would be measured.
    async fn request_between(&self, n: usize) -> anyhow::Result<()> {
        let phone = format!("+9891299{:05}", n % ASKERS);
        let (status, answer, _) = self.post("/v1/otp", &code_request(&phone)).await?;
        ensure!(status == 202, "a code request between two calls: {status} {answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    }

    /// Makes one call, and reads the event stream if that is what is timed.
    async fn sample(&self, call: &Call, phone: &str) -> anyhow::Result<Sample> {
        let started = Instant::now();
        let (status, answer, took) = self.post(call.path, &(call.body)(phone)).await?;
        ensure!(status == call.status, "{status} {answer}");
        if call.timed == Timed::Answer {
            return Ok(Sample { took, answer, events: Vec::new() });
        }
        let request = answer["request_id"].as_str().context("the response has no request_id")?;
        let url = format!("{}/v1/otp/{request}/events", self.url);
        let opened = self.streams.get(url).send().await?;
        ensure!(opened.status() == 200, "the stream: {}", opened.status());
        let events = stream::read(opened, call.mode).await?;
        Ok(Sample { took: started.elapsed(), answer, events })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value, Duration)> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body).build()?;
        let started = Instant::now();
        let answer = self.http.execute(request).await?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await?;
        let took = started.elapsed();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null), took))
    }

    async fn prepare(&self, call: &Call, phones: &[Vec<String>; 2]) -> anyhow::Result<()> {
        self.make(call.known, &phones[1]).await?;
        if call.live {
            for phone in phones.iter().flatten() {
                let (status, answer, _) = self.post("/v1/otp", &code_request(phone)).await?;
                ensure!(status == 202, "a code request: {status} {answer}");
            }
        }
        Ok(())
    }

    /// Creates the accounts of one class.
    async fn make(&self, known: Known, phones: &[String]) -> anyhow::Result<()> {
        if known == Known::Imported {
            return self.import(phones);
        }
        for phone in phones {
            // In silent mode only a sign-up gets a code.
            self.post("/v1/signup", &sign_up(phone)).await?;
            let code = self.code(phone).await?;
            let login = json!({ "phone_number": phone, "otp": code });
            let (status, body, _) = self.post("/v1/login", &login).await?;
            ensure!(status == 200, "sign-in failed with {status}: {body}");
            if known == Known::WithPassword {
                let access = body["access"].as_str().context("the response has no access token")?;
                let put = self.http.put(format!("{}/v1/me/password", self.url)).bearer_auth(access);
                let put = put.json(&json!({ "password": PASSWORD })).send().await?;
                ensure!(put.status() == 204, "setting a password failed with {}", put.status());
            }
        }
        Ok(())
    }

    /// Imports accounts as from Django, with unknown passwords.
    fn import(&self, phones: &[String]) -> anyhow::Result<()> {
        let system = self.system.context("an import needs a system that this program started")?;
        let folder = Folder::new("timing");
        let file: PathBuf = folder.join("users.csv");
        let mut rows = String::from("phone_number,password\n");
        for phone in phones {
            let hash = STANDARD.encode(domain::rng::secret_bytes::<32>());
            writeln!(rows, "{phone},pbkdf2_sha256${IMPORTED_ITERATIONS}$salt${hash}")?;
        }
        std::fs::write(&file, rows).context("write the import file")?;
        let path = file.to_str().context("the path is not UTF-8")?;
        system.run(&["users", "import", path]);
        Ok(())
    }

    async fn code(&self, phone: &str) -> anyhow::Result<String> {
        let messages = self.messages(phone, 1).await?;
        messages[0]["code"].as_str().map(str::to_owned).context("the message has no code")
    }

    /// Waits for at least so many messages to a phone, and returns all, the newest first.
    async fn messages(&self, phone: &str, least: usize) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/inbox/messages?phone_number=%2B{}", self.url, &phone[1..]);
        for _ in 0..1000 {
            let messages: Vec<Value> = self.http.get(&url).send().await?.json().await?;
            if messages.len() >= least {
                return Ok(messages);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("no message arrived")
    }

    /// Checks that this was silent mode: known phones got a text by `otp`, after that of their sign-up, and unknown ones
    /// none.
    async fn check_texts(&self, phones: &[Vec<String>; 2]) -> anyhow::Result<()> {
        for known in &phones[1] {
            self.messages(known, 2).await?;
        }
        for unknown in &phones[0] {
            let messages = self.messages(unknown, 0).await?;
            ensure!(messages.is_empty(), "an unknown phone got a text: this is not silent mode");
        }
        Ok(())
    }
}
