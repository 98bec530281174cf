//! A sign-in as it is judged, in three stages one after the other: code requests with their texts, logins, refreshes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::http::{Answer, Api, new_phone};

use crate::cost::{Look, Spent, per_thousand};
use crate::sample::{CPU, PACE, Sample, TIMES};
use bench::load::{Pace, percentile, run};
use bench::provider::{LOOK_EVERY, Provider};
use bench::ring::Ring;

/// A text or a status that takes longer is missing.
const PATIENCE: Duration = Duration::from_mins(2);
/// After the logins: the outbox is published twice a second.
const REST: Duration = Duration::from_secs(1);
/// What is asked for the status while the stage is measured: whoever asked last is told last, and each question costs
/// the gateway and Redis a little.
const LAST: usize = 64;

/// One stage: what was spent, how fast it went, and how long each answer took.
pub struct Stage {
    pub spent: Spent,
    pub secs: f64,
    pub times: Vec<Duration>,
    /// Answers 503: their calls were made again.
    pub busy: usize,
}

pub struct Stages {
    pub request: Stage,
    pub login: Stage,
    pub refresh: Stage,
    /// From the client's first byte to the provider's handler.
    pub waits: Vec<Duration>,
    /// From the first request until all texts were sent and their statuses told, in seconds.
    pub drained_secs: f64,
}

/// A code request that was accepted.
#[derive(Clone)]
pub struct Asked {
    pub phone: String,
    pub id: String,
    at: Instant,
    took: Duration,
    busy: usize,
}

/// Runs the three stages with this many of each.
pub async fn run_all(ring: &Ring<'_>, provider: &Provider, count: usize, pace: Pace) -> Stages {
    warm_up(&ring.api(), provider).await;
    let (asked, request, drained_secs) = requests(ring, provider, count, pace).await;
    let waits = asked.iter().filter_map(|one| Some(provider.look(&one.phone).first_call? - one.at));
    let waits = waits.collect();
    let (tokens, login) = logins(ring, provider, asked, pace).await;
    let refresh = refreshes(ring, tokens, pace).await;
    Stages { request, login, refresh, waits, drained_secs }
}

/// One sign-in fills connections and caches.
pub async fn warm_up(api: &Api, provider: &Provider) {
    let reached = provider.reached();
    let asked = ask(api).await;
    assert!(provider.reaches(reached + 1, PATIENCE).await, "the first text was not sent");
    wait_until_told(api, &asked).await;
    let code = provider.look(&asked.phone).code;
    let login = api.login_for(&asked.phone, &code, &asked.id).await.expect(200);
    api.refresh(&login.text("refresh")).await.expect(200);
}

async fn requests(
    ring: &Ring<'_>,
    provider: &Provider,
    count: usize,
    pace: Pace,
) -> (Vec<Asked>, Stage, f64) {
    let (api, reached, start) = (ring.api(), provider.reached(), Instant::now());
    let before = Look::at(ring);
    let (asked, secs) = ask_all(&api, count, pace).await;
    assert!(provider.reaches(reached + count, PATIENCE).await, "a text was not sent");
    for one in asked.iter().rev().take(LAST) {
        wait_until_told(&api, one).await;
    }
    let spent = before.until(&Look::at(ring));
    let drained_secs = start.elapsed().as_secs_f64();
    // Not measured: every status, to be sure that nothing was left for the next stage to pay.
    let rest = Arc::new(asked.clone());
    run(Pace::AtOnce(16), 0..count, move |number| {
        let (api, rest) = (api.clone(), Arc::clone(&rest));
        async move { wait_until_told(&api, &rest[number]).await }
    })
    .await;
    let times = asked.iter().map(|one| one.took).collect();
    let busy = asked.iter().map(|one| one.busy).sum();
    (asked, Stage { spent, secs, times, busy }, drained_secs)
}

async fn logins(
    ring: &Ring<'_>,
    provider: &Provider,
    asked: Vec<Asked>,
    pace: Pace,
) -> (Vec<String>, Stage) {
    let codes: Vec<_> = asked.iter().map(|one| provider.look(&one.phone).code).collect();
    let (count, api) = (asked.len(), ring.api());
    let known = Arc::new((asked, codes));
    stage(ring, count, pace, REST, move |number| {
        let (api, known) = (api.clone(), Arc::clone(&known));
        async move {
            let (asked, codes) = &*known;
            let (asked, code) = (&asked[number], &codes[number]);
            patiently(|| api.login_for(&asked.phone, code, &asked.id), 200).await
        }
    })
    .await
}

async fn refreshes(ring: &Ring<'_>, tokens: Vec<String>, pace: Pace) -> Stage {
    let (count, api, tokens) = (tokens.len(), ring.api(), Arc::new(tokens));
    let refreshing = stage(ring, count, pace, Duration::ZERO, move |number| {
        let (api, tokens) = (api.clone(), Arc::clone(&tokens));
        async move { patiently(|| api.refresh(&tokens[number]), 200).await }
    });
    refreshing.await.1
}

/// Measures calls that answer with a refresh token each; returns the tokens.
async fn stage<F: Future<Output = (Answer, usize)> + Send + 'static>(
    ring: &Ring<'_>,
    count: usize,
    pace: Pace,
    rest: Duration,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> (Vec<String>, Stage) {
    let before = Look::at(ring);
    let (answers, secs) = run(pace, 0..count, move |number| {
        let (call, start) = (call(number), Instant::now());
        async move {
            let (answer, busy) = call.await;
            (answer.text("refresh"), start.elapsed(), busy)
        }
    })
    .await;
    tokio::time::sleep(rest).await;
    let spent = before.until(&Look::at(ring));
    let times = answers.iter().map(|(_, took, _)| *took).collect();
    let busy = answers.iter().map(|(_, _, busy)| busy).sum();
    let tokens = answers.into_iter().map(|(token, _, _)| token).collect();
    (tokens, Stage { spent, secs, times, busy })
}

/// Requests this many codes, each for a phone of its own. Returns them in order, and the elapsed seconds.
pub async fn ask_all(api: &Api, count: usize, pace: Pace) -> (Vec<Asked>, f64) {
    let api = api.clone();
    run(pace, 0..count, move |_| {
        let api = api.clone();
        async move { ask(&api).await }
    })
    .await
}

async fn ask(api: &Api) -> Asked {
    let (phone, at) = (new_phone(), Instant::now());
    let (answer, busy) = patiently(|| api.otp(&phone), 202).await;
    Asked { id: answer.text("request_id"), took: at.elapsed(), phone, at, busy }
}

/// Makes a call until it is not answered 503; returns how often it was.
async fn patiently<F: Future<Output = Answer>>(
    call: impl Fn() -> F,
    expected: u16,
) -> (Answer, usize) {
    let mut busy = 0;
    loop {
        let answer = call().await;
        if answer.status != 503 {
            return (answer.expect(expected), busy);
        }
        busy += 1;
        assert!(busy < 1_000, "only 503s: {}", answer.body);
    }
}

async fn wait_until_told(api: &Api, asked: &Asked) {
    let end = Instant::now() + PATIENCE;
    while is_open(api, asked).await {
        assert!(Instant::now() < end, "the status of {} is not told", asked.id);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether there is no news yet of a request's text.
pub async fn is_open(api: &Api, asked: &Asked) -> bool {
    let status = api.status(&asked.id).await.expect(200).text("status");
    ["accepted", "issued", "sending"].contains(&status.as_str())
}

impl Stages {
    fn named(&self) -> [(&'static str, &Stage); 3] {
        [("request", &self.request), ("login", &self.login), ("refresh", &self.refresh)]
    }

    /// Puts the tables of CPU time, of times and of paces.
    pub fn put(&self, count: usize, sample: &mut Sample) {
        let factor = per_thousand(count);
        let whole = Spent::sum(&self.named().map(|(_, stage)| &stage.spent));
        let mut columns = self.named().map(|(name, stage)| (name, stage.spent.clone())).to_vec();
        columns.push(("whole", whole));
        for (column, spent) in &columns {
            for (process, secs) in &spent.0 {
                sample.put(CPU, process, column, secs * factor);
            }
        }
        for (column, spent) in &columns {
            sample.put(CPU, "total", column, spent.all() * factor);
        }
        for (name, stage) in self.named() {
            sample.put(TIMES, name, "p50", percentile(&stage.times, 50));
            sample.put(TIMES, name, "p99", percentile(&stage.times, 99));
        }
        sample.put(TIMES, "request → provider", "p50", percentile(&self.waits, 50));
        sample.put(TIMES, "request → provider", "p99", percentile(&self.waits, 99));
        for (name, stage) in self.named() {
            sample.put(PACE, name, "per second", 1_000.0 / (stage.secs * factor));
            sample.put(PACE, name, "answered 503", stage.busy_count());
        }
        let sent_and_told = 1_000.0 / (self.drained_secs * factor);
        sample.put(PACE, "text sent and told", "per second", sent_and_told);
    }
}

impl Stage {
    #[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
    fn busy_count(&self) -> f64 {
        self.busy as f64
    }
}
