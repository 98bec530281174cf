//! Whether the time of an answer tells who has an account (P6): pairs of a known and an unknown phone, in turns over one
//! connection, compared by the Mann-Whitney AUC (0.5: nobody can tell them apart; bounds 0.45 to 0.55) and by their
//! medians (at most 1 ms apart).
//!
//! It measures a Latchkey that runs already, made for it: embedded or on engines, `LATCHKEY_SMS_ROUTES=default=inbox`,
//! `LATCHKEY_OTP_ATTEMPTS=10`, and off (0): `LATCHKEY_RESEND_COOLDOWN_SECS`, `LATCHKEY_SENDS_PER_PHONE_HOUR` and `_DAY`,
//! `LATCHKEY_SENDS_PER_IP_HOUR`, `LATCHKEY_LOGINS_PER_IP_MINUTE`. Ends with 1 when a bound is left.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde_json::{Value, json};

/// Guesses that one phone takes before it answers differently: under the ten of a code, and of a wait.
const GUESSES_EACH: usize = 9;
const PASSWORD: &str = "timing would tell nobody";

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    #[arg(long, default_value_t = 2_000)]
    pairs: usize,
    /// Only these calls.
    #[arg(long, value_delimiter = ',', default_value = "otp,signup,login,login-live,token")]
    calls: Vec<String>,
}

struct Client {
    url: String,
    http: reqwest::Client,
}

impl Client {
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

    /// Makes the account, with a password when `with_password`.
    async fn make_known(&self, phone: &str, with_password: bool) -> anyhow::Result<()> {
        self.post("/v1/otp", &json!({ "phone_number": phone })).await?;
        let code = self.code(phone).await?;
        let (status, body, _) =
            self.post("/v1/login", &json!({ "phone_number": phone, "otp": code })).await?;
        ensure!(status == 200, "a sign-in was answered {status}: {body}");
        if with_password {
            let access = body["access"].as_str().context("read a token")?;
            let put = self.http.put(format!("{}/v1/me/password", self.url)).bearer_auth(access);
            let put = put.json(&json!({ "password": PASSWORD })).send().await?;
            ensure!(put.status() == 204, "a password was answered {}", put.status());
        }
        Ok(())
    }
}

/// A call, as both classes make it.
struct Call {
    name: &'static str,
    path: &'static str,
    /// What every answer must be: another one would be a measurement of something else.
    status: u16,
    body: fn(&str) -> Value,
}

const CALLS: [Call; 5] = [
    Call {
        name: "otp",
        path: "/v1/otp",
        status: 202,
        body: |phone| json!({ "phone_number": phone }),
    },
    Call {
        name: "signup",
        path: "/v1/signup",
        status: 202,
        body: |phone| json!({ "phone_number": phone, "first_name": "A", "last_name": "B" }),
    },
    Call {
        name: "login",
        path: "/v1/login",
        status: 401,
        body: |phone| json!({ "phone_number": phone, "otp": "000000" }),
    },
    Call {
        name: "login-live",
        path: "/v1/login",
        status: 401,
        body: |phone| json!({ "phone_number": phone, "otp": "000000" }),
    },
    Call {
        name: "token",
        path: "/v1/token",
        status: 401,
        body: |phone| json!({ "phone_number": phone, "password": "not what it is at all" }),
    },
];

async fn measure(client: &Client, call: &Call, pairs: usize, block: usize) -> anyhow::Result<bool> {
    // Asks may repeat a phone as often as they like, guesses may not.
    let phones = if call.status == 202 { 50 } else { pairs.div_ceil(GUESSES_EACH) + 1 };
    let phone = |class: usize, n: usize| format!("+98912{}{:06}", block * 2 + class, n);
    for n in 0..phones {
        client.make_known(&phone(1, n), call.name == "token").await?;
        if call.name != "login" && call.name != "token" {
            // Both classes have a live code, or none has.
            for class in [0, 1] {
                client.post("/v1/otp", &json!({ "phone_number": phone(class, n) })).await?;
            }
        }
    }
    let mut times = [Vec::with_capacity(pairs), Vec::with_capacity(pairs)];
    for n in 0..pairs {
        // Each class goes first as often as the other: what the first one warms up helps the second.
        let first = (n / 2 + n) % 2;
        for class in [first, 1 - first] {
            let body = (call.body)(&phone(class, n % phones));
            let (status, answer, took) = client.post(call.path, &body).await?;
            ensure!(status == call.status, "{}: {status} {answer}", call.name);
            times[class].push(took.as_secs_f64() * 1e3);
        }
    }
    let auc = auc(&times[0], &times[1]);
    let medians = times.map(median);
    let apart = (medians[0] - medians[1]).abs();
    let holds = (0.45..=0.55).contains(&auc) && apart <= 1.0;
    println!(
        "| {} | {pairs} | {auc:.3} | {:.2} | {:.2} | {apart:.2} | {} |",
        call.name,
        medians[0],
        medians[1],
        if holds { "yes" } else { "NO" }
    );
    Ok(holds)
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    common::service::install_crypto();
    let arguments = Arguments::parse();
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build()?;
    let client = Client { url: arguments.url, http };
    println!("| call | pairs | AUC | median unknown, ms | median known, ms | apart | inside |");
    println!("|---|---|---|---|---|---|---|");
    let mut all_hold = true;
    for (block, call) in CALLS.iter().enumerate() {
        if arguments.calls.iter().any(|wanted| wanted == call.name) {
            all_hold &= measure(&client, call, arguments.pairs, block).await?;
        }
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
