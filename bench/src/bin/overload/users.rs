//! Users who sign in: each requests a code, reads the text, signs in with it and refreshes once. What one meets is noted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::provider::Provider;
use testkit::http::new_phone;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::client::Client;

/// How long a user waits for a text before giving up.
const WAITS_FOR_TEXT: Duration = Duration::from_mins(1);
/// How often a user looks for it.
const LOOKS: Duration = Duration::from_millis(40);
/// How often arrivals are released: more often would only wake the generator.
const BEAT: Duration = Duration::from_millis(5);

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Request,
    Login,
    Refresh,
}

/// One call, as its user met it.
#[derive(Clone, Copy)]
pub struct Call {
    pub step: Step,
    /// 0: no answer.
    pub status: u16,
    /// From the beginning of the connection, or of the request on one that is open.
    pub took: Duration,
    /// When the answer came.
    pub at: Instant,
}

#[derive(Default)]
pub struct Noted {
    pub calls: Vec<Call>,
    /// When each user was signed in.
    pub signed_in: Vec<Instant>,
    /// From an accepted request to its text.
    pub texts: Vec<(Instant, Duration)>,
    /// Accepted requests whose text did not come in time.
    pub textless: usize,
    /// Answers 503 without a time to come back.
    pub blunt: usize,
    /// What stood in the way of an answer.
    pub errors: BTreeMap<String, usize>,
}

impl Noted {
    /// How often each step had each status, and what else stood in the way.
    pub fn summary(&self) -> String {
        let mut counts = BTreeMap::<_, usize>::new();
        for call in &self.calls {
            *counts.entry((call.step, call.status)).or_default() += 1;
        }
        let (textless, blunt) = (self.textless, self.blunt);
        format!(
            "{counts:?} (0: {:?}), {textless} without a text, {blunt} answers 503 that do not say when to come back",
            self.errors
        )
    }
}

/// The people before one gateway.
#[derive(Clone)]
pub struct People {
    gateway: SocketAddr,
    provider: Arc<Provider>,
    noted: Arc<Mutex<Noted>>,
}

impl People {
    pub fn new(gateway: SocketAddr, provider: Arc<Provider>) -> Self {
        Self { gateway, provider, noted: Arc::default() }
    }

    /// This many at any time, for so long: each is followed by another. Returns the sign-ins of a second.
    pub async fn at_once(&self, many: usize, length: Duration) -> f64 {
        let (end, before) = (Arc::new(AtomicBool::new(false)), self.signed_in());
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..many {
            let (people, end) = (self.clone(), end.clone());
            running.spawn(async move {
                while !end.load(Ordering::Relaxed) {
                    people.one().await;
                }
            });
        }
        sleep(length).await;
        let (done, took) = (self.signed_in() - before, begun.elapsed());
        end.store(true, Ordering::Relaxed);
        running.join_all().await;
        per_second(done, took)
    }

    /// So many arrive each second, for so long, whatever becomes of the earlier ones. Returns how many came, and those
    /// that are still busy.
    pub async fn arrive(&self, per_second: f64, length: Duration) -> (usize, JoinSet<()>) {
        let mut running = JoinSet::new();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (begun, mut came) = (Instant::now(), 0_usize);
        while begun.elapsed() < length {
            beats.tick().await;
            let due = as_count(begun.elapsed().as_secs_f64() * per_second);
            for _ in came..due {
                let people = self.clone();
                running.spawn(async move { people.one().await });
            }
            came = due.max(came);
            while running.try_join_next().is_some() {}
        }
        (came, running)
    }

    /// What was noted until now; it is noted anew from here on.
    pub fn take(&self) -> Noted {
        std::mem::take(&mut *self.noted.lock().expect("no panic while held"))
    }

    fn signed_in(&self) -> usize {
        self.noted.lock().expect("no panic while held").signed_in.len()
    }

    async fn one(&self) {
        let (phone, begun) = (new_phone(), Instant::now());
        let mut client = match Client::connect(self.gateway).await {
            Ok(client) => client,
            Err(error) => return self.unanswered(Step::Request, begun, &error),
        };
        let body = format!(r#"{{"phone_number":"{phone}"}}"#);
        let Some(request) = self.call(&mut client, Step::Request, begun, &body).await else {
            return;
        };
        let asked = Instant::now();
        let Some(code) = self.text(&phone, asked).await else { return };
        let id = request.text("request_id").unwrap_or_default();
        let body = format!(r#"{{"phone_number":"{phone}","otp":"{code}","request_id":"{id}"}}"#);
        let Some(pair) = self.call(&mut client, Step::Login, Instant::now(), &body).await else {
            return;
        };
        self.noted(|noted| noted.signed_in.push(Instant::now()));
        let body = format!(r#"{{"refresh":"{}"}}"#, pair.text("refresh").unwrap_or_default());
        self.call(&mut client, Step::Refresh, Instant::now(), &body).await;
    }

    /// Makes a call and notes it; `None` if it did not succeed.
    async fn call(
        &self,
        client: &mut Client,
        step: Step,
        begun: Instant,
        body: &str,
    ) -> Option<crate::client::Answer> {
        let path = match step {
            Step::Request => "/v1/otp",
            Step::Login => "/v1/login",
            Step::Refresh => "/v1/token/refresh",
        };
        let key = key();
        let mut answer = client.post(path, &key, body).await;
        if step != Step::Request && answer.as_ref().is_err_and(is_closed) {
            // An idle connection may be closed: apps open another and send the same again.
            answer = match Client::connect(self.gateway).await {
                Ok(another) => {
                    *client = another;
                    client.post(path, &key, body).await
                }
                Err(error) => Err(error),
            };
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unanswered(step, begun, &error);
                return None;
            }
        };
        let (status, at) = (answer.status, Instant::now());
        self.noted(|noted| {
            noted.calls.push(Call { step, status, took: at - begun, at });
            noted.blunt += usize::from(status == 503 && !answer.says_when());
        });
        (status < 300).then_some(answer)
    }

    async fn text(&self, phone: &str, asked: Instant) -> Option<String> {
        while asked.elapsed() < WAITS_FOR_TEXT {
            let seen = self.provider.look(phone);
            if let Some(at) = seen.taken_at {
                self.noted(|noted| noted.texts.push((at, at.saturating_duration_since(asked))));
                return Some(seen.code);
            }
            sleep(LOOKS).await;
        }
        self.noted(|noted| noted.textless += 1);
        None
    }

    fn unanswered(&self, step: Step, begun: Instant, error: &io::Error) {
        let at = Instant::now();
        self.noted(|noted| {
            noted.calls.push(Call { step, status: 0, took: at - begun, at });
            *noted.errors.entry(format!("{step:?}: {}", error.kind())).or_default() += 1;
        });
    }

    fn noted(&self, what: impl FnOnce(&mut Noted)) {
        what(&mut self.noted.lock().expect("no panic while held"));
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// An `Idempotency-Key` that no other call has.
fn key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("overload-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load are small")]
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn as_count(number: f64) -> usize {
    number as usize
}
