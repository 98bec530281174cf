//! PostgreSQL goes back to a dump that was taken under load, while Redis and the broker lose everything or keep everything;
//! and the page about it, run as it stands there.

mod all_lost;
mod database_alone;
mod page;

use serde_json::{Value, json};

use testkit::eventually;
use testkit::folder::Folder;
use testkit::http::{Api, new_phone, wrong};
use testkit::postgres::{self, Postgres};
use testkit::server::find_program;

use super::provider::Provider;

/// Fewer failures than in production, so that a test reaches the lock: at the fifth in a row. And lives that outlast a test on
/// a slow machine.
const SETTINGS: [(&str, &str); 3] = [
    ("LATCHKEY_OTP_MAX_FAILURES", "5"),
    ("LATCHKEY_OTP_TTL_SECS", "600"),
    ("LATCHKEY_ACCESS_TTL_SECS", "3600"),
];

/// The settings of a system that sends by this provider.
fn settings(provider: &Provider) -> Vec<(&str, &str)> {
    provider.settings().into_iter().chain(SETTINGS).collect()
}

/// Somebody who signed in, with the tokens of then.
struct Person {
    phone: String,
    code: String,
    body: Value,
}

impl Person {
    /// Signs somebody in, by the text that the provider took.
    async fn new(api: &Api, provider: &Provider) -> Self {
        Self::at(api, provider, &new_phone()).await
    }

    async fn at(api: &Api, provider: &Provider, phone: &str) -> Self {
        let code = fresh_code(api, provider, phone).await;
        let body = use_code(api, phone, &code).await;
        Self { phone: phone.to_owned(), code, body }
    }

    fn access(&self) -> &str {
        self.body["access"].as_str().expect("an access token")
    }

    fn refresh(&self) -> &str {
        self.body["refresh"].as_str().expect("a refresh token")
    }

    fn id(&self) -> &Value {
        &self.body["user"]["id"]
    }
}

/// Signs in with a right code; repeated after a 503, it is the same sign-in.
async fn use_code(api: &Api, phone: &str, code: &str) -> Value {
    let key = domain::rng::id_v4().to_string();
    let body = json!({ "phone_number": phone, "otp": code });
    api.post_with("/v1/login", body, &[("idempotency-key", &key)]).await.expect(200).body
}

/// Requests a code and reads it from the next text to this phone.
async fn fresh_code(api: &Api, provider: &Provider, phone: &str) -> String {
    let texts = |provider: &Provider| {
        provider.taken().into_iter().filter(|text| text.phone == phone).collect::<Vec<_>>()
    };
    let before = texts(provider).len();
    api.otp(phone).await.expect(202);
    let next = eventually("the text", testkit::PATIENCE, async || {
        texts(provider).get(before..)?.last().cloned()
    });
    next.await.code
}

/// Fails this many times at a code; each is counted.
async fn fail(api: &Api, phone: &str, code: &str, times: std::ops::RangeInclusive<u64>) {
    for time in times {
        api.login(phone, &wrong(code, time)).await.problem(401, "otp_incorrect");
    }
}

/// A dump of a database in a file, taken as the page says.
struct Dump {
    folder: Folder,
}

impl Dump {
    async fn of(database_url: &str) -> Self {
        let folder = Folder::new("dump");
        let file = folder.join("latchkey.dump").display().to_string();
        run("pg_dump", &["--format=custom", "--file", &file, database_url]).await;
        Self { folder }
    }

    /// Restores it into an empty database.
    async fn into(&self, database_url: &str) {
        let file = self.folder.join("latchkey.dump").display().to_string();
        let args = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"];
        run("pg_restore", &[&args[..], &["--dbname", database_url, &file]].concat()).await;
    }

    /// Restores it on a server of its own, in a database of the same name.
    async fn on_a_new_server(&self) -> (Postgres, String) {
        let server = Postgres::start(testkit::launch::Keeps::Everything).await;
        let url = server.database().await;
        self.into(&url).await;
        (server, url)
    }
}

async fn run(name: &str, args: &[&str]) {
    let program = find_program(name, &["/usr/lib/postgresql"], "postgresql-client");
    let output = tokio::process::Command::new(program).args(args).output().await;
    let output = output.unwrap_or_else(|error| panic!("run {name}: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a statement counts in a database.
async fn count(database_url: &str, sql: &'static str) -> i64 {
    let mut look = postgres::connect(database_url).await.expect("connect");
    sqlx::query_scalar(sql).fetch_one(&mut look).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Each sign-in is whole in this database or absent.
async fn assert_whole(database_url: &str) {
    let sessions = count(database_url, "SELECT count(*) FROM sessions").await;
    assert!(sessions > 0, "nobody signed in");
    for all in [
        "SELECT count(*) FROM used_codes",
        "SELECT count(*) FROM audit WHERE act IN ('signed_up', 'signed_in')",
    ] {
        assert_eq!(count(database_url, all).await, sessions, "{all}");
    }
    let empty = "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM sessions)";
    assert_eq!(count(database_url, empty).await, 0);
}
