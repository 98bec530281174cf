//! Whether the time of an answer tells who has an account (P6): pairs of an unknown and a known phone, which of them
//! first by chance, over one connection, compared by the Mann-Whitney AUC (0.5: nobody can tell them apart) and by their
//! medians. The bounds are those of the product's own standing test: AUC 0.45 to 0.55, medians at most 1 ms apart.
//!
//! `bench/timing` builds it and starts it. It measures the embedded default and then the three services apart on
//! private, durable engines, or with `--url` one Latchkey that runs already and was made for it: settings as [`OFF`],
//! `LATCHKEY_OTP_ATTEMPTS=10`, `LATCHKEY_SMS_ROUTES=default=inbox`. Ends with 1 when a bound is left.

#[path = "../ring.rs"]
#[expect(dead_code, reason = "the load generator uses more of it")]
mod ring;
// The private engines, processes and client of the tests.
#[path = "../../../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use crate::ring::Ring;
use crate::support::folder::Folder;
use crate::support::system::{Side, System};

/// Guesses that one phone takes before it answers differently: under the ten of a code, and of a wait.
const GUESSES_EACH: usize = 9;
/// Asks may repeat a phone as often as they like.
const ASKERS: usize = 50;
const PASSWORD: &str = "timing would tell nobody";
/// A twentieth of today's Django's, so that a measurement ends. Without equal work it would show all the same: it is
/// more than Argon2 takes.
const IMPORTED_ITERATIONS: u32 = 50_000;
const AUC: std::ops::RangeInclusive<f64> = 0.45..=0.55;
const MEDIANS_APART_MS: f64 = 1.0;

/// Beside the limits that [`System`] turns off for every test.
const OFF: [(&str, &str); 2] = [("LATCHKEY_OTP_ATTEMPTS", "10"), ("RUST_LOG", "warn")];

#[derive(Parser)]
struct Arguments {
    /// Pairs of each call. Below a thousand chance alone leaves the bounds.
    #[arg(long, default_value_t = 2_000)]
    pairs: usize,
    #[arg(long, value_delimiter = ',', default_value = "embedded,engines")]
    sides: Vec<Where>,
    /// A Latchkey that runs already, in place of those started for it.
    #[arg(long)]
    url: Option<String>,
    /// Only these calls.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "otp,signup,login,login-live,token,token-imported"
    )]
    calls: Vec<String>,
    /// Answers known phones so many milliseconds later, as it is seen here: a measurement that does not find this
    /// proves nothing.
    #[arg(long, default_value_t = 0.0)]
    plant_ms: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Embedded,
    Engines,
}

/// How the accounts of the known class are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    ByCode,
    WithPassword,
    Imported,
}

/// A call, as both classes make it.
struct Call {
    name: &'static str,
    path: &'static str,
    /// What every answer must be: another one would be a measurement of something else.
    status: u16,
    known: Known,
    /// Both classes have a live code, or none has.
    live: bool,
    body: fn(&str) -> Value,
}

fn ask(phone: &str) -> Value {
    json!({ "phone_number": phone })
}

fn sign_up(phone: &str) -> Value {
    json!({ "phone_number": phone, "first_name": "A", "last_name": "B" })
}

fn guess(phone: &str) -> Value {
    json!({ "phone_number": phone, "otp": "000000" })
}

fn by_password(phone: &str) -> Value {
    json!({ "phone_number": phone, "password": "not what it is at all" })
}

#[rustfmt::skip]
const CALLS: [Call; 6] = [
    Call { name: "otp", path: "/v1/otp", status: 202, known: Known::ByCode, live: true, body: ask },
    Call { name: "signup", path: "/v1/signup", status: 202, known: Known::ByCode, live: true, body: sign_up },
    Call { name: "login", path: "/v1/login", status: 401, known: Known::ByCode, live: false, body: guess },
    Call { name: "login-live", path: "/v1/login", status: 401, known: Known::ByCode, live: true, body: guess },
    Call { name: "token", path: "/v1/token", status: 401, known: Known::WithPassword, live: false, body: by_password },
    // The last: what is imported makes every password cost more.
    Call { name: "token-imported", path: "/v1/token", status: 401, known: Known::Imported, live: false, body: by_password },
];

/// What is measured: its name, a client on one connection, and the system where it is ours.
struct Measured<'a> {
    name: &'static str,
    url: String,
    http: reqwest::Client,
    system: Option<&'a System>,
    plant: Duration,
}

impl<'a> Measured<'a> {
    fn new(
        name: &'static str,
        url: &str,
        system: Option<&'a System>,
        arguments: &Arguments,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build()?;
        let plant = Duration::from_secs_f64(arguments.plant_ms / 1e3);
        Ok(Self { name, url: url.trim_end_matches('/').to_owned(), http, system, plant })
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

    async fn code(&self, phone: &str) -> anyhow::Result<String> {
        let url = format!("{}/inbox/messages?phone_number=%2B{}", self.url, &phone[1..]);
        for _ in 0..1000 {
            let messages: Value = self.http.get(&url).send().await?.json().await?;
            if let Some(code) = messages[0]["code"].as_str() {
                return Ok(code.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("no text came")
    }

    /// Makes the accounts of one class.
    async fn make(&self, known: Known, phones: &[String]) -> anyhow::Result<()> {
        if known == Known::Imported {
            return self.import(phones);
        }
        for phone in phones {
            self.post("/v1/otp", &ask(phone)).await?;
            let code = self.code(phone).await?;
            let login = json!({ "phone_number": phone, "otp": code });
            let (status, body, _) = self.post("/v1/login", &login).await?;
            ensure!(status == 200, "a sign-in was answered {status}: {body}");
            if known == Known::WithPassword {
                let access = body["access"].as_str().context("read a token")?;
                let put = self.http.put(format!("{}/v1/me/password", self.url)).bearer_auth(access);
                let put = put.json(&json!({ "password": PASSWORD })).send().await?;
                ensure!(put.status() == 204, "a password was answered {}", put.status());
            }
        }
        Ok(())
    }

    /// Accounts as an import from Django leaves them, with passwords that nobody knows.
    fn import(&self, phones: &[String]) -> anyhow::Result<()> {
        let system = self.system.context("an import needs a system of our own")?;
        let folder = Folder::new("timing");
        let file: PathBuf = folder.join("users.csv");
        let mut rows = String::from("phone_number,password\n");
        for phone in phones {
            let hash = STANDARD.encode(domain::rng::bytes::<32>());
            writeln!(rows, "{phone},pbkdf2_sha256${IMPORTED_ITERATIONS}$salt${hash}")?;
        }
        std::fs::write(&file, rows).context("write what is to be imported")?;
        let path = file.to_str().context("a path that is a text")?;
        system.run(&["users", "import", path]);
        Ok(())
    }

    async fn measure(&self, call: &Call, pairs: usize, block: usize) -> anyhow::Result<bool> {
        let count = if call.status == 202 { ASKERS } else { pairs.div_ceil(GUESSES_EACH) + 1 };
        // A block of numbers of its own for each class of each call.
        let phones = [0, 1].map(|class| {
            let block = block * 2 + class;
            (0..count).map(|n| format!("+98912{block:02}{n:05}")).collect::<Vec<_>>()
        });
        self.make(call.known, &phones[1]).await?;
        if call.live {
            for phone in phones.iter().flatten() {
                self.post("/v1/otp", &ask(phone)).await?;
            }
        }
        let mut times = [Vec::with_capacity(pairs), Vec::with_capacity(pairs)];
        for n in 0..pairs {
            let first = usize::from(domain::rng::below(2) == 1);
            for class in [first, 1 - first] {
                let body = (call.body)(&phones[class][n % count]);
                let (status, answer, mut took) = self.post(call.path, &body).await?;
                ensure!(status == call.status, "{}: {status} {answer}", call.name);
                if class == 1 {
                    took += self.plant;
                }
                times[class].push(took.as_secs_f64() * 1e3);
            }
        }
        let auc = auc(&times[0], &times[1]);
        let medians = times.map(median);
        let apart = (medians[0] - medians[1]).abs();
        let holds = AUC.contains(&auc) && apart <= MEDIANS_APART_MS;
        println!(
            "| {} | {} | {pairs} | {auc:.3} | {} to {} | {:.2} | {:.2} | {apart:.2} | {MEDIANS_APART_MS} | {} |",
            self.name,
            call.name,
            AUC.start(),
            AUC.end(),
            medians[0],
            medians[1],
            if holds { "yes" } else { "NO" }
        );
        Ok(holds)
    }

    /// All calls that are wanted.
    async fn all(&self, arguments: &Arguments) -> anyhow::Result<bool> {
        let mut all_hold = true;
        for (block, call) in CALLS.iter().enumerate() {
            let is_wanted = arguments.calls.iter().any(|wanted| wanted == call.name);
            if is_wanted && (call.known != Known::Imported || self.system.is_some()) {
                all_hold &= self.measure(call, arguments.pairs, block).await?;
            }
        }
        Ok(all_hold)
    }
}

/// The chance that one of the second class took longer than one of the first; ties count half.
fn auc(first: &[f64], second: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        first.iter().map(|t| (*t, false)).chain(second.iter().map(|t| (*t, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for same in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let of_second: f64 = same.iter().map(|(_, second)| f64::from(u8::from(*second))).sum();
        let of_first: f64 = same.iter().map(|(_, second)| f64::from(u8::from(!*second))).sum();
        wins += of_second * (below + of_first / 2.0);
        below += of_first;
    }
    let count = |times: &[f64]| times.iter().map(|_| 1.0).sum::<f64>();
    wins / (count(first) * count(second))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    for name in &arguments.calls {
        ensure!(CALLS.iter().any(|call| call.name == name), "--calls: there is no {name}");
    }
    println!(
        "| side | call | pairs | AUC | bound | median unknown, ms | median known, ms | apart | bound | inside |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut all_hold = true;
    if let Some(url) = &arguments.url {
        all_hold &= Measured::new("given", url, None, &arguments)?.all(&arguments).await?;
        return Ok(exit_code(all_hold));
    }
    if arguments.sides.contains(&Where::Embedded) {
        let system = System::start(Side::Embedded, &OFF).await;
        let url = system.api().url;
        let measured = Measured::new("embedded", &url, Some(&system), &arguments)?;
        all_hold &= measured.all(&arguments).await?;
        system.stop().await;
    }
    if arguments.sides.contains(&Where::Engines) {
        let engines = ring::engines().await;
        let ring = Ring::start(&engines, &OFF).await;
        let url = ring.api().url;
        let measured = Measured::new("engines", &url, Some(ring.system()), &arguments)?;
        all_hold &= measured.all(&arguments).await?;
        ring.stop().await;
    }
    Ok(exit_code(all_hold))
}

fn exit_code(all_hold: bool) -> ExitCode {
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
