//! The store on Redis: the one file that speaks to it. Every act is one script; the scripts stand beside it.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncCommands as _, ErrorKind, RedisError, Script, ScriptInvocation, ServerErrorKind,
};
use deadpool_redis::{Config, Pool, Runtime};
use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::RwLock;

use super::hub::Hub;
use super::types::{
    Admission, Admit, AskNote, Issue, Issued, Judged, KeptText, Replay, RequestStatus, Scope,
    Swept, Verify, digest_of,
};
use super::{
    COOLDOWN_CAP_MS, DISTINCT_KEPT_SECS, Guard, IDEMPOTENCY_MS, STATUS_KEPT_MS, TEXT_KEPT_MS,
};
use crate::clock::Clock;
use crate::config::PumpingGuard;
use crate::engine_error::EngineError;
use crate::guard::{Added, Change, Place, Rule, Shown};
use crate::ids::{CodeId, RequestId, UserId};
use crate::keys::PhoneKey;
use crate::timestamp::Timestamp;
use crate::vocabulary::{Reason, Status};

const ENGINE: &str = "Redis";
/// Connections that all requests share. A connection carries many commands at once, so few of them give more than one
/// per request would, at less than half the CPU.
const LANES: usize = 4;
/// After this a command counts as unanswered: half of what a client may wait for its 503 (P12).
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How often the connection that hears of changes is tried.
const ROUND_EVERY: Duration = Duration::from_secs(5);
const OPEN: &str = "lk:open";
const REQUEST: &str = "lk:req:";
const STATUS_CHANNEL: &str = "lk:status";

macro_rules! script {
    ($($part:literal),+) => {
        // The first line lets a full server refuse the script before it begins. Without it a script that deletes before
        // it adds would run past `maxmemory`.
        LazyLock::new(|| Script::new(concat!("#!lua\n", $(include_str!(concat!("scripts/", $part, ".lua"))),+)))
    };
}

static ADMIT: LazyLock<Script> = script!("time", "guard", "admit");
static WITHDRAW: LazyLock<Script> = script!("time", "guard", "withdraw");
static ISSUE: LazyLock<Script> = script!("time", "issue");
static VERIFY: LazyLock<Script> = script!("time", "logins", "verify");
static COUNT_LOGIN: LazyLock<Script> = script!("time", "logins", "count_login");
static COUNT_DISTINCT: LazyLock<Script> = script!("count_distinct");
static FIRST_TIME: LazyLock<Script> = script!("time", "first_time");
static REFUND: LazyLock<Script> = script!("refund");
static RAISE: LazyLock<Script> = script!("time", "raise", "status");
static CLOSE: LazyLock<Script> = script!("time", "raise", "guard", "close");
static FORGET: LazyLock<Script> = script!("forget");
static SWEEP: LazyLock<Script> = script!("time", "raise", "sweep");

pub(super) struct Redis {
    pool: Pool,
    lanes: [Lane; LANES],
    next: AtomicUsize,
    clock: Clock,
}

impl Redis {
    pub async fn connect(url: &SecretString, clock: Clock, hub: Hub) -> Result<Self, EngineError> {
        let mut config = Config::from_url(url.expose_secret());
        config.pool = Some(deadpool_redis::PoolConfig::new(LANES));
        let pool = config
            .builder()
            .map_err(|_| EngineError::broken(ENGINE, anyhow!("REDIS_URL is not a Redis address")))?
            .create_timeout(Some(CONNECT_WITHIN))
            .wait_timeout(Some(CONNECT_WITHIN))
            .recycle_timeout(Some(CONNECT_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| EngineError::broken(ENGINE, e))?;
        let redis = Self { pool, lanes: Default::default(), next: AtomicUsize::new(0), clock };
        redis.refuse_eviction().await?;
        let client = redis::Client::open(url.expose_secret()).map_err(|_| {
            EngineError::broken(ENGINE, anyhow!("REDIS_URL is not a Redis address"))
        })?;
        tokio::spawn(follow(client, hub));
        Ok(redis)
    }

    /// An evicting server would drop guesses and used codes under memory pressure, silently.
    async fn refuse_eviction(&self) -> Result<(), EngineError> {
        let info: String = self
            .run(async |mut lane| redis::cmd("INFO").arg("memory").query_async(&mut lane).await)
            .await?;
        let policy = info
            .lines()
            .find_map(|line| line.strip_prefix("maxmemory_policy:"))
            .unwrap_or("noeviction")
            .trim();
        if policy == "noeviction" {
            return Ok(());
        }
        let cause = anyhow!(
            "its maxmemory-policy is {policy}: set `maxmemory-policy noeviction`, or codes and counts vanish"
        );
        Err(EngineError::broken(ENGINE, cause))
    }

    pub async fn admit(&self, ask: &Admit<'_>, guard: &Guard) -> Result<Admission, EngineError> {
        let limits = ask.limits;
        let mut call = ask_keys(&ADMIT, ask);
        let note =
            AskNote { channel: ask.channel, locale: ask.locale.map(str::to_owned), profile: None };
        call.arg(self.clock.ahead_ms())
            .arg(ask.request_id.to_string())
            .arg(ask.new_code_id.to_string())
            .arg(ask.ttl_ms)
            .arg(ask.attempts)
            .arg(u8::from(ask.idempotency.is_some()))
            .arg(ask.idempotency.as_ref().map_or("", |key| key.body.as_str()))
            .arg(u8::from(ask.unlimited))
            .arg(limits.resend_cooldown_secs * 1000)
            .arg(COOLDOWN_CAP_MS)
            .arg(limits.sends_per_phone_hour)
            .arg(limits.sends_per_phone_day)
            .arg(limits.sends_per_ip_hour)
            .arg(limits.sends_per_country_hour)
            .arg(limits.sends_per_country_day)
            .arg(limits.sends_per_prefix_hour)
            .arg(limits.sends_per_prefix_day)
            .arg(limits.sends_global_day)
            .arg(ask.channel.as_str())
            .arg(encode(&note)?)
            .arg(STATUS_KEPT_MS)
            .arg(IDEMPOTENCY_MS)
            .arg(if ask.unlimited { PumpingGuard::Off } else { ask.guard }.as_str())
            .arg(rule_words(&guard.rule));
        let answer = Answer(self.script(call).await?);
        Ok(match answer.word(0)? {
            "admitted" => {
                let now = answer.time(2)?;
                if let Some(mut shown) = answer.shown(5, now)? {
                    shown.added.sends = 1;
                    guard.news.note(ask.place(), shown);
                }
                Admission::Admitted {
                    code_id: answer.parse(1)?,
                    now,
                    expires_at: answer.time(3)?,
                    resend_at: answer.time(4)?,
                }
            }
            "replayed" => Admission::Replayed(Replay {
                request_id: answer.parse(1)?,
                code_id: answer.parse(2)?,
                channel: answer.parse(3)?,
                now: answer.time(4)?,
                expires_at: answer.time(5)?,
                resend_at: answer.time(6)?,
                published: answer.word(7)? == "1",
            }),
            "reused" => Admission::KeyReused,
            "limited" => {
                if let Some(mut shown) = answer.shown(3, self.clock.now())? {
                    shown.would_refuse = false;
                    shown.added.refused = 1;
                    guard.news.note(ask.place(), shown);
                }
                Admission::Limited { limit: answer.parse(1)?, retry_after: answer.secs(2)? }
            }
            "exhausted" => Admission::Exhausted { retry_after: answer.secs(1)? },
            other => return Err(odd(other)),
        })
    }

    pub async fn withdraw(&self, ask: &Admit<'_>, guard: &Guard) -> Result<(), EngineError> {
        let mut call = ask_keys(&WITHDRAW, ask);
        call.arg(ask.request_id.to_string())
            .arg(u8::from(ask.idempotency.is_some()))
            .arg(u8::from(!ask.unlimited))
            .arg(u8::from(ask.limits.resend_cooldown_secs > 0))
            .arg(self.clock.ahead_ms())
            .arg(rule_words(&guard.rule));
        let answer = Answer(self.script(call).await?);
        if let Some(mut shown) = answer.shown(0, self.clock.now())? {
            shown.added.sends = -1;
            guard.news.note(ask.place(), shown);
        }
        Ok(())
    }

    pub async fn published(&self, ask: &Admit<'_>) -> Result<(), EngineError> {
        let key = idempotency_key(ask);
        self.run(async |mut lane| lane.hset(&key, "published", 1).await).await
    }

    pub async fn issue(&self, issue: &Issue<'_>) -> Result<Issued, EngineError> {
        let mut call = ISSUE.key(code_key(issue.phone, issue.scope));
        call.arg(self.clock.ahead_ms())
            .arg(issue.request_id.to_string())
            .arg(issue.code_id.to_string())
            .arg(issue.expires_at.ms())
            .arg(issue.code.map_or("", |code| code.digest))
            .arg(issue.code.map_or("", |code| code.sealed))
            .arg(encode(&issue.note)?)
            .arg(issue.note.channel.as_str());
        let answer = Answer(self.script(call).await?);
        Ok(match answer.word(0)? {
            "code" => Issued::Code(answer.word(1)?.to_owned()),
            "nothing" => Issued::Nothing,
            "used" => Issued::Used,
            "superseded" => Issued::Superseded,
            "expired" => Issued::Expired,
            other => return Err(odd(other)),
        })
    }

    pub async fn verify(&self, guess: &Verify<'_>) -> Result<Judged, EngineError> {
        let mut call = VERIFY.key(code_key(guess.phone, guess.scope));
        call.key(void_key(guess.phone, guess.scope))
            .key(logins_key(guess.ip_key))
            .arg(self.clock.ahead_ms())
            .arg(guess.digest)
            .arg(guess.request_id.map_or_else(String::new, |id| id.to_string()))
            .arg(guess.attempts)
            .arg(guess.ttl_ms)
            .arg(guess.logins_per_ip_minute)
            .arg(unique());
        let answer = Answer(self.script(call).await?);
        let code = || answer.word(1).map(|id| (!id.is_empty()).then_some(id));
        Ok(match answer.word(0)? {
            "right" => Judged::Right {
                code_id: answer.parse(1)?,
                now: answer.time(2)?,
                expires_at: answer.time(3)?,
                attempts_left: answer.parse(4)?,
                channel: answer.parse(5)?,
                asks: read_asks(answer.0.get(6..).unwrap_or_default())?,
            },
            "wrong" => Judged::Wrong {
                code: match code()? {
                    Some(_) => Some((answer.parse(1)?, answer.time(3)?)),
                    None => None,
                },
                now: answer.time(2)?,
                attempts_left: answer.parse(4)?,
            },
            "exhausted" => Judged::Exhausted {
                code: code()?.map(|_| answer.parse(1)).transpose()?,
                now: answer.time(2)?,
                until: answer.time(3)?,
            },
            "limited" => Judged::Limited { retry_after: answer.secs(1)? },
            other => return Err(odd(other)),
        })
    }

    pub async fn count_login(&self, ip_key: &str, most: u64) -> Result<Option<u64>, EngineError> {
        if most == 0 {
            return Ok(None);
        }
        let mut call = COUNT_LOGIN.key(logins_key(ip_key));
        call.arg(self.clock.ahead_ms()).arg(most).arg(unique());
        let wait_ms: i64 = self.script(call).await?;
        Ok((wait_ms > 0).then(|| secs_up(wait_ms)))
    }

    pub async fn count_distinct(
        &self,
        key: &str,
        member: &str,
        most: u32,
    ) -> Result<bool, EngineError> {
        let mut call = COUNT_DISTINCT.key(format!("lk:distinct:{key}"));
        call.arg(member).arg(most).arg(DISTINCT_KEPT_SECS * 1000);
        Ok(self.script::<i64>(call).await? == 1)
    }

    pub async fn first_time(&self, key: &str, kept_secs: u64) -> Result<bool, EngineError> {
        let mut call = FIRST_TIME.key(format!("lk:once:{key}"));
        call.arg(self.clock.ahead_ms()).arg(kept_secs * 1000);
        Ok(self.script::<i64>(call).await? == 1)
    }

    pub async fn refund(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: Option<CodeId>,
    ) -> Result<(), EngineError> {
        let mut call = REFUND.key(code_key(phone, scope));
        call.key(void_key(phone, scope)).arg(code.map_or_else(String::new, |id| id.to_string()));
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn close(
        &self,
        phone: &PhoneKey,
        scope: Scope,
        code: CodeId,
        verified: Option<RequestId>,
        place: Place<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let mut call = CLOSE.key(code_key(phone, scope));
        call.key(cool_key(phone))
            .key(void_key(phone, scope))
            .key(net_key("p", place.operator_prefix))
            .key(net_key("c", place.country))
            .arg(self.clock.ahead_ms())
            .arg(code.to_string())
            .arg(verified.map_or_else(String::new, |id| id.to_string()))
            .arg(REQUEST)
            .arg(rule_words(&guard.rule));
        let answer = Answer(self.script(call).await?);
        if let Some(mut shown) = answer.shown(0, self.clock.now())? {
            shown.added.verified = 1;
            guard.news.note(place, shown);
        }
        Ok(())
    }

    pub async fn forget(&self, phone: &PhoneKey, user: UserId) -> Result<(), EngineError> {
        // Of another hash slot than the phone's keys.
        let change = change_key(user);
        self.run(async |mut lane| lane.del::<_, i64>(&change).await).await?;
        let mut call = FORGET.key(code_key(phone, Scope::Login));
        call.key(void_key(phone, Scope::Login))
            .key(cool_key(phone))
            .key(sends_key(phone))
            .key(inbox_key(phone))
            .key(firsts_key(phone));
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn raise(
        &self,
        request: RequestId,
        status: Status,
        reason: Option<Reason>,
        expires_at: Timestamp,
    ) -> Result<bool, EngineError> {
        let (rank, within) = status.order();
        let mut call = RAISE.key(request_key(request));
        call.key(OPEN)
            .arg(self.clock.ahead_ms())
            .arg(request.to_string())
            .arg(status.as_str())
            .arg(format!("{rank}.{within}"))
            .arg(reason.map_or("", Reason::as_str))
            .arg(expires_at.ms())
            .arg(STATUS_KEPT_MS);
        Ok(self.script::<i64>(call).await? == 1)
    }

    pub async fn status(&self, request: RequestId) -> Result<Option<RequestStatus>, EngineError> {
        const FIELDS: [&str; 5] = ["status", "reason", "updated", "expires", "channel"];
        let key = request_key(request);
        let [status, reason, updated, expires, channel]: [Option<String>; 5] = self
            .run(async |mut lane| {
                redis::cmd("HMGET").arg(&key).arg(&FIELDS).query_async(&mut lane).await
            })
            .await?;
        let (Some(status), Some(updated), Some(expires)) = (status, updated, expires) else {
            return Ok(None);
        };
        Ok(Some(RequestStatus {
            status: parse(&status)?,
            reason: reason.as_deref().map(parse).transpose()?,
            updated_at: Timestamp::from_ms(parse(&updated)?),
            expires_at: Timestamp::from_ms(parse(&expires)?),
            channel: channel.as_deref().map_or(Ok(crate::vocabulary::Channel::Sms), parse)?,
        }))
    }

    pub async fn is_wanted(&self, request: RequestId) -> Result<bool, EngineError> {
        let key = request_key(request);
        let closed: bool = self.run(async |mut lane| lane.hexists(&key, "closed").await).await?;
        Ok(!closed)
    }

    pub async fn sweep(&self, most: u32) -> Result<Vec<Swept>, EngineError> {
        let mut call = SWEEP.key(OPEN);
        call.arg(self.clock.ahead_ms()).arg(most).arg(REQUEST);
        let answer = Answer(self.script(call).await?);
        (0..answer.0.len() / 2)
            .map(|i| Ok(Swept { request_id: answer.parse(2 * i)?, was: answer.parse(2 * i + 1)? }))
            .collect()
    }

    pub async fn keep_text(&self, text: &KeptText) -> Result<(), EngineError> {
        let key = inbox_key(&text.phone);
        self.run(async |mut lane| {
            redis::pipe()
                .hset_nx(&key, text.message_id.to_string(), &text.sealed)
                .ignore()
                .pexpire(&key, TEXT_KEPT_MS)
                .ignore()
                .query_async(&mut lane)
                .await
        })
        .await
    }

    pub async fn kept_texts(&self, phone: &PhoneKey) -> Result<Vec<String>, EngineError> {
        let key = inbox_key(phone);
        self.run(async |mut lane| lane.hvals(&key).await).await
    }

    pub async fn note_change(
        &self,
        user: UserId,
        sealed: &str,
        ttl_ms: i64,
    ) -> Result<(), EngineError> {
        let key = change_key(user);
        let ttl_ms = u64::try_from(ttl_ms).unwrap_or_default();
        self.run(async |mut lane| lane.pset_ex(&key, sealed, ttl_ms).await).await
    }

    pub async fn noted_change(&self, user: UserId) -> Result<Option<String>, EngineError> {
        let key = change_key(user);
        self.run(async |mut lane| lane.get(&key).await).await
    }

    pub async fn count_start(&self, message: &str) -> Result<u32, EngineError> {
        let key = format!("lk:starts:{message}");
        let (starts,): (u32,) = self
            .run(async |mut lane| {
                redis::pipe().incr(&key, 1).expire(&key, 3600).ignore().query_async(&mut lane).await
            })
            .await?;
        Ok(starts)
    }

    pub async fn starts(&self, message: &str) -> Result<u32, EngineError> {
        let key = format!("lk:starts:{message}");
        let starts: Option<u32> = self.run(async |mut lane| lane.get(&key).await).await?;
        Ok(starts.unwrap_or(0))
    }

    pub async fn forget_starts(&self, message: &str) -> Result<(), EngineError> {
        let key = format!("lk:starts:{message}");
        self.run(async |mut lane| lane.del(&key).await).await
    }

    pub async fn ready(&self) -> Result<(), EngineError> {
        self.run(async |mut lane| redis::cmd("PING").query_async::<()>(&mut lane).await).await
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        call: ScriptInvocation<'_>,
    ) -> Result<T, EngineError> {
        self.run(async |mut lane| call.invoke_async(&mut lane).await).await
    }

    /// Runs a command on a shared connection; one that fails or stays silent is replaced for those who come next.
    async fn run<T, F>(
        &self,
        act: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % LANES];
        let mut used = None;
        // The wait for a connection counts too: behind one that cannot be made, callers stand in line.
        let answer = tokio::time::timeout(ANSWER_WITHIN, async {
            let connection = self.connection(lane).await?;
            used = Some(connection.made);
            act(connection.connection).await.map_err(|error| {
                let broken =
                    error.is_unrecoverable_error() || error.is_io_error() || error.is_timeout();
                Failed::Command { broken, error: judge(&error) }
            })
        })
        .await;
        let (broken, error) = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Failed::Connect(error))) => return Err(error),
            Ok(Err(Failed::Command { broken, error })) => (broken, error),
            Err(_) => (true, silent()),
        };
        if let Some(made) = used.filter(|_| broken) {
            Self::drop_connection(lane, made).await;
        }
        Err(error)
    }

    async fn connection(&self, lane: &Lane) -> Result<Connected, Failed> {
        let there = lane.read().await.clone();
        match there {
            Some(connection) => Ok(connection),
            None => self.fill(lane).await.map_err(Failed::Connect),
        }
    }

    /// Drops the connection that failed, and not one that somebody made in its place meanwhile.
    async fn drop_connection(lane: &Lane, made: usize) {
        let dropped = async {
            let mut slot = lane.write().await;
            if slot.as_ref().is_some_and(|connection| connection.made == made) {
                *slot = None;
            }
        };
        // Held by one who connects: then it is empty already.
        let _ = tokio::time::timeout(Duration::from_millis(50), dropped).await;
    }

    async fn fill(&self, lane: &Lane) -> Result<Connected, EngineError> {
        let mut slot = lane.write().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let pooled = tokio::time::timeout(CONNECT_WITHIN, self.pool.get())
            .await
            .map_err(|_| EngineError::away(ENGINE, anyhow!("no connection in time")))?
            .map_err(|e| EngineError::away(ENGINE, anyhow!("connect: {e}")))?;
        // Taken out of the pool: this lane keeps it, and drops it when it breaks.
        let connection = Connected {
            connection: deadpool_redis::Connection::take(pooled),
            made: self.next.fetch_add(LANES, Ordering::Relaxed),
        };
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

type Lane = RwLock<Option<Connected>>;

/// A connection that all requests of a lane share.
#[derive(Clone)]
struct Connected {
    connection: MultiplexedConnection,
    /// Tells it from the one that comes after it.
    made: usize,
}

enum Failed {
    Connect(EngineError),
    Command { broken: bool, error: EngineError },
}

fn silent() -> EngineError {
    EngineError::away(ENGINE, anyhow!("no answer within {} ms", ANSWER_WITHIN.as_millis()))
}

/// Hears of every status change and wakes who waits, for as long as the process runs.
///
/// Those who wait do not ask for themselves, so this one connection must be known to work: a word of our own goes round
/// by it, and when it does not come back in time, the connection is made anew.
async fn follow(client: redis::Client, hub: Hub) {
    loop {
        // Whatever ends it, what changed meanwhile is read again by the next one.
        let _ = hear(&client, &hub).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn hear(client: &redis::Client, hub: &Hub) -> Result<(), RedisError> {
    let in_time = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connect = async {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(STATUS_CHANNEL).await?;
        let lane = client.get_multiplexed_async_connection().await?;
        Ok::<_, RedisError>((subscription, lane))
    };
    let (mut subscription, mut lane) =
        tokio::time::timeout(CONNECT_WITHIN * 2, connect).await.map_err(|_| in_time())??;
    hub.wake_all();
    let round = format!("round:{}", unique());
    let mut changes = subscription.on_message();
    let mut heard = tokio::time::Instant::now();
    let mut every = tokio::time::interval(ROUND_EVERY);
    loop {
        tokio::select! {
            change = changes.next() => {
                let Some(change) = change else { return Ok(()) };
                let word = change.get_payload::<String>().unwrap_or_default();
                if word == round {
                    heard = tokio::time::Instant::now();
                } else if let Ok(request) = word.parse() {
                    hub.wake(request);
                }
            }
            _ = every.tick() => {
                if heard.elapsed() > ROUND_EVERY * 2 {
                    return Err(in_time());
                }
                lane.publish::<_, _, ()>(STATUS_CHANNEL, &round).await?;
            }
        }
    }
}

/// A server that is full, loading, read-only or busy is as good as away: it takes no work from anybody.
fn judge(error: &RedisError) -> EngineError {
    let away = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
            )
        )
        || matches!(error.code(), Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS"))
        // A script reports the refusal of a command within it by its text.
        || error.to_string().contains("OOM command not allowed");
    // The error's text can repeat what was sent, so only its kind and code are kept.
    let cause = anyhow!("{:?} {}", error.kind(), error.code().unwrap_or_default());
    if away { EngineError::away(ENGINE, cause) } else { EngineError::broken(ENGINE, cause) }
}

fn ask_keys<'s>(script: &'s Script, ask: &Admit<'_>) -> ScriptInvocation<'s> {
    let mut call = script.key(code_key(ask.phone, ask.scope));
    call.key(cool_key(ask.phone))
        .key(sends_key(ask.phone))
        .key(idempotency_key(ask))
        .key(format!("lk:ip:{}:sends", ask.ip_key))
        .key(format!("lk:country:{}", ask.country))
        .key(format!("lk:prefix:{}", ask.operator_prefix))
        .key("lk:world")
        .key(request_key(ask.request_id))
        .key(OPEN)
        .key(firsts_key(ask.phone))
        .key(net_key("p", ask.operator_prefix))
        .key(net_key("c", ask.country));
    call
}

/// A net of the pumping guard: `p` for a prefix, `c` for a country.
fn net_key(kind: &str, name: &str) -> String {
    format!("lk:guard:{kind}:{name}")
}

/// The rule as `guard.lua` reads it.
fn rule_words(rule: &Rule) -> String {
    format!(
        "{},{},{},{},{},{},{},{},{},{},{},{}",
        rule.min_sends,
        rule.conversion_permille,
        rule.window_minutes(),
        rule.settle_minutes(),
        rule.settle_secs * 1000,
        rule.doubt,
        rule.probes,
        rule.probes_verified,
        rule.block_secs * 1000,
        rule.block_cap_secs * 1000,
        rule.forget_secs * 1000,
        rule.country_factor,
    )
}

// The braces make all keys of one phone fall into one slot of a Redis Cluster.
fn code_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:code:{scope}")
}

fn void_key(phone: &PhoneKey, scope: Scope) -> String {
    format!("lk:{{{phone}}}:void:{scope}")
}

fn cool_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:cool")
}

fn sends_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:sends")
}

/// The keys of the first answers that are kept for a phone.
fn firsts_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:firsts")
}

fn inbox_key(phone: &PhoneKey) -> String {
    format!("lk:{{{phone}}}:inbox")
}

fn idempotency_key(ask: &Admit<'_>) -> String {
    let key = ask.idempotency.as_ref().map_or("none", |given| given.key.as_str());
    format!("lk:{{{}}}:first:{}:{key}", ask.phone, ask.route)
}

fn change_key(user: UserId) -> String {
    format!("lk:change:{}", digest_of(user))
}

fn logins_key(ip_key: &str) -> String {
    format!("lk:ip:{ip_key}:logins")
}

fn request_key(request: RequestId) -> String {
    format!("{REQUEST}{request}")
}

fn unique() -> String {
    crate::keys::hex(&crate::rng::bytes::<8>())
}

fn secs_up(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().div_ceil(1000)
}

fn encode(note: &AskNote) -> Result<String, EngineError> {
    serde_json::to_string(note).map_err(|e| EngineError::broken(ENGINE, e))
}

/// `r:<request>` → `<turn> <note>`, among the code's other fields.
fn read_asks(fields: &[String]) -> Result<Vec<(RequestId, AskNote)>, EngineError> {
    let mut asks = Vec::new();
    for pair in fields.chunks_exact(2) {
        let Some(request) = pair[0].strip_prefix("r:") else { continue };
        let (turn, note) = pair[1].split_once(' ').ok_or_else(|| odd("an ask without a turn"))?;
        let note: AskNote =
            serde_json::from_str(note).map_err(|_| odd("an ask that cannot be read"))?;
        asks.push((parse::<u32>(turn)?, parse(request)?, note));
    }
    asks.sort_by_key(|(turn, ..)| *turn);
    Ok(asks.into_iter().map(|(_, request, note)| (request, note)).collect())
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, EngineError> {
    text.parse()
        .ok()
        .with_context(|| format!("read a {}", std::any::type_name::<T>()))
        .map_err(|e| EngineError::broken(ENGINE, e))
}

fn odd(what: &str) -> EngineError {
    EngineError::broken(ENGINE, anyhow!("unexpected answer: {what}"))
}

/// A script's answer: a list of words.
struct Answer(Vec<String>);

impl Answer {
    fn word(&self, at: usize) -> Result<&str, EngineError> {
        self.0.get(at).map(String::as_str).ok_or_else(|| odd("too short"))
    }

    fn parse<T: std::str::FromStr>(&self, at: usize) -> Result<T, EngineError> {
        parse(self.word(at)?)
    }

    fn time(&self, at: usize) -> Result<Timestamp, EngineError> {
        Ok(Timestamp::from_ms(self.parse(at)?))
    }

    fn secs(&self, at: usize) -> Result<u64, EngineError> {
        Ok(secs_up(self.parse(at)?))
    }

    /// The guard's words from there on, if there are any.
    fn shown(&self, from: usize, at: Timestamp) -> Result<Option<Shown>, EngineError> {
        /// Kind, state, sends, verified, level, end.
        const CHANGE: usize = 6;
        if self.0.len() <= from {
            return Ok(None);
        }
        let changes = (from + 4..self.0.len()).step_by(CHANGE).map(|i| {
            let until: i64 = self.parse(i + 5)?;
            Ok(Change {
                kind: self.parse(i)?,
                state: self.parse(i + 1)?,
                sends: self.parse(i + 2)?,
                verified: self.parse(i + 3)?,
                level: self.parse(i + 4)?,
                until: (until > 0).then(|| Timestamp::from_ms(until)),
            })
        });
        Ok(Some(Shown {
            minute: self.parse(from)?,
            at,
            country: (self.parse(from + 1)?, self.parse(from + 2)?),
            would_refuse: self.word(from + 3)? == "1",
            changes: changes.collect::<Result<_, EngineError>>()?,
            added: Added::default(),
        }))
    }
}
