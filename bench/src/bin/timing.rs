//! Measures whether response times reveal who has an account (P6). It sends pairs of an unknown and a known phone in
//! random order over one connection and compares them by the Mann-Whitney AUC (0.5: indistinguishable) and by their
//! medians. The bounds are those of the permanent test: AUC 0.45 to 0.55, medians at most 1 ms apart.
//!
//! `bench/timing` builds and starts it. It measures embedded engines and then three separate services on private,
//! durable engines. With `--url`, it measures a running Latchkey with the settings [`OFF`],
//! `LATCHKEY_OTP_ATTEMPTS=10` and `LATCHKEY_SMS_ROUTES=default=inbox`. Exits with 1 if a figure is out of bounds.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use bench::ring::Ring;
use testkit::folder::Folder;
use testkit::system::{Side, System};

/// Attempts per phone before its responses change: below the ten per code and before a wait.
const GUESSES_EACH: usize = 9;
/// The number of phones for code requests, which may repeat a phone without limit.
const ASKERS: usize = 50;
const PASSWORD: &str = "timing would tell nobody";
/// A twentieth of Django's current count, to keep the measurement short. Unequal work would still be visible, because
/// this takes longer than Argon2.
const IMPORTED_ITERATIONS: u32 = 50_000;
const AUC: std::ops::RangeInclusive<f64> = 0.45..=0.55;
const MEDIANS_APART_MS: f64 = 1.0;

/// In addition to the limits that [`System`] turns off for every test.
const OFF: [(&str, &str); 2] = [("LATCHKEY_OTP_ATTEMPTS", "10"), ("RUST_LOG", "warn")];

#[derive(Parser)]
struct Arguments {
    /// Pairs of each call. Below a thousand, chance alone can exceed the bounds.
    #[arg(long, default_value_t = 2_000)]
    pairs: usize,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "embedded,engines")]
    sides: Vec<Where>,
    /// The URL of a running Latchkey to measure instead of starting one.
    #[arg(long)]
    url: Option<String>,
    /// The calls to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "otp,signup,login,login-live,token,token-imported"
    )]
    calls: Vec<String>,
    /// Adds this many milliseconds to the response times of known phones: a measurement that does not detect this
    /// difference proves nothing.
    #[arg(long, default_value_t = 0.0)]
    plant_ms: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Embedded,
    Engines,
}

/// How the accounts of the known class are created.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    ByCode,
    WithPassword,
    Imported,
}

/// A call that both classes make.
struct Call {
    name: &'static str,
    path: &'static str,
    /// The expected status of every response; any other would invalidate the measurement.
    status: u16,
    known: Known,
    /// Whether both classes have a live code, or neither.
    live: bool,
    body: fn(&str) -> Value,
}

fn code_request(phone: &str) -> Value {
    json!({ "phone_number": phone })
}

fn sign_up(phone: &str) -> Value {
    json!({ "phone_number": phone, "first_name": "A", "last_name": "B" })
}

fn attempt(phone: &str) -> Value {
    json!({ "phone_number": phone, "otp": "000000" })
}

fn by_password(phone: &str) -> Value {
    json!({ "phone_number": phone, "password": "not what it is at all" })
}

#[rustfmt::skip]
const CALLS: [Call; 6] = [
    Call { name: "otp", path: "/v1/otp", status: 202, known: Known::ByCode, live: true, body: code_request },
    Call { name: "signup", path: "/v1/signup", status: 202, known: Known::ByCode, live: true, body: sign_up },
    Call { name: "login", path: "/v1/login", status: 401, known: Known::ByCode, live: false, body: attempt },
    Call { name: "login-live", path: "/v1/login", status: 401, known: Known::ByCode, live: true, body: attempt },
    Call { name: "token", path: "/v1/token", status: 401, known: Known::WithPassword, live: false, body: by_password },
    // Last, because imported accounts make every password check slower.
    Call { name: "token-imported", path: "/v1/token", status: 401, known: Known::Imported, live: false, body: by_password },
];

/// The measured Latchkey: its name, a client with one connection, and the system if this program started it.
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
        anyhow::bail!("no message arrived")
    }

    /// Creates the accounts of one class.
    async fn make(&self, known: Known, phones: &[String]) -> anyhow::Result<()> {
        if known == Known::Imported {
            return self.import(phones);
        }
        for phone in phones {
            self.post("/v1/otp", &code_request(phone)).await?;
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
            let hash = STANDARD.encode(domain::rng::bytes::<32>());
            writeln!(rows, "{phone},pbkdf2_sha256${IMPORTED_ITERATIONS}$salt${hash}")?;
        }
        std::fs::write(&file, rows).context("write the import file")?;
        let path = file.to_str().context("the path is not UTF-8")?;
        system.run(&["users", "import", path]);
        Ok(())
    }

    async fn measure(&self, call: &Call, pairs: usize, block: usize) -> anyhow::Result<bool> {
        let count = if call.status == 202 { ASKERS } else { pairs.div_ceil(GUESSES_EACH) + 1 };
        // Each class of each call has its own block of numbers.
        let phones = [0, 1].map(|class| {
            let block = block * 2 + class;
            (0..count).map(|n| format!("+98912{block:02}{n:05}")).collect::<Vec<_>>()
        });
        self.make(call.known, &phones[1]).await?;
        if call.live {
            for phone in phones.iter().flatten() {
                self.post("/v1/otp", &code_request(phone)).await?;
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

    /// Measures all selected calls.
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

/// Returns the probability that a response of the second class took longer than one of the first; ties count half.
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
        ensure!(CALLS.iter().any(|call| call.name == name), "--calls: unknown call {name}");
    }
    println!(
        "| engines | call | pairs | AUC | bound | median unknown, ms | median known, ms | difference, ms | bound | within bounds |"
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
        let engines = bench::ring::engines().await;
        let ring = Ring::start(&engines, &OFF).await;
        let url = ring.api().url;
        let measured = Measured::new("real", &url, Some(ring.system()), &arguments)?;
        all_hold &= measured.all(&arguments).await?;
        ring.stop().await;
    }
    Ok(exit_code(all_hold))
}

fn exit_code(all_hold: bool) -> ExitCode {
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
