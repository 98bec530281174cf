//! Startups, and engines that do not answer.

use accounts::Deleter;
use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use domain::engine_error::EngineError;
use futures::future::join_all;
use secrecy::SecretString;
use sql::Pool;

use testkit::PATIENCE;
use testkit::http::ANSWERED_WITHIN;

use super::contract;
use super::fixture::{AccountsFixture, GONE, LIMITS, Phone};

contract!(
    p12_a_locked_database_is_away_in_time_and_recovers,
    p3_a_caller_that_goes_away_leaves_a_sign_in_done_or_undone,
);

/// HTTP clients hang up at any moment. The transaction is then complete or undone, and its connection is usable.
async fn p3_a_caller_that_goes_away_leaves_a_sign_in_done_or_undone(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    let count = async || fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().len();
    for polls in 0..30 {
        fixture
            .db
            .sessions
            .end_others(user.id, mine.id, "ended_by_user", fixture.now())
            .await
            .unwrap();
        let code = fixture.code();
        let mut sign_in = Box::pin(fixture.db.accounts.sign_in(fixture.new_sign_in(&phone, code)));
        let mut left = polls;
        // Abandoned after so many steps: each poll is one step, because it comes when the step before has its answer.
        let answered = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            sign_in.as_mut().poll(context).map(|outcome| outcome.is_ok())
        })
        .await;
        drop(sign_in);
        let again = fixture.login(&phone, code).await;
        // Its own or the repeated one: the code is accepted once, whether or not the caller got the answer.
        assert_eq!(count().await, 2, "after {polls} steps: {again:?}");
        assert!(!answered || again == Err(accounts::Denied::CodeUsed));
    }
}

/// While another connection holds a lock that a sign-in needs, every operation gives up in time; it recovers once the
/// lock is released.
async fn p12_a_locked_database_is_away_in_time_and_recovers(fixture: AccountsFixture) {
    let phone = Phone::new();
    let start = Instant::now();
    let (user, session) = fixture.signed_in(&phone).await;
    let usual = start.elapsed();
    let mut raw = fixture.raw().await;
    let hold = if fixture.is_postgres() {
        "BEGIN; LOCK TABLE users, guesses IN ACCESS EXCLUSIVE MODE"
    } else {
        "BEGIN IMMEDIATE"
    };
    raw.run(hold).await.unwrap();
    let start = Instant::now();
    let code = fixture.code();
    let (login, attempt, delete) = tokio::join!(
        fixture.db.accounts.sign_in(fixture.new_sign_in(&phone, code)),
        fixture.db.attempts.record_failure(
            phone.stranger(),
            accounts::AttemptKind::Code,
            None,
            LIMITS,
            fixture.now()
        ),
        fixture.db.accounts.delete(Deleter::Staff("cli"), user.id, GONE, &[], None, fixture.now()),
    );
    // What a sign-in takes without a lock is the load of the machine.
    let (took, allowed) = (start.elapsed(), ANSWERED_WITHIN + 3 * usual);
    assert!(took < allowed, "{took:?}, {allowed:?} allowed");
    for error in [login.unwrap_err(), attempt.unwrap_err(), delete.unwrap_err()] {
        assert!(error.is_away(), "{error}");
        assert!(!format!("{error:?} {error}").contains(phone.number.digits()));
    }
    raw.run("ROLLBACK").await.unwrap();
    assert!(fixture.db.sessions.live(session.id, fixture.now()).await.unwrap().is_some());
    // The abandoned sign-in was rolled back entirely: the code still works.
    super::fixture::signed_in(fixture.login(&phone, code).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_connections_that_the_server_ended_are_replaced_on_the_engines() {
    let fixture = AccountsFixture::postgres().await;
    let phone = Phone::new();
    fixture.signed_in(&phone).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE pid <> pg_backend_pid() AND datname = current_database()";
    fixture.raw().await.run(end).await.unwrap();
    let start = Instant::now();
    loop {
        let signed_in = fixture.db.accounts.sign_in(fixture.new_sign_in(&phone, fixture.code()));
        // Sign-ins have a connection of their own.
        let done = signed_in.await.map(drop).and(fixture.db.pool.ready().await);
        match done {
            Ok(()) => break,
            Err(error) => assert!(error.is_away(), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "it did not recover");
    }
}

#[tokio::test]
async fn p12_an_absent_server_is_away_in_time() {
    for url in
        ["postgres://latchkey:hunter2@127.0.0.1:9/x", "postgres://latchkey:hunter2@192.0.2.1/x"]
    {
        let start = Instant::now();
        let error = Pool::postgres(&SecretString::from(url)).await.unwrap_err();
        assert!(error.is_away(), "{error}");
        // The limits of the pool itself, with room for a slow machine: the system's own is over two minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let error = Pool::postgres(&SecretString::from("hunter2://x")).await.unwrap_err();
    assert!(
        matches!(error, EngineError::Broken { .. }) && !format!("{error:?}").contains("hunter2")
    );
}

async fn start_together(fixture: AccountsFixture) {
    let starts = join_all((0..5).map(|_| fixture.another())).await;
    // Separate tasks, so that they run at the same moment.
    let migrations: Vec<_> = starts
        .iter()
        .map(|db| db.pool.clone())
        .map(|db| tokio::spawn(async move { db.migrate(accounts::FUNCTIONS).await }))
        .collect();
    for done in join_all(migrations).await {
        done.unwrap().unwrap();
    }
    for db in &starts {
        db.pool.ready().await.unwrap();
        db.pool.migrate(accounts::FUNCTIONS).await.unwrap();
    }
    fixture.signed_in(&Phone::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 5)]
async fn five_starts_at_once_migrate_once_on_the_engines() {
    Box::pin(start_together(AccountsFixture::postgres_bare().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 5)]
async fn five_starts_at_once_migrate_sqlite_once() {
    for _ in 0..5 {
        Box::pin(start_together(AccountsFixture::sqlite_bare().await)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn p10_the_file_and_its_folder_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = AccountsFixture::sqlite().await;
    fixture.signed_in(&Phone::new()).await;
    let folder = fixture.folder().unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert!(files >= 3, "the database, its log and its index");
}

#[tokio::test]
async fn committed_data_is_there_for_the_next_process() {
    let fixture = AccountsFixture::sqlite().await;
    let phone = Phone::new();
    let (user, session) = fixture.signed_in(&phone).await;
    let other = fixture.another().await;
    let live = other.sessions.live(session.id, fixture.now()).await.unwrap().unwrap();
    assert_eq!(live.user, user);
}
