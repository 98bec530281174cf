//! Logins and refreshes on young tables: the server plans by statistics, and these are missing or wrong until it has
//! analysed what the tables hold.

use std::collections::BTreeMap;

use accounts::{LoginKey, RefreshOutcome, SignIn};
use futures::future::join_all;
use testkit::{PATIENCE, eventually};

use super::fixture::{AccountsFixture, Db, GRACE, IDLE, Phone, Raw, signed_in, token};

const LOGINS: usize = 1_000;
const AT_ONCE: usize = 50;
/// The most rows of one table that one login and its refresh may read by an index. A plan that reads an index as a whole
/// is as bad as a scan, and reads hundreds.
const ROWS_A_LOGIN: i64 = 10;
const TABLES: [&str; 7] =
    ["users", "sessions", "used_codes", "guesses", "code_guesses", "device_guesses", "login_keys"];

/// By table: how often the server has scanned it, and how many rows it has read by an index, so far.
type Reads = BTreeMap<&'static str, (i64, i64)>;

async fn reads(raw: &mut Raw) -> Reads {
    // A server process reports what it has read when it ends.
    eventually("the end of the other connections", PATIENCE, async || {
        let others = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        (raw.number(others).await == 0).then_some(())
    })
    .await;
    let mut reads = Reads::new();
    for table in TABLES {
        let mut of = async |column: &str| {
            let sql = format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = '{table}'");
            raw.number(&sql).await
        };
        reads.insert(table, (of("seq_scan").await, of("idx_tup_fetch").await));
    }
    reads
}

async fn sign_in_and_refresh(fixture: &AccountsFixture, db: &Db, count: usize) {
    for round in 0..count / AT_ONCE {
        let phones: Vec<Phone> = (0..AT_ONCE).map(|_| Phone::new()).collect();
        let each = phones.iter().map(async |phone| {
            let key = format!("{round} {}", phone.key.as_str());
            let key = Some(LoginKey { key_hash: &key, body_hash: "body" });
            let sign_in = SignIn { key, ..fixture.new_sign_in(phone, fixture.code()) };
            let (user, session) = signed_in(db.accounts.sign_in(sign_in).await.unwrap());
            // As a known device.
            let claimant = phone.known(user.id);
            let sign_in = SignIn { claimant, ..fixture.new_sign_in(phone, fixture.code()) };
            signed_in(db.accounts.sign_in(sign_in).await.unwrap());
            let now = fixture.now();
            let refreshed = db.sessions.refresh(token(session.id, 1), GRACE, IDLE, now).await;
            assert!(matches!(refreshed, Ok(RefreshOutcome::Rotated(_))));
        });
        join_all(each).await;
    }
}

/// Compares what was read before and after. `first` logins are there when the server analyses its tables, which it never
/// does later.
async fn no_login_costs_a_scan(first: Option<usize>) {
    let fixture = AccountsFixture::postgres().await;
    let mut raw = fixture.raw().await;
    for table in TABLES {
        let sql = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        raw.run(&sql).await.unwrap();
    }
    if let Some(logins) = first {
        sign_in_and_refresh(&fixture, &fixture.db, logins).await;
        raw.run("VACUUM ANALYZE").await.unwrap();
    }
    // What a connection of its own reads, such as by an analysis, is told at its end.
    drop(raw);
    fixture.db.pool.close().await;
    let before = reads(&mut fixture.raw().await).await;
    let db = fixture.another().await;
    sign_in_and_refresh(&fixture, &db, LOGINS).await;
    db.pool.close().await;
    let after = reads(&mut fixture.raw().await).await;
    for (table, (scans, rows)) in after {
        let (scans, rows) = (scans - before[table].0, rows - before[table].1);
        println!("{table}: {scans} scans, {rows} rows by an index, for {LOGINS} logins");
        assert_eq!(scans, 0, "{table}");
        assert!(rows < ROWS_A_LOGIN * i64::try_from(LOGINS).unwrap(), "{table}: {rows} rows");
    }
}

mod on_the_engines {
    use super::*;
    use testkit::stalls::steady;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_login_costs_a_scan_of_tables_that_were_never_analysed() {
        steady(async || no_login_costs_a_scan(None).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_login_costs_a_scan_of_tables_that_were_nearly_empty_when_they_were_analysed() {
        steady(async || no_login_costs_a_scan(Some(AT_ONCE)).await).await;
    }
}
