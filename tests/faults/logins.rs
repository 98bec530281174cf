//! Logins that are written together, and faults amid them.

use domain::ids::SessionId;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use sql::Pool;

use crate::journeys::claims;
use testkit::http::{Answer, Api, new_phone, served};
use testkit::system::{Side, System};
use testkit::{PATIENCE, eventually};

/// Logins of different phones at once.
const AT_ONCE: usize = 24;

/// A login that waits to be made.
struct Login {
    phone: String,
    code: String,
}

impl Login {
    async fn many(api: &Api) -> Vec<Self> {
        let mut phones: Vec<String> = (0..AT_ONCE).map(|_| new_phone()).collect();
        phones.sort();
        join_all(
            phones
                .into_iter()
                .map(async |phone| Self { code: api.fresh_code(&phone).await, phone }),
        )
        .await
    }

    /// With an `Idempotency-Key`; `None` if the connection broke.
    async fn on(&self, api: &Api) -> Option<Answer> {
        let body = json!({ "phone_number": self.phone, "otp": self.code });
        let key = [("idempotency-key", self.phone.as_str())];
        api.try_call(Method::POST, "/v1/login", Some(&body), &key).await.ok()
    }
}

fn session(answer: &Answer) -> SessionId {
    claims(&answer.text("access"))["sid"].as_str().unwrap().parse().unwrap()
}

async fn count(db: &Pool, sql: &'static str) -> i64 {
    db.one("count", sql, &[], |row| row.get("n")).await.unwrap()
}

async fn sessions(db: &Pool) -> i64 {
    count(db, "SELECT count(*) AS n FROM sessions").await
}

/// Each login is whole or absent: none left a part of what it writes.
async fn assert_whole(db: &Pool) {
    let sessions = sessions(db).await;
    for all in [
        "SELECT count(*) AS n FROM used_codes",
        "SELECT count(*) AS n FROM audit WHERE act IN ('signed_up', 'signed_in')",
    ] {
        assert_eq!(count(db, all).await, sessions, "{all}");
    }
    let empty = "SELECT count(*) AS n FROM users WHERE id NOT IN (SELECT user_id FROM sessions)";
    assert_eq!(count(db, empty).await, 0);
}

/// The process dies while its first batches are committed, and knows its sessions after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_a_process_killed_amid_logins_leaves_each_whole_or_absent() {
    let mut system = System::start(Side::Embedded, &[]).await;
    let api = system.api();
    let db = Pool::sqlite(system.env["LATCHKEY_DATA_DIR"].as_ref()).await.unwrap();
    let logins = Login::many(&api).await;
    let (answers, ()) = tokio::join!(join_all(logins.iter().map(|login| login.on(&api))), async {
        eventually("a session", PATIENCE, async || (sessions(&db).await > 0).then_some(())).await;
        system.processes[0].server.kill9().await;
    });
    assert_whole(&db).await;
    system.processes[0].server.spawn();
    system.processes[0].ready().await;
    let mut found = 0;
    for (login, answer) in logins.iter().zip(answers) {
        // The codes were in the memory of the process; what was written has its key.
        let again = login.on(&api).await.unwrap();
        if again.status != 200 {
            again.problem(401, "otp_incorrect");
            assert!(answer.is_none(), "an answered login left nothing");
            continue;
        }
        found += 1;
        if let Some(answer) = answer {
            assert_eq!(session(&answer.expect(200)), session(&again));
        }
    }
    assert_eq!(found, sessions(&db).await);
    assert_whole(&db).await;
}

mod on_the_engines {
    use secrecy::SecretString;
    use sqlx::Connection as _;

    use super::*;
    use crate::journeys::TWICE;
    use testkit::engines::Engines;
    use testkit::postgres;

    async fn pool(url: &str) -> Pool {
        Pool::postgres(&SecretString::from(url)).await.unwrap()
    }

    /// Locks an account, as another transaction would.
    async fn lock<'c>(
        connection: &'c mut sqlx::PgConnection,
        phone: &str,
    ) -> sqlx::Transaction<'c, sqlx::Postgres> {
        let mut locked = connection.begin().await.unwrap();
        let sql = "SELECT 1 FROM users WHERE phone_number = $1 FOR UPDATE";
        sqlx::query(sql).bind(phone).execute(&mut *locked).await.unwrap();
        locked
    }

    /// A gateway dies at one of two points of a batch: its logins are judged and one of them waits for a lock, or some
    /// are committed. The other gateway signs in all that were not, and knows the others by their keys.
    async fn killed(at_a_lock: bool) {
        let engines = Engines::shared().fresh().await;
        let url = engines.database_url.clone();
        let mut system = System::apart(engines, TWICE, &[]).await;
        let (one, other) = (system.api_of(0), system.api_of(1));
        let db = pool(&url).await;
        let mut connection = postgres::connect(&url).await.unwrap();
        let mut logins = Login::many(&one).await;
        // The last in the order of phones: what comes before it in its batch is written and not committed.
        let last = logins.last_mut().unwrap();
        one.login(&last.phone, &last.code).await.expect(200);
        last.code = one.fresh_code(&last.phone).await;
        let locked = if at_a_lock {
            Some(lock(&mut connection, &logins.last().unwrap().phone).await)
        } else {
            None
        };
        let (answers, ()) =
            tokio::join!(join_all(logins.iter().map(|login| login.on(&one))), async {
                eventually("the point", PATIENCE, async || {
                    let waiting = "SELECT count(*) AS n FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()";
                    let reached = if at_a_lock {
                        count(&db, waiting).await > 0
                    } else {
                        sessions(&db).await > 1
                    };
                    reached.then_some(())
                })
                .await;
                system.processes[0].server.kill9().await;
            });
        if let Some(locked) = locked {
            locked.rollback().await.unwrap();
        }
        for (login, answer) in logins.iter().zip(answers) {
            let again = served(async || login.on(&other).await.unwrap()).await.expect(200);
            if let Some(answer) = answer {
                assert_eq!(session(&answer.expect(200)), session(&again));
            }
        }
        assert_eq!(sessions(&db).await, i64::try_from(AT_ONCE).unwrap() + 1);
        assert_whole(&db).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p3_p9_a_gateway_killed_in_mid_batch_leaves_each_login_whole_or_absent() {
        killed(true).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p3_p9_a_gateway_killed_after_a_commit_leaves_each_login_whole_or_absent() {
        killed(false).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_locked_account_gets_503_in_time_and_the_logins_beside_it_200() {
        let engines = Engines::shared().fresh().await;
        let url = engines.database_url.clone();
        let system = System::on(engines, &[]).await;
        let api = system.api();
        let mut connection = postgres::connect(&url).await.unwrap();
        let mut logins = Login::many(&api).await;
        let held = AT_ONCE / 2;
        api.login(&logins[held].phone, &logins[held].code).await.expect(200);
        logins[held].code = api.fresh_code(&logins[held].phone).await;
        let locked = lock(&mut connection, &logins[held].phone).await;
        let all = join_all(logins.iter().enumerate().map(async |(n, login)| {
            let what = format!("login {n}");
            let answer = api.in_time(&what, async { login.on(&api).await.unwrap() }).await;
            if n == held {
                answer.problem(503, "temporarily_unavailable");
            } else {
                answer.expect(200);
            }
        }));
        all.await;
        locked.rollback().await.unwrap();
        // It cost no attempt: the code is good.
        let again = eventually("the account's sign-in", PATIENCE, async || {
            logins[held].on(&api).await.filter(|answer| answer.status != 503)
        });
        again.await.expect(200);
        assert_whole(&pool(&url).await).await;
    }
}
