//! Clients that request codes, each for its own phone, and record the answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use testkit::http::{Api, new_phone};

/// Requests per second over all gateways.
const PER_SECOND: u64 = 20;
/// Requests in flight at once: a slow machine makes fewer, because the test is about the fault and not about overload.
const IN_FLIGHT: usize = 12;
/// No answer to the load takes longer. The load shares its machine with the system, so this only tells a hang from an
/// answer; a separate caller measures the 2.5 s of P1.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(45);

/// The gateway's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// 202, and the request's id.
    Accepted(String),
    /// 503 with a time to retry.
    Away,
    /// Another status: there should be none.
    Odd(u16, String),
    /// The connection broke.
    Nothing,
}

/// One code request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub phone: String,
    pub word: Word,
    pub took: Duration,
    /// When the answer came.
    pub at: Instant,
}

impl Told {
    pub fn request(&self) -> Option<String> {
        match &self.word {
            Word::Accepted(request) => Some(request.clone()),
            _ => None,
        }
    }
}

/// Requests codes until it is stopped.
pub(crate) struct Load {
    told: Arc<Mutex<Vec<Told>>>,
    stop: watch::Sender<bool>,
    asking: JoinHandle<()>,
}

impl Load {
    pub fn on(apis: Vec<Api>) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (stop, mut stopped) = watch::channel(false);
        let into = Arc::clone(&told);
        let asking = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let places = Arc::new(Semaphore::new(IN_FLIGHT));
            let mut code_requests = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    _ = stopped.changed() => break,
                    _ = tick.tick() => {}
                }
                let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
                let (api, into) = (apis[number % apis.len()].clone(), Arc::clone(&into));
                code_requests.spawn(async move {
                    let _place = place;
                    let one = code_request(&api).await;
                    into.lock().expect("no panic while held").push(one);
                });
            }
            code_requests.join_all().await;
        });
        Self { told, stop, asking }
    }

    /// Returns how many requests were answered 202 so far.
    pub fn accepted(&self) -> usize {
        let told = self.told.lock().expect("no panic while held");
        told.iter().filter(|one| one.request().is_some()).count()
    }

    /// Waits until this many more requests are answered 202.
    pub async fn more(&self, count: usize) {
        let goal = self.accepted() + count;
        testkit::eventually("more accepted requests", super::HEALED_WITHIN, async || {
            (self.accepted() >= goal).then_some(())
        })
        .await;
    }

    /// Stops the load and returns the answers.
    pub async fn stop(self) -> Vec<Told> {
        self.stop.send_replace(true);
        self.asking.await.expect("the load does not panic");
        let told = self.told.lock().expect("no panic while held").clone();
        let count = |word: fn(&Word) -> bool| told.iter().filter(|one| word(&one.word)).count();
        println!(
            "{} requests: {} accepted, {} told to retry, {} without an answer, the slowest {:?}",
            told.len(),
            count(|word| matches!(word, Word::Accepted(_))),
            count(|word| matches!(word, Word::Away)),
            count(|word| matches!(word, Word::Nothing)),
            told.iter().map(|one| one.took).max().unwrap_or_default(),
        );
        told
    }
}

async fn code_request(api: &Api) -> Told {
    let (phone, asked_at) = (new_phone(), Instant::now());
    let body = json!({ "phone_number": phone });
    let word = match api.try_call(Method::POST, "/v1/otp", Some(&body), &[]).await {
        Ok(answer) if answer.status == 202 => Word::Accepted(answer.text("request_id")),
        Ok(answer) if answer.status == 503 => {
            answer.problem(503, "temporarily_unavailable");
            Word::Away
        }
        Ok(answer) => Word::Odd(answer.status, answer.body.to_string()),
        Err(_) => Word::Nothing,
    };
    Told { phone, word, took: asked_at.elapsed(), at: Instant::now() }
}
