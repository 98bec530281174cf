//! JavaScript that a test reads out of the project's files, run by a real engine against a running Latchkey.
//!
//! The engine has no network and no timers. A script asks for them by `host.js`, and [`World`] performs what it asks for.

use std::time::{Duration, Instant};

use domain::clock::Clock;
use reqwest::Method;
use rquickjs::{CatchResultExt as _, Context, Ctx, Runtime};
use serde_json::{Value, json};

mod tests;

const HOST: &str = include_str!("host.js");

/// Timers from this on move the clock, if there is one to move. Shorter ones wait for something that another process
/// does, and that moving a clock does not hasten.
const MOVES_THE_CLOCK: Duration = Duration::from_secs(5);

/// Between a 503 and the repeat of its call.
const BEFORE_A_REPEAT: Duration = Duration::from_secs(1);

/// Where the scripts run: how they reach a server, and what their long timers do.
#[derive(Debug)]
pub(crate) struct World {
    client: reqwest::Client,
    /// The servers' clock. Long timers advance it; without one they really wait.
    clock: Option<Clock>,
    /// Whether a 503 is repeated before a script sees it.
    is_patient: bool,
}

impl World {
    pub fn new(clock: Option<Clock>) -> Self {
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(testkit::PATIENCE).build().expect("make a client");
        Self { client, clock, is_patient: false }
    }

    /// Like [`World::new`], for scripts that know no 503: a busy machine may answer so (P12), and then the call is repeated.
    pub fn patient(clock: Option<Clock>) -> Self {
        Self { is_patient: true, ..Self::new(clock) }
    }

    /// How far the servers are ahead of the system time.
    fn ahead_ms(&self) -> i64 {
        self.clock.as_ref().map_or(0, Clock::ahead_ms)
    }

    async fn wait(&self, time: Duration) {
        match &self.clock {
            Some(clock) if time >= MOVES_THE_CLOCK => clock.advance(time),
            _ => tokio::time::sleep(time).await,
        }
    }

    /// Sends `{method, url, headers: [[name, value]], body}` and returns `{status, headers, body}`, or `{error}` if no
    /// answer came.
    pub async fn send(&self, request: &Value) -> Value {
        let end = Instant::now() + testkit::PATIENCE;
        loop {
            match self.try_send(request).await {
                Ok(answer)
                    if self.is_patient && answer["status"] == 503 && Instant::now() < end =>
                {
                    tokio::time::sleep(BEFORE_A_REPEAT).await;
                }
                Ok(answer) => return answer,
                Err(why) => return json!({ "error": format!("{why:#}") }),
            }
        }
    }

    async fn try_send(&self, request: &Value) -> anyhow::Result<Value> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let method: Method = text(&request["method"]).parse()?;
        let mut sent = self.client.request(method, text(&request["url"]));
        for header in request["headers"].as_array().into_iter().flatten() {
            sent = sent.header(text(&header[0]), text(&header[1]));
        }
        if let Some(body) = request["body"].as_str() {
            sent = sent.body(body.to_owned());
        }
        let answer = sent.send().await?;
        let status = answer.status().as_u16();
        let header =
            |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
                json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
            };
        let headers: Vec<Value> = answer.headers().iter().map(header).collect();
        Ok(json!({ "status": status, "headers": headers, "body": answer.text().await? }))
    }
}

/// What a script left: the value that it returned, and what it logged.
#[derive(Debug)]
pub(crate) struct Ended {
    pub value: Value,
    pub log: Vec<String>,
}

/// Runs a script, in which `await` is allowed, after these files, in a context of its own; `input` is what it finds under
/// that name.
///
/// # Errors
/// What it threw, also in a timer or when an answer came, with its place; or that it never came to its end.
pub(crate) async fn run(
    world: &World,
    files: &[&str],
    input: &Value,
    script: &str,
) -> Result<Ended, String> {
    let runtime = Runtime::new().map_err(|e| e.to_string())?;
    let context = Context::full(&runtime).map_err(|e| e.to_string())?;
    let eval = |source: String| context.with(|ctx| eval(&ctx, source));
    eval(HOST.to_owned())?;
    eval(format!("const input = {input};"))?;
    // A script's clock shows the time of the servers that it speaks to.
    let ahead = |ms: i64| format!("globalThis.ahead = {ms};");
    eval(ahead(world.ahead_ms()))?;
    eval("{ const real = Date.now; Date.now = () => real() + ahead; }".to_owned())?;
    for file in files {
        eval((*file).to_owned())?;
    }
    eval(format!("host.run(async () => {{\n{script}\n}});"))?;
    loop {
        while runtime.is_job_pending() {
            runtime.execute_pending_job().map_err(|e| format!("{e:?}"))?;
        }
        let next = json_of(&eval("host.next()".to_owned())?)?;
        let answer = match (&next["send"], next["wait"].as_f64()) {
            (_, Some(ms)) => {
                world.wait(Duration::from_secs_f64(ms / 1000.0)).await;
                Value::Null
            }
            (Value::Null, None) => break,
            (request, None) => world.send(request).await,
        };
        eval(ahead(world.ahead_ms()))?;
        eval(format!("host.settle({}, {answer})", next["id"]))?;
    }
    let end = json_of(&eval("host.end()".to_owned())?)?;
    if let Some(error) = end["error"].as_str() {
        return Err(error.to_owned());
    }
    let log = end["log"].as_array().into_iter().flatten();
    let log = log.map(|line| line.as_str().unwrap_or_default().to_owned()).collect();
    Ok(Ended { value: end["value"].clone(), log })
}

/// Evaluates a piece; returns its value if it is a string, and otherwise an empty one.
fn eval(ctx: &Ctx<'_>, source: String) -> Result<String, String> {
    let value: rquickjs::Value<'_> =
        ctx.eval(source).catch(ctx).map_err(|error| error.to_string())?;
    match value.into_string() {
        Some(text) => text.to_string().map_err(|error| error.to_string()),
        None => Ok(String::new()),
    }
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}
