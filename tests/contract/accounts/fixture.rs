//! A separate database for each test, and short helpers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use accounts::{
    Accounts, AttemptKind, AttemptLimits, Attempts, Audit, Blocks, Claimant, Counted, Deleter,
    Denied, GuardHistory, KnownDevice, LoginOutcome, Method, NewSession, Outbox, OutboxEvent,
    PasswordChange, PasswordChangeDenied, Presented, Publisher, Session, Sessions, Settled, SignIn,
    Sweeper, Throttle, UsedCode, User,
};
use domain::clock::Clock;
use domain::ids::{CodeId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use secrecy::SecretString;
use sql::Pool;

use testkit::engines::Engines;
use testkit::proxy::Proxy;

pub const LIMITS: AttemptLimits =
    AttemptLimits { attempts: 5, max_failures: 100, failure_reset_secs: 86_400 };
/// The pseudonym of a deleted account.
pub const GONE: &str = "5f0c1d2e3a4b59687786958493a2b1c0";
pub const DAY: i64 = 86_400;
pub const IDLE: i64 = 30 * DAY;
pub const MAX: i64 = 180 * DAY;
pub const GRACE: i64 = 30;

/// Every facet, on one pool.
pub struct Db {
    pub pool: Pool,
    pub accounts: Accounts,
    pub attempts: Attempts,
    pub audit: Audit,
    pub blocks: Blocks,
    pub guard_history: GuardHistory,
    pub outbox: Outbox,
    pub publisher: Publisher,
    pub sessions: Sessions,
    pub sweeper: Sweeper,
}

impl Db {
    async fn sqlite(folder: &std::path::Path) -> Self {
        Self::on(Pool::sqlite(folder).await.unwrap())
    }

    async fn postgres(url: &str) -> Self {
        Self::on(Pool::postgres(&SecretString::from(url)).await.unwrap())
    }

    fn on(pool: Pool) -> Self {
        Self {
            accounts: Accounts::new(&pool),
            attempts: Attempts::new(&pool),
            audit: Audit::new(&pool),
            blocks: Blocks::new(&pool),
            guard_history: GuardHistory::new(&pool),
            outbox: Outbox::new(&pool),
            publisher: Publisher::new(Clock::manual().now()),
            sessions: Sessions::new(&pool),
            sweeper: Sweeper::new(&pool),
            pool,
        }
    }
}

impl Db {
    /// Publishes what waits, as a gateway does, to a broker that takes all.
    pub async fn published(&self, batch: u32, now: Timestamp) -> Vec<OutboxEvent> {
        let (mut events, mut behind) = (Vec::new(), 0);
        loop {
            let entries = self.outbox.take(self.publisher, behind, batch, now).await.unwrap();
            let Some(last) = entries.last() else { return events };
            behind = last.id;
            let done: Vec<_> = entries.iter().map(|entry| entry.id).collect();
            let settled = Settled { done: &done, rest: &[], more: true };
            assert!(self.outbox.settle(self.publisher, settled).await.unwrap());
            events.extend(entries.into_iter().flat_map(|entry| entry.events.unwrap()));
        }
    }
}

pub struct AccountsFixture {
    pub db: Db,
    pub clock: Clock,
    database: Database,
}

enum Database {
    Folder(PathBuf),
    Url(String),
}

impl Drop for AccountsFixture {
    fn drop(&mut self) {
        if let Database::Folder(folder) = &self.database {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A phone that only one test uses.
pub struct Phone {
    pub number: E164,
    pub key: PhoneKey,
}

impl Phone {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = serde_json::from_value(serde_json::json!(format!("key-of-{n}"))).unwrap();
        Self { number: format!("+98912{n:07}").parse().unwrap(), key }
    }

    pub fn stranger(&self) -> Claimant<'_> {
        Claimant {
            phone_number: &self.number,
            phone_key: &self.key,
            former_key: None,
            known_device: None,
        }
    }

    pub fn known(&self, user: UserId) -> Claimant<'_> {
        self.device(user, "a device")
    }

    pub fn device<'a>(&'a self, user: UserId, key: &'a str) -> Claimant<'a> {
        Claimant { known_device: Some(KnownDevice { user, key }), ..self.stranger() }
    }
}

impl AccountsFixture {
    pub async fn sqlite() -> Self {
        let fixture = Self::sqlite_bare().await;
        fixture.db.pool.migrate(accounts::FUNCTIONS).await.unwrap();
        fixture
    }

    pub async fn postgres() -> Self {
        let fixture = Self::postgres_bare().await;
        fixture.db.pool.migrate(accounts::FUNCTIONS).await.unwrap();
        fixture
    }

    /// Without a schema.
    pub async fn sqlite_bare() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("latchkey-db-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let db = Db::sqlite(&folder).await;
        Self { db, clock: Clock::manual(), database: Database::Folder(folder) }
    }

    /// Without a schema.
    pub async fn postgres_bare() -> Self {
        let url = Engines::one_by_one().database().await;
        let db = Db::postgres(&url).await;
        Self { db, clock: Clock::manual(), database: Database::Url(url) }
    }

    /// Another process's view of the same database.
    pub async fn another(&self) -> Db {
        match &self.database {
            Database::Folder(folder) => Db::sqlite(folder).await,
            Database::Url(url) => Db::postgres(url).await,
        }
    }

    /// Another process's view of the same PostgreSQL, over a connection that can be broken.
    pub async fn behind_a_proxy(&self) -> (Proxy, Db) {
        let Database::Url(url) = &self.database else { panic!("SQLite has no connection") };
        let (proxy, url) = Proxy::before_url(url).await;
        (proxy, Db::postgres(&url).await)
    }

    pub fn folder(&self) -> Option<&PathBuf> {
        match &self.database {
            Database::Folder(folder) => Some(folder),
            Database::Url(_) => None,
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.database, Database::Url(_))
    }

    /// A connection that bypasses `Db`, like an intruder's or an operator's shell.
    pub async fn raw(&self) -> Raw {
        use sqlx::Connection as _;
        match &self.database {
            Database::Folder(folder) => {
                let url = format!("sqlite://{}/latchkey.sqlite", folder.display());
                Raw::Sqlite(sqlx::SqliteConnection::connect(&url).await.unwrap())
            }
            Database::Url(url) => Raw::Postgres(sqlx::PgConnection::connect(url).await.unwrap()),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn advance(&self, secs: i64) {
        self.clock.advance(Duration::from_secs(u64::try_from(secs).unwrap()));
    }

    pub fn code(&self) -> UsedCode {
        UsedCode { id: CodeId::new(&self.clock), expires_at: self.now().plus_secs(300) }
    }

    pub fn new_session(&self) -> NewSession<'static> {
        NewSession {
            id: SessionId::new(&self.clock),
            method: Method::Sms,
            device: "Phone/1",
            ip: "192.0.2.0",
            idle_secs: IDLE,
            max_secs: MAX,
            jkt: None,
        }
    }

    /// A sign-in as the gateway would submit it.
    pub fn new_sign_in<'a>(&self, phone: &'a Phone, code: UsedCode) -> SignIn<'a> {
        SignIn {
            claimant: phone.stranger(),
            code,
            request_id: None,
            limits: LIMITS,
            new_user: UserId::new(&self.clock),
            profile: None,
            locale: "fa",
            country: "IR",
            session: self.new_session(),
            key: None,
            traceparent: None,
            now: self.now(),
        }
    }

    pub async fn login(&self, phone: &Phone, code: UsedCode) -> Result<LoginOutcome, Denied> {
        self.db.accounts.sign_in(self.new_sign_in(phone, code)).await.unwrap()
    }

    /// Signs in with a fresh code.
    pub async fn signed_in(&self, phone: &Phone) -> (User, Session) {
        signed_in(self.login(phone, self.code()).await)
    }

    /// Replaces an account's password, whose hash is `was`, without presenting the current one.
    /// Deletes an account without telling anybody. Returns whether it did.
    pub async fn delete(&self, by: Deleter<'_>, user: UserId) -> bool {
        self.db.accounts.delete(by, user, GONE, &[], None, self.now()).await.unwrap()
    }

    pub async fn set_password(
        &self,
        session: &Session,
        was: Option<&str>,
        hash: &str,
    ) -> Result<bool, PasswordChangeDenied> {
        let change = PasswordChange {
            user_id: session.user_id,
            was,
            hash: Some(hash),
            attempt: None,
            keep: session.id,
            notice: None,
            now: self.now(),
        };
        self.db.accounts.set_password(change).await.unwrap()
    }

    pub async fn attempt(
        &self,
        claimant: Claimant<'_>,
        code: Option<UsedCode>,
    ) -> Result<Counted, Throttle> {
        let code = code.map(|code| (code.id, code.expires_at));
        self.db
            .attempts
            .record_failure(claimant, AttemptKind::Code, code, LIMITS, self.now())
            .await
            .unwrap()
    }

    /// Counts ten failed passwords of a phone: the next attempt must wait.
    pub async fn ten_wrong_passwords(&self, phone: &Phone, now: Timestamp) {
        for _ in 0..10 {
            let attempt = self.db.attempts.record_failure(
                phone.stranger(),
                AttemptKind::Password,
                None,
                LIMITS,
                now,
            );
            attempt.await.unwrap().unwrap();
        }
    }

    /// Sets the count of a phone, with its last attempt `secs` ago.
    pub async fn set_failures(&self, phone: &Phone, failures: u32, secs: i64) {
        let at = self.now().plus_secs(-secs).ms();
        let key = phone.key.as_str();
        let mut raw = self.raw().await;
        raw.run(&format!("DELETE FROM guesses WHERE phone_key = '{key}' AND kind = 'code'"))
            .await
            .unwrap();
        raw.run(&format!("INSERT INTO guesses VALUES ('{key}', 'code', {failures}, {at})"))
            .await
            .unwrap();
    }

    /// The types of all waiting events, in order; takes them.
    pub async fn events(&self) -> Vec<(String, serde_json::Value)> {
        let events = self.db.published(1000, self.now()).await;
        events
            .into_iter()
            .map(|event| (event.kind, serde_json::from_str(&event.body).unwrap()))
            .collect()
    }

    pub async fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<_> = self.events().await.into_iter().map(|(kind, _)| kind).collect();
        kinds.sort();
        kinds
    }
}

pub enum Raw {
    Postgres(sqlx::PgConnection),
    Sqlite(sqlx::SqliteConnection),
}

impl Raw {
    pub async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => query.execute(connection).await.map(drop),
            Self::Sqlite(connection) => query.execute(connection).await.map(drop),
        }
    }

    /// An id as this engine's SQL writes it.
    pub fn id(&self, id: impl std::fmt::Display) -> String {
        match self {
            Self::Postgres(_) => format!("'{id}'"),
            Self::Sqlite(_) => format!("X'{}'", id.to_string().replace('-', "")),
        }
    }

    pub async fn number(&mut self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(connection) => {
                sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
            }
            Self::Sqlite(connection) => {
                sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
            }
        }
    }
}

/// A refresh token whose sender proves no key.
pub fn token(session: SessionId, generation: i64) -> Presented<'static> {
    Presented { session, generation, jkt: None }
}

#[track_caller]
pub fn signed_in(outcome: Result<LoginOutcome, Denied>) -> (User, Session) {
    match outcome {
        Ok(LoginOutcome::SignedIn { user, session, .. }) => (user, session),
        other => panic!("not signed in: {other:?}"),
    }
}
